"""Define the interface of a likelihood to training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Likelihood:
    """A loss of the transformer's outputs for M responses, the targets of all groups, end to end."""

    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Function that returns each response's part (M,) of the loss, from the log of its predicted share, the
    log of the standard deviation that the transformer predicts for it, and its true share, each (M,)."""
    mean_over: Literal["points", "slates"]
    """Whether the sum of these parts is divided by the number of responses or by the number of questions."""
