"""The guesses of one language model, gathered from several folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.guesses.table import GuessTable

_KEY = ("asked", "as", "group_id", "question_key")


def load_one_model(folders: Sequence[str], model: str | None = None) -> GuessTable:
    """Read the guesses of one model from the folders that hold them.

    Args:
        folders: folders of guesses; together they may hold several ways of asking.
        model: name of the model, which is needed if the folders hold guesses of several.

    Raises:
        DataError: if a folder is not complete, or two of them hold a guess for the same question, asked in
            the same way as the same group.
        ConfigError: if the model is not there or must be named, or the folders hold guesses of two models
            that only share their name.
    """
    tables = {folder: GuessTable.load(folder) for folder in dict.fromkeys(folders)}
    names = sorted({name for t in tables.values() for name in t.guesses["model"].to_pylist()})
    listed = ", ".join(names) or "none"
    if model is None and len(names) != 1:
        raise ConfigError(f"--guesses holds guesses of {len(names)} models ({listed}); name one of them")
    name = names[0] if model is None else model
    if name not in names:
        raise ConfigError(f"--guesses holds no guesses of {name!r}; its models: {listed}")
    kept = {folder: t.guesses.filter(pc.equal(t.guesses["model"], name)) for folder, t in tables.items()}
    _refuse_twice(kept)
    known = {t.models.get(name) for folder, t in tables.items() if kept[folder].num_rows} - {None}
    if len(known) > 1:
        raise ConfigError(
            f"--guesses holds guesses of two models named {name!r} ({', '.join(sorted(map(str, known)))}); "
            "give the folders of one of them"
        )
    guesses = pa.concat_tables(list(kept.values()))
    return GuessTable(guesses, models={name: next(iter(known), None)})


def guesses_fingerprint(table: GuessTable) -> str:
    """Return a hash of all guesses, whatever the order and the folders in which they are stored."""
    names = ("model", *_KEY, "responses", "share", "content")
    columns = (table.guesses[c].to_pylist() for c in names)
    rows = sorted(json.dumps(row) for row in zip(*columns, strict=True))
    models = json.dumps(sorted(table.models.items()))
    return hashlib.sha256("\n".join([models, *rows]).encode()).hexdigest()


def _refuse_twice(tables: dict[str, pa.Table]) -> None:
    """Refuse two folders with a guess for the same question, asked in the same way as the same group."""
    seen: dict[tuple[str, ...], str] = {}
    for folder, table in tables.items():
        columns = (table[c].to_pylist() for c in (*_KEY, "question_id"))
        for *key, question in zip(*columns, strict=True):
            first = seen.setdefault(tuple(key), folder)
            if first != folder:
                raise DataError(
                    f"{first} and {folder}: both hold a guess for question {question!r}, asked for {key[0]} "
                    f"in style {key[1]}; give only one of these folders"
                )
