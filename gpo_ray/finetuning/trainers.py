"""TRL's trainers with the losses of this package, and what is kept of a training: the best adapter.

This module loads TRL; import it only to train.

Shapes: n questions of a batch, R responses of a question.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback
from trl import RewardTrainer, SFTTrainer

Weights = dict[str, Tensor]
STATE_LENGTH = 10.0
"""Length to which hidden states are scaled before the head, so that a step changes rewards alike anywhere."""


class LetterTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer for SFT, with a loss on the option letters alone.

    Its batches are those of :class:`gpo_ray.finetuning.examples.TreeCollator` with ``letters``. The loss is
    the divergence of the model's log-probabilities from the group's shares, in nats, averaged over questions.

    Args:
        whole_vocabulary: whether the letters' probabilities are normalised over the whole vocabulary, as TRL
            does it, rather than over the letters, as they are for predictions.
    """

    loss_is_scaled_for_ga = False

    def __init__(self, *args: Any, whole_vocabulary: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._whole_vocabulary = whole_vocabulary

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        """Return the mean forward KL divergence over the questions of a batch."""
        read = {k: inputs[k] for k in ("input_ids", "attention_mask", "position_ids")}
        logits = model(**read, logits_to_keep=inputs["ends"], use_cache=False).logits[0].float()
        chosen = logits.gather(1, inputs["options"])
        if self._whole_vocabulary:
            logprobs = chosen - logits.logsumexp(1, keepdim=True)
        else:
            logprobs = chosen.masked_fill(~inputs["real"], -torch.inf).log_softmax(1)
        shares = inputs["shares"]
        told = torch.xlogy(shares, shares) - shares * logprobs.masked_fill(~inputs["real"], 0)
        loss = told.sum(1).mean()
        return (loss, {"loss": loss}) if return_outputs else loss

    def _send_telemetry(self) -> None:
        """Send nothing."""


class SlateTrainer(RewardTrainer):  # type: ignore[misc]
    """TRL's trainer for reward models, with all pairs of a question's responses, weighted by the shares.

    Its batches are those of :class:`gpo_ray.finetuning.examples.TreeCollator` without ``letters``, its model
    is a :class:`RewardModel`.
    """

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """Return the data set as it is: its texts are token ids already."""
        return dataset

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        """Return the mean Bradley-Terry loss over the questions of a batch."""
        names = ("input_ids", "attention_mask", "position_ids", "ends")
        loss = pairwise_loss(model(**{k: inputs[k] for k in names}), inputs["shares"], inputs["real"])
        return (loss, {"loss": loss}) if return_outputs else loss

    def _send_telemetry(self) -> None:
        """Send nothing."""


def pairwise_loss(rewards: Tensor, shares: Tensor, real: Tensor) -> Tensor:
    """Return the Bradley-Terry loss of all ordered pairs of a question's responses, averaged over questions.

    That response i is preferred to j has the weight of those who gave response i. The loss is least where
    rewards differ as log-shares do, so that the softmax of rewards are the shares.

    Args:
        rewards: (n, R) rewards.
        shares: (n, R) shares, 0 where there is no response.
        real: (n, R) whether there is a response.
    """
    preferred = nn.functional.logsigmoid(rewards[:, :, None] - rewards[:, None, :])
    apart = ~torch.eye(rewards.shape[1], dtype=torch.bool, device=rewards.device)
    pairs = real[:, :, None] & real[:, None, :] & apart
    others = (real.sum(1) - 1).clamp(min=1)
    losses = -(shares[:, :, None] * preferred).masked_fill(~pairs, 0).sum((1, 2)) / others
    return losses.mean()


class RewardModel(nn.Module):
    """A causal language model whose last hidden states are turned into rewards by a linear head.

    The head begins with zeros: before training every response has the same reward.

    Args:
        causal: the language model of transformers, with an adapter.
    """

    def __init__(self, causal: Any) -> None:
        super().__init__()
        self.causal = causal
        self.config = copy.deepcopy(causal.config)
        """The configuration that TRL looks at, a copy of the language model's."""
        self.config.num_labels = 1
        embedded = causal.get_input_embeddings().weight
        self.score = nn.Linear(embedded.shape[1], 1, bias=False, device=embedded.device)
        """The head; a bias would be the same for all responses of a question."""
        nn.init.zeros_(self.score.weight)

    def forward(self, ends: Tensor, **read: Tensor) -> Tensor:
        """Return the rewards (n, R) of responses that end at the positions ``ends`` (n, R)."""
        hidden = self.causal.base_model(**read, use_cache=False).last_hidden_state[0]
        return self.rewards(hidden[ends])

    def rewards(self, hidden: Tensor) -> Tensor:
        """Return the rewards (...) at hidden states (..., E)."""
        states = nn.functional.normalize(hidden.to(self.score.weight), dim=-1)
        return self.score(STATE_LENGTH * states)[..., 0]

    def add_model_tags(self, _: Any) -> None:
        """Do nothing: tags are for models on a hub."""


class BestState(TrainerCallback):  # type: ignore[misc]
    """Keeps the adapter with the lowest loss on the held-back examples; that of step 0 is the base model.

    Args:
        weights: function that returns the adapter's weights as they are now.
    """

    def __init__(self, weights: Callable[[], Weights]) -> None:
        self._weights = weights
        self.losses: list[float] = []
        """The loss at each validation; the first one is that of the base model."""
        self.step = 0
        """Number of steps after which the loss was lowest."""
        self.best: Weights = {}
        """A copy of the adapter's weights at that step."""

    def on_evaluate(self, _: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        """Look at the loss of a validation."""
        del control, kwargs
        loss = metrics["eval_loss"]
        if not self.losses or loss < min(self.losses):
            self.step = int(state.global_step)
            self.best = {name: w.detach().cpu().clone() for name, w in self._weights().items()}
        self.losses.append(loss)
