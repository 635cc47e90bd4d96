"""Define the single-process engine: torch's AdamW on one device."""

from __future__ import annotations

import json
from inspect import unwrap
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpo_ray.config import TrainConfig
from gpo_ray.errors import ConfigError
from gpo_ray.model.episodes import Episode
from gpo_ray.model.predict import Forward, episode_loss
from gpo_ray.model.transformer import GPOTransformer
from gpo_ray.runtime.documents import read_json


def new_model(embedding_width: int, config: TrainConfig) -> GPOTransformer:
    """Return a transformer with initial weights from ``config.seed``, which are the same on every worker."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return GPOTransformer(embedding_width, config.model)


class EagerAdamW(torch.optim.AdamW):
    """An optimiser that takes the same steps as torch's AdamW, for code that is never compiled.

    Torch wraps some methods for ``torch.compile``, and their first call imports the compiler, which takes
    about three seconds in every process that trains. This class calls the wrapped methods directly.
    """

    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


class LocalEngine:
    """An :class:`~gpo_ray.meta_training.loop.Engine` for a single process."""

    rank = 0
    workers = 1

    def __init__(self, model: GPOTransformer, config: TrainConfig, device: str = "cpu") -> None:
        self._model = model.to(device)
        self._config = config
        self.device = device
        self._optimizer = EagerAdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    @property
    def forward(self) -> Forward:
        """The model, for prediction."""
        return self._model

    def step(self, episode: Episode, learning_rate: float) -> tuple[float, NDArray[np.float64]]:
        """Take one gradient step; return the loss and the groups' excess losses."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        loss, excess = episode_loss(self._model, episode.to(self.device), self._config.model.likelihood)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._config.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.clip_norm)
        self._optimizer.step()
        return float(loss.detach()), excess.double().cpu().numpy()

    def agree(self, value: float) -> float:
        """Return the value itself, since there is only one worker."""
        return value

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights on the CPU."""
        return {k: v.detach().cpu().clone() for k, v in self._model.state_dict().items()}

    def save(self, folder: Path) -> None:
        """Write weights and optimiser state, without pickle."""
        state = self._optimizer.state_dict()
        tensors = {f"{i}.{k}": t for i, entry in state["state"].items() for k, t in entry.items()}
        save_file(self.weights(), folder / "model.safetensors")
        save_file(tensors, folder / "optimizer.safetensors")
        (folder / "optimizer.json").write_text(json.dumps(state["param_groups"]))

    def load(self, folder: Path) -> None:
        """Load what :meth:`save` wrote."""
        self._model.load_state_dict(load_file(folder / "model.safetensors"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in load_file(folder / "optimizer.safetensors").items():
            number, key = name.split(".", 1)
            state.setdefault(int(number), {})[key] = tensor
        groups = read_json(folder / "optimizer.json", "optimizer.json", ConfigError)
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
