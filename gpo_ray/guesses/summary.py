"""How good guesses are: how sure a model is of them, and how near to a survey's answers.

Shapes: N responses of all compared answers, end to end.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from gpo_ray.guesses.table import GuessTable, Way
from gpo_ray.preferences.dataset import PreferenceDataset, Question
from gpo_ray.preferences.metrics import alignment, total_variation
from gpo_ray.preferences.slates import Array


@dataclass(frozen=True)
class WaySummary:
    """The guesses of one way of asking."""

    model: str
    asked: str
    style: str
    roles: int
    """Number of groups as which the model was asked; 0 if as nobody."""
    questions: int
    guesses: int
    without: int
    """Number of questions and roles that brought no distribution."""
    entropy: float | None
    """Mean entropy of the guesses, from 0 (all on one response) to 1 (uniform); None without guesses."""
    compared: int = 0
    """Number of groups' answers with which guesses were compared."""
    alignment: float | None = None
    """Mean alignment with these answers; None if there are none."""
    total_variation: float | None = None
    """Mean total variation from these answers, lower is better; None if there are none."""

    def row(self) -> dict[str, Any]:
        """Return the summary as a dictionary, with ``as`` for the style."""
        found = asdict(self)
        return {("as" if k == "style" else k): v for k, v in found.items()}


def summarize(table: GuessTable, dataset: PreferenceDataset | None = None) -> list[WaySummary]:
    """Summarise every way of asking.

    The guess in the role of a group is compared with that group's answers; the guess as nobody with the
    answers of every group, but for those of single people.

    Args:
        table: the guesses.
        dataset: a survey with answers; without it nothing is compared.
    """
    found = []
    for way in table.ways:
        rows = _rows_of(table, way)
        held = [r for r in rows if r["share"] is not None]
        entropy = [_entropy(np.array(r["share"])) for r in held]
        compared = {} if dataset is None else _compare(table, way, dataset)
        found.append(
            WaySummary(
                *way,
                roles=len({r["group_id"] for r in rows} - {None}),
                questions=len({r["question_key"] for r in held}),
                guesses=len(held),
                without=len(rows) - len(held),
                entropy=float(np.mean(entropy)) if entropy else None,
                **compared,
            )
        )
    return found


def _rows_of(table: GuessTable, way: Way) -> list[dict[str, Any]]:
    every = table.guesses
    mine = pc.equal(every["model"], way.model)
    for name, value in (("asked", way.asked), ("as", way.style)):
        mine = pc.and_(mine, pc.equal(every[name], value))
    return list(every.filter(mine).select(["group_id", "question_key", "share"]).to_pylist())


def _entropy(share: Array) -> float:
    """Return the entropy of shares (R,) as a part of the largest possible one, log R."""
    positive = share[share > 0]
    return float(-(positive * np.log(positive)).sum() / np.log(len(share)))


def _compare(table: GuessTable, way: Way, dataset: PreferenceDataset) -> dict[str, Any]:
    """Return how near the guesses of a way are to a survey's answers, if there are any to compare."""
    questions = list(dataset.iter_questions())
    people = {g["group_id"] for g in dataset.groups.to_pylist() if g["kind"] == "individual"}
    plain = [table.share(way, None, q) for q in questions]
    values, offsets = dataset.shares()
    predicted, human, scales, sizes = [], [], [], []
    codes, groups = dataset.question_codes(), dataset.preferences["group_id"].to_pylist()
    for i, (code, group) in enumerate(zip(codes, groups, strict=True)):
        guess = table.share(way, group, questions[code])
        if guess is None and group not in people:
            guess = plain[code]
        if guess is None:
            continue
        predicted.append(guess)
        human.append(values[offsets[i] : offsets[i + 1]])
        scales.append(_scale(questions[code]))
        sizes.append(len(guess))
    if not sizes:
        return {}
    ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    p, h, scale = map(np.concatenate, (predicted, human, scales))
    aligned = alignment(p, h, ends, scale)
    return {
        "compared": len(sizes),
        "alignment": float(np.nanmean(aligned)) if np.isfinite(aligned).any() else None,
        "total_variation": float(total_variation(p, h, ends).mean()),
    }


def _scale(question: Question) -> Array:
    """Return the scale values (R,) of a question, NaN if it is nominal."""
    if question.ordinal is None:
        return np.full(len(question.responses), np.nan)
    return np.array(question.ordinal, np.float64)
