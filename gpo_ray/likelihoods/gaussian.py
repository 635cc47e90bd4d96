"""Define the published likelihood, in which shares have Gaussian errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gpo_ray.likelihoods.likelihood import Likelihood

if TYPE_CHECKING:
    from torch import Tensor


def gaussian_nll(log_share: Tensor, log_std: Tensor, y: Tensor) -> Tensor:
    """Return the negative log-density (M,) of y under N(share, std^2), as published (Eq. 2 and its code)."""
    z = (y - log_share.exp()) * (-log_std).exp()
    return 0.5 * z * z + log_std + 0.5 * math.log(2 * math.pi)


GAUSSIAN = Likelihood(gaussian_nll, mean_over="points")
