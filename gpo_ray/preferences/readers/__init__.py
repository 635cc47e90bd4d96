"""Readers of survey sources: each turns a source, as its publisher ships it, into a PreferenceDataset.

What a reader leaves out is in the data set's ``dropped`` table, with where it stood and why.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from gpo_ray.errors import ConfigError, DataError, reason_of
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.readers.common import NO_PREFERENCE_LEFT
from gpo_ray.preferences.readers.globalopinionqa import read_globalopinionqa
from gpo_ray.preferences.readers.gss import read_gss
from gpo_ray.preferences.readers.gss_panel import read_gss_panel
from gpo_ray.preferences.readers.opinionqa import read_opinionqa
from gpo_ray.preferences.readers.opinionqa_individuals import read_opinionqa_individuals
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.respondents.reader import read_respondents
from gpo_ray.preferences.readers.table import read_table
from gpo_ray.preferences.twins import note_twins
from gpo_ray.runtime.locations import local_copy, without_password

__all__ = ["READERS", "ReadOptions", "read_survey"]

TOO_FEW_QUESTIONS = "group answered fewer questions than min_questions"


@dataclass(frozen=True)
class Reader:
    """A kind of survey source, and what reads it."""

    read: Callable[[Path | None, ReadOptions], PreferenceDataset]
    """Given the path of the source, or None where none was given."""
    options: frozenset[str] = frozenset()
    """Names of the options, beside ``min_questions``, that mean something to this kind."""
    needs_source: bool = True
    """Whether a source must be given; if not, one comes with an installed package."""


READERS: dict[str, Reader] = {
    "gss": Reader(read_gss, frozenset({"units", "min_respondents"}), needs_source=False),
    "opinionqa": Reader(read_opinionqa, frozenset({"groups", "contentious"})),
    "globalopinionqa": Reader(read_globalopinionqa, frozenset({"groups"})),
    "opinionqa-individuals": Reader(read_opinionqa_individuals),
    "gss-panel": Reader(read_gss_panel, frozenset({"units", "min_respondents"})),
    "table": Reader(
        read_table,
        frozenset({"units", "min_respondents", "encoding", "decimal", "thousands", "repeated", "merge_case"}),
    ),
    "respondents": Reader(
        read_respondents,
        frozenset({"units", "groups", "bins", "codebook", "min_respondents"})
        | {"encoding", "decimal", "thousands", "merge_case"},
    ),
}
"""The readers by the name of their kind, which ``gpo survey import`` takes."""


def read_survey(
    kind: str, source: str | Path | None = None, options: ReadOptions | None = None
) -> PreferenceDataset:
    """Read a survey source.

    Args:
        kind: one of ``READERS``.
        source: file or folder of the source (see the kind's reader), or its URI; None for ``gss``, which
            comes with a package.
        options: what to take from it.

    Raises:
        ConfigError: for an unknown kind, a source where none is taken or none where one is needed, or
            an option that does not apply to the kind.
        DataError: if the source is missing, empty or malformed.
    """
    if kind not in READERS:
        raise ConfigError(f"unknown survey kind {kind!r}; known kinds: {', '.join(READERS)}")
    chosen, reader = ReadOptions() if options is None else options, READERS[kind]
    _check_options(kind, chosen)
    if source is None and reader.needs_source:
        raise ConfigError(f"survey kind {kind!r} needs a source: the path of its file or folder")
    dataset = reader.read(None, chosen) if source is None else _read(reader, str(source), chosen)
    return note_twins(_with_enough_questions(dataset, chosen.min_questions))


def _read(reader: Reader, source: str, options: ReadOptions) -> PreferenceDataset:
    with ExitStack() as stack:
        try:
            path = stack.enter_context(local_copy(source))
        except (ValueError, OSError) as e:
            raise DataError(f"{without_password(source)}: cannot be read: {reason_of(e, source)}") from e
        try:
            return reader.read(path, options)
        except DataError as e:
            raise DataError(str(e).replace(str(path), source)) from e


def _with_enough_questions(dataset: PreferenceDataset, least: int) -> PreferenceDataset:
    """The data set without the groups that answered fewer than ``least`` questions, which are logged."""
    ids = dataset.groups["group_id"].to_pylist()
    count = np.bincount(dataset.group_codes(), minlength=len(ids))
    few = [g for g, n in zip(ids, count, strict=True) if n < least]
    if not few:
        return dataset
    if len(few) == len(ids):
        raise DataError(
            f"no group answered {least} questions, the most is {count.max()}; lower min_questions"
        )
    kept = dataset.select_groups(g for g, n in zip(ids, count, strict=True) if n >= least)
    lost = set(dataset.questions["question_id"].to_pylist()) - set(kept.questions["question_id"].to_pylist())
    where = [*few, *sorted(lost)]
    reason = [TOO_FEW_QUESTIONS] * len(few) + [NO_PREFERENCE_LEFT] * len(lost)
    return replace(
        kept, dropped=pa.concat_tables([kept.dropped, pa.table({"where": where, "reason": reason})])
    )


def _check_options(kind: str, options: ReadOptions) -> None:
    default = ReadOptions()
    if kind != "respondents" and options.groups not in ("all", "paper"):
        raise ConfigError(f"option groups={options.groups!r} does not apply to {kind!r}; give all or paper")
    for name in ReadOptions.model_fields:
        value = getattr(options, name)
        if name == "min_questions" or value == getattr(default, name):
            continue
        if name not in READERS[kind].options:
            allowed = ", ".join(sorted(READERS[kind].options)) or "none"
            raise ConfigError(f"option {name}={value!r} does not apply to {kind!r}; its options: {allowed}")
        if name == "min_respondents" and options.units == "individuals":
            raise ConfigError(f"option {name}={value!r} does not apply to units='individuals'")
