"""The reader of GlobalOpinionQA (Durmus et al. 2023, arXiv 2306.16388): answer shares of countries."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.readers.common import (
    NOT_IN_PAPER,
    Collector,
    as_number,
    parse_literal,
    parse_texts,
    read_csv_rows,
    require_columns,
)
from gpo_ray.preferences.readers.options import ReadOptions

COLUMNS = ("question", "selections", "options")
PAPER_COUNTRIES = frozenset(
    {
        "Nigeria",
        "Egypt",
        "India (Current national sample)",
        "China",
        "Japan",
        "Germany",
        "France",
        "Spain",
        "United States",
        "Canada",
        "Brazil",
        "Argentina",
        "Australia",
        "New Zealand",
    }
)
NO_COUNTRY = "no country answered"
NO_NAME = "country has no name"
NO_TEXT = "question has no text"
EMPTY_OPTION = "question has an empty option"
ONE_OPTION = "question has fewer than two distinct options"
WRONG_LENGTH = "number of shares differs from number of options"
NOT_SHARES = "share is negative or not finite"
ALL_ZERO = "all shares are zero"

_WRAPPER = re.compile(r"defaultdict\(<class 'list'>,\s*(.*)\)", re.DOTALL)


def read_globalopinionqa(source: Path | None, options: ReadOptions) -> PreferenceDataset:
    """Read the publisher's CSV, or the same data set from the Hugging Face Hub by its id.

    The columns are ``question``, ``selections`` (the text of a defaultdict, country -> list of shares),
    ``options`` (the text of a list, some of whose items are numbers) and perhaps ``source``, which becomes
    the topic. Shares are rounded at the source and are normalised here to sum to 1; options with the same
    text are merged. Options have no order, so ``ordinal`` is null; ``n`` is null too. ``question_id`` is
    ``goqa-<row>`` with rows counted from 0, as in the publisher's data frame. The log names each (question,
    country) pair that is left out, and each question that no country answered.

    Raises:
        DataError: if the file is missing or malformed, or the Hub cannot be used.
    """
    path = Path(source or "")
    if not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", path.as_posix()) and path.suffix != ".csv":
        rows: Any = _hub_rows(path.as_posix())
    else:
        rows = read_csv_rows(path, COLUMNS)
    into = Collector()
    questions = []
    for i, row in enumerate(rows):
        where = f"{path.name}: row {i}"
        at = f"{path}: row {i}"
        for column in COLUMNS:
            if not isinstance(row[column], str):
                raise DataError(f"{at}: {column} is not text; restore the publisher's file")
        shares = _shares(row["selections"], at)
        if not shares:
            into.drop(where, NO_COUNTRY)
            continue
        texts = parse_texts(row["options"], f"{at}: options")
        distinct = tuple(dict.fromkeys(texts))
        problem = _question_problem(row["question"], distinct)
        if problem is not None:
            for country in shares:
                into.drop(f"{where}, {country}", problem)
            continue
        question = Question(
            f"goqa-{i}", "globalopinionqa", row["question"], distinct, str(row.get("source") or "") or None
        )
        questions.append(question)
        slot = np.array([distinct.index(t) for t in texts])
        for country, values in shares.items():
            _take(country, values, slot, question, options, into, where)
    return into.dataset(questions, path.name, path)


def _hub_rows(name: str) -> Any:
    """Load the rows of a data set on the Hugging Face Hub."""
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as e:
        raise DataError(
            f"{name}: no such file; to load it from the Hugging Face Hub: pip install datasets"
        ) from e
    try:
        rows = datasets.load_dataset(name, split="train")
    except (OSError, ValueError) as e:
        raise DataError(f"{name}: no such file, and the Hugging Face Hub does not give it: {e}") from e
    require_columns(Path(name), rows.column_names, COLUMNS)
    return rows


def _shares(text: str, where: str) -> Mapping[str, list[float]]:
    """Parse the shares by country from the text of a defaultdict or of a plain dict."""
    wrapped = _WRAPPER.fullmatch(text.strip())
    value = parse_literal(wrapped.group(1) if wrapped else text, dict, f"{where}: selections")
    for country, shares in value.items():
        if not isinstance(country, str) or not isinstance(shares, list):
            raise DataError(
                f"{where}: selections must map a country to a list of shares, found {text[:80]!r}"
            )
    return {
        country: [as_number(v, f"{where}: selections, {country}: share {j}") for j, v in enumerate(shares)]
        for country, shares in value.items()
    }


def _question_problem(prompt: str, options: tuple[str, ...]) -> str | None:
    if not prompt.strip():
        return NO_TEXT
    if any(not o.strip() for o in options):
        return EMPTY_OPTION
    return ONE_OPTION if len(options) < 2 else None


def _take(
    country: str,
    values: list[float],
    slot: NDArray[np.int64],
    question: Question,
    options: ReadOptions,
    into: Collector,
    where: str,
) -> None:
    """Add a country's shares, or log why they are left out."""
    pair = f"{where}, {country}"
    if not country.strip():
        into.drop(pair, NO_NAME)
    elif options.groups == "paper" and country not in PAPER_COUNTRIES:
        into.drop(pair, NOT_IN_PAPER)
    elif len(values) != len(slot):
        into.drop(pair, WRONG_LENGTH)
    elif not math.isfinite(sum(values)) or min(values) < 0:
        into.drop(pair, NOT_SHARES)
    elif sum(values) == 0:
        into.drop(pair, ALL_ZERO)
    else:
        shares = np.bincount(slot, values, minlength=len(question.responses))
        group = Group(country, "country", f"People in {country}")
        into.add(group, question.question_id, shares, None)
