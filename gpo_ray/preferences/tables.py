"""The columns, types and file names of a survey's tables in Arrow and Parquet.

:class:`~gpo_ray.preferences.dataset.PreferenceDataset` has one table of each kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpo_ray.errors import DataError
from gpo_ray.runtime.storage import Folder, read_parquet_bytes

QUESTIONS = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("topic", pa.string()),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("responses", pa.list_(pa.string()), nullable=False),
        pa.field("ordinal", pa.list_(pa.float64())),
    ]
)
GROUPS = pa.schema(
    [
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("description", pa.string()),
    ]
)
PREFERENCES = pa.schema(
    [
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("share", pa.list_(pa.float64())),
        pa.field("choice", pa.int32()),
        pa.field("n", pa.float64()),
    ]
)
PREFERENCE_FILE = "preferences"
"""The name of the file that holds the preferences; where there are several files, a number follows it."""
SCHEMAS = {"questions": QUESTIONS, "groups": GROUPS, "preferences": PREFERENCES}
"""The tables that make up the contents of a survey, by name."""
DROPPED = pa.schema([pa.field("where", pa.string()), pa.field("reason", pa.string())])
"""The log of the source rows that a reader left out."""
NOTES = pa.schema([pa.field("where", pa.string()), pa.field("note", pa.string())])
"""The log of what a reader took from its source in a way that the user should know of."""


def log_table(entries: Iterable[tuple[str, str]], schema: pa.Schema) -> pa.Table:
    """Make the table of a log, :data:`DROPPED` or :data:`NOTES`, of its entries."""
    rows = list(entries)
    return pa.table([[row[i] for row in rows] for i in range(2)], schema=schema)


def as_schema(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """Select the columns of ``schema`` and cast them to its types.

    Raises:
        DataError: if a column is missing or has another type.
    """
    try:
        return table.select(schema.names).cast(schema)
    except (KeyError, ValueError, pa.ArrowException) as e:
        raise DataError(f"{where}: columns must be {schema.names}: {e}") from e


def read_stored(folder: Folder, manifest: dict[str, Any], file: str, schema: pa.Schema) -> pa.Table:
    """Read one of the files of a stored survey.

    Args:
        folder: folder of the survey.
        manifest: its manifest.
        file: name of the file.
        schema: columns of its table.

    Raises:
        DataError: if the file is missing, does not match the manifest, or has other columns.
    """
    where = folder.where(file)
    return as_schema(read_parquet_bytes(folder.read_checked(file, manifest), where, DataError), schema, where)


def preference_table(columns: Mapping[str, Sequence[Any]] | pa.Table) -> pa.Table:
    """Make the table of preferences, with all five columns in their types; absent columns are null.

    Raises:
        DataError: if an id column is missing, or a column cannot be cast to its type.
    """
    names = columns.column_names if isinstance(columns, pa.Table) else list(columns)
    for name in ("group_id", "question_id"):
        if name not in names:
            raise DataError(f"preferences: column {name!r} is missing; found {list(names)}")
    size = len(columns["group_id"])
    arrays = [columns[f.name] if f.name in names else pa.nulls(size, f.type) for f in PREFERENCES]
    try:
        return pa.table(
            [
                (a if isinstance(a, pa.Array | pa.ChunkedArray) else pa.array(a, from_pandas=True)).cast(
                    f.type
                )
                for a, f in zip(arrays, PREFERENCES, strict=True)
            ],
            schema=PREFERENCES,
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as e:
        raise DataError(f"preferences: a column has the wrong type: {e}") from e


def answer_files(manifest: Mapping[str, Any]) -> list[str]:
    """List the files that hold a survey's preferences, in order: one file, or several that are numbered."""
    one = f"{PREFERENCE_FILE}.parquet"
    return [n for n in sorted(manifest["files"]) if n.startswith(f"{PREFERENCE_FILE}-")] or [one]


def without_nulls(table: pa.Table) -> pa.Table:
    """Replace nulls by zeros, and add to each column another one that says which values were not null.

    The bytes that Arrow keeps behind a null are undefined, so the hash of a table with nulls would be too.
    """
    columns = {}
    for name in table.column_names:
        column = table[name]
        columns[f"{name} is valid"] = pc.is_valid(column)
        if not pa.types.is_list(column.type):
            zero = pa.scalar("" if pa.types.is_string(column.type) else 0, column.type)
            column = pc.fill_null(column, zero)
        columns[name] = column
    return pa.table(columns).combine_chunks()
