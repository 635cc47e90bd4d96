"""The published recipe (Zhao et al., arXiv 2310.11523), written plainly, which other benchmarks compare with.

It was written after the paper and its description alone: every group brings its own inputs of width E, one
dense mask covers context and targets, the softmax runs over each question in a Python loop, and a prediction
asks for one option at a time. It measures nothing itself; benchmarks and tests import it, the package does
not.

Shapes: B groups, C context options, T target options, E embedding width.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.model.episodes import Task


class Published(nn.Module):
    """The published transformer; its parameters have the names and shapes of the package's."""

    def __init__(self, embedding_width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(embedding_width + 1, 128)]
        for _ in range(3):
            layers += [nn.ReLU(), nn.Linear(128, 128)]
        self.embedder = nn.Sequential(*layers)
        layer = nn.TransformerEncoderLayer(128, 4, 128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.predictor = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))

    def forward(self, xc: Tensor, yc: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the targets' means and standard deviations.

        Args:
            xc: embeddings of the context's options, (B, C, E).
            yc: shares of the context's options, (B, C).
            xt: embeddings of the target options, (B, T, E).

        Returns:
            The means and the standard deviations, (B, T) each.
        """
        contexts, targets = xc.shape[1], xt.shape[1]
        pairs = torch.cat(
            [torch.cat([xc, yc[..., None]], -1), torch.cat([xt, torch.zeros_like(xt[..., :1])], -1)], 1
        )
        mask = torch.zeros(contexts + targets, contexts + targets, dtype=xc.dtype)
        mask[:, contexts:] = -torch.inf
        padding = torch.zeros(pairs.shape[:2], dtype=xc.dtype)  # of groups with fewer answers than others
        padding[pairs[..., :-1].sum(-1) == 0] = -torch.inf
        hidden = self.encoder(self.embedder(pairs), mask=mask, src_key_padding_mask=padding)[:, contexts:]
        mean, log_std = self.predictor(hidden).unbind(-1)
        return mean, log_std.exp()


def published_step(
    model: Published, optimizer: torch.optim.Optimizer, arrays: PreferenceArrays, tasks: Sequence[Task]
) -> float:
    """Take one gradient step on groups that all have the same numbers of context and target options.

    Returns:
        The loss before the step.
    """
    loss = published_loss(model, arrays, tasks)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def published_loss(model: Published, arrays: PreferenceArrays, tasks: Sequence[Task]) -> Tensor:
    """Return the mean negative log-density of the groups' shares over their target options, ()."""
    sizes = np.diff(arrays.offsets)
    xc = torch.stack([arrays.x[arrays.rows(t.context)] for t in tasks])
    xt = torch.stack([arrays.x[arrays.rows(t.target)] for t in tasks])
    yc, yt = (
        torch.from_numpy(np.stack([arrays.shares_of(t.group, q) for t, q in zip(tasks, asked, strict=True)]))
        for asked in ([t.context for t in tasks], [t.target for t in tasks])
    )
    mean, std = model(xc, yc.to(xc.dtype), xt)
    share = torch.zeros_like(mean)
    for g, t in enumerate(tasks):
        for a, b in _slates(sizes[t.target]):
            share[g, a:b] = torch.softmax(mean[g, a:b], -1)
    return -torch.distributions.Normal(share, std).log_prob(yt.to(xc.dtype)).mean()


@torch.inference_mode()
def published_prediction(
    model: Published, context: Sequence[tuple[Tensor, Tensor]], question: Tensor
) -> NDArray[np.float64]:
    """Predict a group's shares (R,) over a question's R responses, one option at a time.

    Args:
        model: the transformer with the weights to use.
        context: embeddings (R', E) of the responses and shares (R',) of each question that was answered.
        question: embeddings of the question's responses, (R, E).
    """
    means = []
    for option in question:
        xc = torch.cat([x for x, _ in context])[None]
        yc = torch.cat([y for _, y in context])[None]
        mean, _ = model(xc, yc, option[None, None])
        means.append(float(mean))
    return torch.softmax(torch.tensor(means, dtype=torch.float64), 0).numpy()


def _slates(sizes: NDArray[np.int64]) -> list[tuple[int, int]]:
    ends = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    return list(itertools.pairwise(ends))
