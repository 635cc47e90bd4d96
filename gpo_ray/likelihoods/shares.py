"""Turn the transformer's outputs into shares, and measure how far these are from the true shares.

Shapes: M target points of all groups, end to end; S slates that these belong to.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gpo_ray.likelihoods.categorical import cross_entropy


def slate_log_softmax(mean: Tensor, slate: Tensor, slates: int) -> Tensor:
    """Compute the log of the softmax of the means within each slate (Zhao et al., section 3.2).

    Args:
        mean: (M,) means of the points.
        slate: (M,) number of the slate of each point, in ``range(slates)``.
        slates: number S of slates.

    Returns:
        (M,) log shares; their exponentials sum to 1 within each slate.
    """
    highest = torch.full((slates,), -math.inf, dtype=mean.dtype, device=mean.device)
    highest = highest.scatter_reduce(0, slate, mean.detach(), "amax", include_self=False)
    shifted = mean - highest[slate]
    total = torch.zeros(slates, dtype=mean.dtype, device=mean.device).index_add(0, slate, shifted.exp())
    return shifted - total.log()[slate]


def divergence(log_share: Tensor, y: Tensor) -> Tensor:
    """Return each response's part (M,) of the Kullback-Leibler divergence of y from the prediction, in nats.

    It is the cross-entropy less the entropy of y, which is the smallest cross-entropy that is possible.
    """
    return torch.xlogy(y, y) + cross_entropy(log_share, y)
