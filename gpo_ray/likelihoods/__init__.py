"""Turn the transformer's outputs into shares, and define the likelihoods, each in a file of its own.

A configuration names one of :data:`LIKELIHOODS`. It can be checked without torch, because a likelihood's file
imports torch only for types.
"""

from __future__ import annotations

from gpo_ray.likelihoods.categorical import CROSS_ENTROPY
from gpo_ray.likelihoods.gaussian import GAUSSIAN
from gpo_ray.likelihoods.likelihood import Likelihood

LIKELIHOODS: dict[str, Likelihood] = {
    "gaussian": GAUSSIAN,
    "cross_entropy": CROSS_ENTROPY,
}
"""The likelihoods by the name that a configuration gives as ``model: {likelihood: ...}``."""

__all__ = ["LIKELIHOODS", "Likelihood"]
