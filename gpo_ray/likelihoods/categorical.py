"""Define the likelihood of answers that are drawn from the predicted shares: the cross-entropy.

It needs no standard deviation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpo_ray.likelihoods.likelihood import Likelihood

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(log_share: Tensor, y: Tensor) -> Tensor:
    """Return each response's part (M,) of the cross-entropy of predicted shares against y, in nats."""
    return -y * log_share


def _loss(log_share: Tensor, _log_std: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(log_share, y)


CROSS_ENTROPY = Likelihood(_loss, mean_over="slates")
