"""Reading OpinionQA's ``responses.csv``, the publisher's own layout with a row per respondent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers.answers import NO_WEIGHT, Answers, Codes, collect_groups
from gpo_ray.preferences.readers.common import (
    Collector,
    read_csv_rows,
    require_columns,
    require_text,
    text_number,
)
from gpo_ray.preferences.readers.opinionqa_items import Groups, Item

NO_COLUMN = "attribute has no column in responses.csv"


def collect_responses(wave: Path, items: Mapping[str, Item], groups: Groups, into: Collector) -> set[str]:
    """Add the weighted shares of a wave's groups.

    ``responses.csv`` has a column per question key with the text of the chosen option, a column per
    attribute that ``metadata.csv`` names in its column ``key``, and a column ``WEIGHT_W<number>`` with the
    survey weight. A cell is empty if the question was not asked; that is not logged. Shares are weighted,
    and ``n`` counts respondents.

    Returns:
        The keys that have a column.

    Raises:
        DataError: if a file or the weight column is missing, or a weight is negative or not a number.
    """
    path = wave / "responses.csv"
    name = f"{wave.name}/{path.name}"
    attributes = [row["key"] for row in read_csv_rows(wave / "metadata.csv", ["key"])]
    weight_column = "WEIGHT_" + wave.name.rpartition("_")[2]
    table = _read(path, {weight_column, *attributes, *items}, weight_column)
    weight = _weights(table, weight_column, path, into)
    keys = [k for k in items if k in table.column_names]
    parts = [_column(table[key], items[key], f"{name}: {key}", into) for key in keys]
    answers = Answers(
        respondents=[str(i) for i in range(table.num_rows)],
        questions=[items[k].question for k in keys],
        respondent=np.concatenate([np.zeros(0, np.int64), *(who for who, _ in parts)]),
        question=np.repeat(np.arange(len(keys)), [len(who) for who, _ in parts]),
        choice=np.concatenate([np.zeros(0, np.int64), *(choice for _, choice in parts)]),
        weight=weight,
    )
    members = []
    for attribute in attributes:
        if attribute not in table.column_names:
            into.drop(f"{name}: {attribute}", NO_COLUMN)
            continue
        for level in sorted(pc.unique(table[attribute]).to_pylist()):
            group = groups.find(attribute, level, name)
            if group is not None:
                member = pc.equal(table[attribute], level).to_numpy(zero_copy_only=False)
                members.append((group, member & (weight > 0)))
    collect_groups(answers, members, into, name)
    return set(keys)


def _read(path: Path, wanted: set[str], weight_column: str) -> pa.Table:
    """Read, as text, those of the wanted columns that the file has."""
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    try:
        require_text(path)
        with pa.csv.open_csv(path, parse_options=parse) as reader:
            header = reader.schema.names
        require_columns(path, header, [weight_column])
        columns = [c for c in header if c in wanted]
        types = dict.fromkeys(columns, pa.string())
        table = pa.csv.read_csv(
            path,
            parse_options=parse,
            convert_options=pa.csv.ConvertOptions(include_columns=columns, column_types=types),
        )
    except (OSError, pa.ArrowException) as e:
        raise DataError(f"{path}: not a readable CSV file: {e}") from e
    if table.num_rows == 0:
        raise DataError(f"{path}: the file has a header and no rows")
    return table


def _weights(table: pa.Table, column: str, path: Path, into: Collector) -> NDArray[np.float64]:
    """Read the survey weights; respondents without one are logged and get weight 0."""
    texts = table[column].to_pylist()
    weight = np.zeros(len(texts))
    for i, text in enumerate(texts):
        if text.strip().casefold() not in ("", "nan"):
            weight[i] = text_number(text, f"{path}: row {i + 2}: {column}")
        if weight[i] < 0:
            raise DataError(f"{path}: row {i + 2}: {column} {text!r} is negative; correct it in the source")
        if weight[i] == 0:
            into.drop(f"{path.parent.name}/{path.name}: row {i + 2}", NO_WEIGHT)
    return weight


def _column(column: pa.ChunkedArray, item: Item, where: str, into: Collector) -> tuple[Codes, Codes]:
    """Return the respondents who answered a question, and the responses that they chose."""
    coded = column.combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy().astype(np.int64)
    response = np.full(len(coded.dictionary), -1, np.int64)
    for i, text in enumerate(coded.dictionary.to_pylist()):
        if not text.strip() or text == "nan":
            continue
        response[i], reason = item.match(text)
        if reason is not None:
            into.drop(f"{where}, {text!r} ({int((codes == i).sum())} answers)", reason)
    choice = response[codes]
    rows = np.flatnonzero(choice >= 0)
    return rows, choice[rows]
