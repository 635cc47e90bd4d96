"""What a likelihood is to training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Likelihood:
    """A loss of the transformer's outputs at M responses, the targets of all groups end to end."""

    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(M,) each response's part of the loss, from the log of its predicted share, the log of the standard
    deviation that the transformer gives it, and its true share, each (M,)."""
    mean_over: Literal["points", "slates"]
    """What the parts' sum is divided by: the number of responses, or that of questions."""
