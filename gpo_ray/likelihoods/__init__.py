"""From the transformer's outputs to shares, and their likelihoods, a file for each.

A configuration names one of :data:`LIKELIHOODS` and is checked without torch, which a likelihood's file
imports for types alone.
"""

from __future__ import annotations

from gpo_ray.likelihoods.categorical import CROSS_ENTROPY
from gpo_ray.likelihoods.gaussian import GAUSSIAN
from gpo_ray.likelihoods.likelihood import Likelihood

LIKELIHOODS: dict[str, Likelihood] = {
    "gaussian": GAUSSIAN,
    "cross_entropy": CROSS_ENTROPY,
}
"""By the name that ``model: {likelihood: ...}`` of a configuration gives."""

__all__ = ["LIKELIHOODS", "Likelihood"]
