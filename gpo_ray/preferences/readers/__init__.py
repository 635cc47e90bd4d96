"""Readers of survey sources: each turns a source, as its publisher ships it, into a PreferenceDataset.

What a reader leaves out is in the data set's ``dropped`` table, with where it stood and why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gpo_ray.errors import ConfigError
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.readers.globalopinionqa import read_globalopinionqa
from gpo_ray.preferences.readers.gss import read_gss
from gpo_ray.preferences.readers.gss_panel import read_gss_panel
from gpo_ray.preferences.readers.opinionqa import read_opinionqa
from gpo_ray.preferences.readers.opinionqa_individuals import read_opinionqa_individuals
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.table import read_table

__all__ = ["READERS", "ReadOptions", "read_survey"]

Reader = Callable[[Path | None, ReadOptions], PreferenceDataset]

READERS: dict[str, Reader] = {
    "gss": read_gss,
    "opinionqa": read_opinionqa,
    "globalopinionqa": read_globalopinionqa,
    "opinionqa-individuals": read_opinionqa_individuals,
    "gss-panel": read_gss_panel,
    "table": read_table,
}

APPLICABLE: dict[str, frozenset[str]] = {
    "gss": frozenset({"units", "min_respondents"}),
    "opinionqa": frozenset({"groups", "contentious"}),
    "globalopinionqa": frozenset({"groups"}),
    "opinionqa-individuals": frozenset(),
    "gss-panel": frozenset({"units", "min_respondents"}),
    "table": frozenset(),
}
"""The options that mean something to each kind."""


def read_survey(
    kind: str, source: str | Path | None = None, options: ReadOptions | None = None
) -> PreferenceDataset:
    """Read a survey source.

    Args:
        kind: one of ``READERS``.
        source: file or folder of the source (see the kind's reader); None for ``gss``, which comes
            with a package.
        options: what to take from it.

    Raises:
        ConfigError: for an unknown kind, a source where none is taken or none where one is needed, or
            an option that does not apply to the kind.
        DataError: if the source is missing, empty or malformed.
    """
    if kind not in READERS:
        raise ConfigError(f"unknown survey kind {kind!r}; known kinds: {', '.join(READERS)}")
    chosen = ReadOptions() if options is None else options
    _check_options(kind, chosen)
    if source is None and kind != "gss":
        raise ConfigError(f"survey kind {kind!r} needs a source: the path of its file or folder")
    return READERS[kind](None if source is None else Path(source).expanduser(), chosen)


def _check_options(kind: str, options: ReadOptions) -> None:
    default = ReadOptions()
    for name in ReadOptions.model_fields:
        value = getattr(options, name)
        if value == getattr(default, name):
            continue
        if name not in APPLICABLE[kind]:
            allowed = ", ".join(sorted(APPLICABLE[kind])) or "none"
            raise ConfigError(f"option {name}={value!r} does not apply to {kind!r}; its options: {allowed}")
        if name == "min_respondents" and options.units == "individuals":
            raise ConfigError(f"option {name}={value!r} does not apply to units='individuals'")
