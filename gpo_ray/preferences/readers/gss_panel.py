"""The reader of the General Social Survey's 2020 panel, base waves: answers, questions and respondents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.readers.answers import (
    MIN_QUESTIONS,
    MIN_RESPONDENTS,
    NO_WEIGHT,
    Answers,
    collect_groups,
    individual_dataset,
    read_answers,
)
from gpo_ray.preferences.readers.common import NOT_A_GROUP, Collector, is_group_level
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.parquet import NUMBER, TEXT, TEXT_OR_INTEGER, read_parquet, require_values

PHRASES = {
    "age": "aged {}",
    "sex": "who are {}",
    "race": "whose race is {}",
    "hispanic": "who are {}",
    "degree": "whose highest degree is: {}",
    "party": "whose party is: {}",
    "ideology": "whose political views are {}",
    "religion": "whose religion is: {}",
    "region": "who live in the {}",
    "income": "with a household income of {}",
}
"""The attributes, each with the phrase by which a group's description names a level.

``party_detail``, ``ideology_detail`` and ``division`` of the source are left out, since they only divide
three of these more finely.
"""


def read_gss_panel(source: Path | None, options: ReadOptions) -> PreferenceDataset:
    """Read a folder of ``answers.parquet``, ``questions.parquet`` and ``respondents.parquet``.

    Their columns are ``respondent_id, question_id, choice``; ``question_id, wave, question, options``, with
    the same text and options in each wave, and perhaps ``ordinal``, without which the questions are nominal;
    and ``respondent_id, weight`` with attributes. With ``units="groups"`` both waves are pooled, shares are
    weighted and ``n`` counts people; with ``units="individuals"`` each person who answered at least ten
    questions is a group and weights are not used.

    Raises:
        DataError: if a file is missing, empty or malformed.
    """
    folder = Path(source or "")
    into = Collector()
    answers = read_answers(folder, "respondent_id", "gss", into.drops)
    if options.units == "individuals":
        groups = [Group(f"respondent={r}", "individual", "A US adult") for r in answers.respondents]
        return individual_dataset(answers, groups, into.drops, "answers.parquet", folder, MIN_QUESTIONS)
    weighted, attributes = _respondents(folder / "respondents.parquet", answers, into)
    members = []
    for attribute, levels in attributes.items():
        for level in sorted({v for v in levels.tolist() if v is not None}):
            if is_group_level(level):
                text = f"US adults {PHRASES[attribute].format(level)}"
                members.append((Group(f"{attribute}={level}", "attribute", text), levels == level))
            else:
                into.drop(f"respondents.parquet: {attribute}={level}", NOT_A_GROUP)
    collect_groups(
        weighted, members, into, "answers.parquet", options.min_respondents or MIN_RESPONDENTS, MIN_QUESTIONS
    )
    return into.dataset(answers.questions, "questions.parquet", folder)


def _respondents(
    path: Path, answers: Answers, into: Collector
) -> tuple[Answers, dict[str, NDArray[np.object_]]]:
    """Read the weights and the level of each attribute, in the order of ``answers.respondents``.

    People without a positive weight are logged; they get weight 0 and belong to no group.

    Returns:
        ``answers`` with weights, and for each attribute the level of each respondent, None if unknown.
    """
    table = read_parquet(
        path, {"respondent_id": TEXT_OR_INTEGER, "weight": NUMBER}, dict.fromkeys(PHRASES, TEXT)
    )
    require_values(path, table, ["respondent_id"])
    ids = table["respondent_id"].to_pylist()
    if len(set(ids)) < len(ids):
        raise DataError(f"{path}: a respondent_id occurs twice; each person needs one row")
    row = {r: i for i, r in enumerate(ids)}
    given = pc.fill_null(table["weight"], np.nan).to_numpy()
    wrong = (given < 0) | np.isinf(given)
    if wrong.any():
        raise DataError(f"{path}: row {int(np.argmax(wrong))}: weight is negative or not finite; correct it")
    order = np.array([row.get(r, -1) for r in answers.respondents])
    weight = np.where(order >= 0, given[order], np.nan)
    usable = np.isfinite(weight) & (weight > 0)
    for i in np.flatnonzero(~usable).tolist():
        into.drop(f"{path.name}: {answers.respondents[i]}", NO_WEIGHT)
    attributes = {}
    for name in (c for c in PHRASES if c in table.column_names):
        levels = np.array([*table[name].to_pylist(), None], object)[order]
        levels[~usable] = None
        attributes[name] = levels
    return replace(answers, weight=np.where(usable, weight, 0.0)), attributes
