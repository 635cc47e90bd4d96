"""From the transformer's outputs to shares and their likelihood.

Shapes: M target points of all groups end to end, S slates they belong to.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def slate_log_softmax(mean: Tensor, slate: Tensor, slates: int) -> Tensor:
    """Log of the softmax of the means within each slate (Zhao et al., section 3.2).

    Args:
        mean: (M,).
        slate: (M,) number of the slate of each point, in ``range(slates)``.
        slates: S.

    Returns:
        (M,) log shares; their exponentials sum to 1 within each slate.
    """
    highest = torch.full((slates,), -math.inf, dtype=mean.dtype, device=mean.device)
    highest = highest.scatter_reduce(0, slate, mean.detach(), "amax", include_self=False)
    shifted = mean - highest[slate]
    total = torch.zeros(slates, dtype=mean.dtype, device=mean.device).index_add(0, slate, shifted.exp())
    return shifted - total.log()[slate]


def gaussian_nll(log_share: Tensor, log_std: Tensor, y: Tensor) -> Tensor:
    """(M,) negative log-density of y under N(share, std^2), as published (Eq. 2 and its code)."""
    z = (y - log_share.exp()) * (-log_std).exp()
    return 0.5 * z * z + log_std + 0.5 * math.log(2 * math.pi)


def cross_entropy(log_share: Tensor, y: Tensor) -> Tensor:
    """(M,) each response's part of the cross-entropy of predicted shares against y, in nats."""
    return -y * log_share


def divergence(log_share: Tensor, y: Tensor) -> Tensor:
    """(M,) each response's part of the Kullback-Leibler divergence of y from the predicted shares, in nats.

    It is the cross-entropy less the entropy of y, which no prediction can go below.
    """
    return torch.xlogy(y, y) + cross_entropy(log_share, y)
