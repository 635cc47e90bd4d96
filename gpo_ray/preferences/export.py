"""Surveys and predictions as tidy tables, one row for each response, for R, Stata and spreadsheets.

Texts are written as they are. A spreadsheet takes a text that begins with ``=``, ``+``, ``-`` or ``@`` for a
formula, so a CSV of strangers' texts is to be imported there as text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import KIND, PreferenceDataset
from gpo_ray.preferences.slates import spans
from gpo_ray.preferences.summary import scale_values
from gpo_ray.preferences.tables import PREFERENCES, answer_files, read_stored
from gpo_ray.runtime.one_file import check_target, writing
from gpo_ray.runtime.storage import Folder

SUFFIXES = (".csv", ".parquet")
"""Ends of the names of the files that tables are written to, which say how."""
BATCH = 200_000
"""Answers that are in memory as rows of a table at a time."""
LONG = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("group", "kind", "description")),
        *(pa.field(name, pa.string()) for name in ("question_id", "source", "topic", "prompt", "response")),
        pa.field("position", pa.int32()),
        pa.field("scale", pa.float64()),
        pa.field("ordered", pa.bool_()),
        pa.field("share", pa.float64()),
        pa.field("n", pa.float64()),
    ]
)
"""The columns of a survey as a table, see :func:`long_table`."""
PREDICTIONS = pa.schema(
    [
        pa.field("prompt", pa.string()),
        pa.field("response", pa.string()),
        pa.field("position", pa.int32()),
        *(pa.field(name, pa.float64()) for name in ("share", "lower", "upper")),
        pa.field("seen", pa.bool_()),
    ]
)
"""The columns of predictions as a table, see :func:`predictions_table`."""


def export_survey(survey: str | os.PathLike[str], out: str | os.PathLike[str]) -> int:
    """Write a survey as a table, see :func:`long_table`, a part at a time.

    ``gpo survey import table`` reads it with the same shares. Questions without an answer and groups without
    one have no rows.

    Args:
        survey: folder or URI of the survey.
        out: path or URI of the file, which ends with .csv (UTF-8, a header, commas) or .parquet.

    Returns:
        The number of rows.

    Raises:
        ConfigError: if the file cannot be written.
        DataError: if the survey is missing or damaged.
    """
    return _write((long_table(part) for part in _parts(str(survey))), LONG, str(out))


def _parts(survey: str) -> Iterator[PreferenceDataset]:
    """Yield a survey in parts with some of its answers each, file by file; they are checked on the way."""
    folder = Folder(survey, DataError)
    whole = PreferenceDataset.load(survey, answers=False)
    manifest, pairs = folder.read_manifest(KIND), [np.zeros(0, np.int64)]
    for file in answer_files(manifest):
        answers = read_stored(folder, manifest, file, PREFERENCES)
        for start in range(0, answers.num_rows, BATCH):
            part = replace(whole, preferences=answers.slice(start, BATCH))
            group, question = part.check_answers(f"{folder.where(file)}: from row {start}")
            pairs.append(group * whole.questions.num_rows + question)
            yield part
    every = np.concatenate(pairs)
    if len(np.unique(every)) < len(every):  # a part alone shows only what is twice in itself
        raise DataError(f"{folder}: preferences: a group answers a question twice; import the survey again")


def long_table(dataset: PreferenceDataset) -> pa.Table:
    """Lay out a survey as a table with a row for each response of each answer.

    Columns: ``group`` and its ``kind`` and ``description``; ``question_id``, ``source``, ``topic`` and
    ``prompt``; ``response``; its ``position`` in the question, from 1; its value on the ``scale``, and
    whether the question has one (``ordered``); its ``share``, 1 or 0 for a person's choice; and ``n``, the
    respondents behind the answer. What is not known is null.

    Args:
        dataset: a valid survey.
    """
    group, question, sizes = dataset.group_codes(), dataset.question_codes(), dataset.slate_sizes()
    answer = np.repeat(np.arange(len(question)), sizes[question])
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    place = spans(offsets, question)
    of_group, of_question = pa.array(group[answer]), pa.array(question[answer])
    scale = scale_values(dataset)[place]
    columns = {
        "group": dataset.groups["group_id"].take(of_group),
        "kind": dataset.groups["kind"].take(of_group),
        "description": dataset.groups["description"].take(of_group),
        "question_id": dataset.questions["question_id"].take(of_question),
        "source": dataset.questions["source"].take(of_question),
        "topic": dataset.questions["topic"].take(of_question),
        "prompt": dataset.questions["prompt"].take(of_question),
        "response": pc.list_flatten(dataset.questions["responses"]).take(pa.array(place)),
        "position": pa.array(place - offsets[question[answer]] + 1, pa.int32()),
        "scale": pa.array(scale, mask=np.isnan(scale)),
        "ordered": pa.array(~np.isnan(scale)),
        "share": pa.array(dataset.shares()[0]),
        "n": dataset.preferences["n"].take(pa.array(answer)),
    }
    return pa.table([columns[name] for name in LONG.names], schema=LONG)


def predictions_table(predictions: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Lay out predictions as a table with a row for each response of each question.

    Columns: ``prompt``; ``response``; its ``position`` in the question, from 1; its predicted ``share``;
    ``lower`` and ``upper``, the ends of its 90 % interval; whether training groups answered the question
    (``seen``); and ``recognised``, if a prediction says that. What a model does not tell is null.

    Args:
        predictions: the ``predictions`` of :func:`gpo_ray.api.predict_file`: mappings with ``prompt,
            responses, share, interval, seen`` and perhaps ``recognised``.
    """
    given = list(predictions)
    further = [name for name in ("recognised",) if any(name in p for p in given)]
    schema = PREDICTIONS
    for name in further:
        schema = schema.append(pa.field(name, pa.bool_()))
    rows = [
        {
            "prompt": p["prompt"],
            "response": response,
            "position": i + 1,
            "share": p["share"][i],
            "lower": p["interval"][i][0] if p["interval"] else None,
            "upper": p["interval"][i][1] if p["interval"] else None,
            "seen": p["seen"],
        }
        | {name: p.get(name) for name in further}
        for p in given
        for i, response in enumerate(p["responses"])
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def write_table(table: pa.Table, out: str | os.PathLike[str]) -> int:
    """Write a table to a .csv or .parquet file, atomically, and return the number of rows.

    Raises:
        ConfigError: if the file cannot be written.
    """
    return _write([table], table.schema, str(out))


def _write(tables: Iterable[pa.Table], schema: pa.Schema, out: str) -> int:
    writer = pyarrow.csv.CSVWriter if check_target(out, SUFFIXES) == ".csv" else pq.ParquetWriter
    rows = 0
    with writing(out) as path, writer(path, schema) as stream:
        for table in tables:
            stream.write_table(table)
            rows += table.num_rows
    return rows
