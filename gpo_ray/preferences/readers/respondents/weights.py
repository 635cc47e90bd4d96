"""Which variable of a file of respondents is the weight."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers.respondents.table import RespondentTable
from gpo_ray.preferences.readers.respondents.words import plain


def candidate_weights(table: RespondentTable, names: Sequence[str]) -> list[str]:
    """Return the candidates that hold weights, the best first.

    Weights are numbers of at least 0, not all the same, none of them missing for most. A post-stratified or
    total weight is better than a design weight, and a weight of all respondents better than one of some.
    """
    found = []
    for i, name in enumerate(names):
        numbers = table.columns[name].numbers()
        known = numbers[np.isfinite(numbers)]
        if not len(known) or known.min() < 0 or known.min() == known.max():
            continue
        text = plain(f"{name} {table.columns[name].label or ''}")
        poor = len(_POOR_WEIGHT.findall(text)) - len(_GOOD_WEIGHT.findall(text))
        found.append(((int(len(known) < 0.9 * table.respondents), poor, i), name))
    return [name for _, name in sorted(found)]


def require_readable_weights(table: RespondentTable, names: Sequence[str], weights: Sequence[str]) -> None:
    """Check that no weight is passed over since its numbers can be read in two ways, as 1,234 can."""
    for name in names:
        unclear = table.columns[name].unclear
        if unclear is not None and not weights:
            raise DataError(
                f"{table.path}: column {name}: it seems to be the weight, and {unclear!r} can be read in two "
                "ways; give --decimal . or --decimal ,"
            )


_POOR_WEIGHT = re.compile(
    r"\b(?:design|dweight|population|pweight|base|raw|household|unadjusted|s018|1000|replicate|pre)\b"
)
_GOOD_WEIGHT = re.compile(
    r"\b(?:post ?strat\w*|pspwght|anweight|analysis|final|wtssps\w*|wtssall|full sample|total|combined)\b"
)
