"""The GPO transformer (Zhao et al., section 3; architecture of TNP-D, Nguyen and Grover 2022).

Context points attend to the context, target points to the context only. So no mask between points
is needed: the context is encoded once, its keys and values are kept per group, and targets of any
number attend to them, independently of one another.

Shapes: B groups, C context points, T target points, P either of them, N distinct responses,
E embedding width, D model width, H heads, S slates (questions) of all target points.

Parameters keep the names of the published state dict (``embedder.*``, ``encoder.layers.*``,
``predictor.*``). All parameters are read inside the ``forward`` of the module that owns them, which
ZeRO-3 relies on to gather them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from gpo_ray.config import ModelConfig


@dataclass(frozen=True)
class Points:
    """Context or target points of B groups.

    ``index`` (B, P): row of each point in the distinct responses; ``y`` (B, P): the group's share,
    None for targets; ``mask`` (B, P): True for real points, None if all are; of targets ``prior``
    (B, P): log of the prior share, and ``seen`` (B, P): True where it rests on meta-train groups'
    answers to that question, False where it was estimated from other questions.
    """

    index: Tensor
    y: Tensor | None = None
    mask: Tensor | None = None
    prior: Tensor | None = None
    seen: Tensor | None = None


@dataclass(frozen=True)
class ContextCache:
    """Keys and values of B groups' contexts in every layer, each (B, H, C, D/H), and the mask (B, C)."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor | None

    @classmethod
    def padded(cls, caches: Sequence[ContextCache]) -> ContextCache:
        """Contexts of any lengths as one, in their order; each has B = 1 and no mask."""
        if len(caches) == 1:
            return caches[0]
        lengths = torch.tensor([c.layers[0][0].shape[2] for c in caches])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        layers = tuple(
            (_stacked([c.layers[i][0] for c in caches]), _stacked([c.layers[i][1] for c in caches]))
            for i in range(len(caches[0].layers))
        )
        return cls(layers, None if mask.all() else mask.to(layers[0][0].device))


def _stacked(each: Sequence[Tensor]) -> Tensor:
    """Tensors (1, H, C, D/H) as one (B, H, longest C, D/H), zeros behind the shorter ones."""
    first = each[0]
    whole = first.new_zeros(len(each), first.shape[1], max(t.shape[2] for t in each), first.shape[3])
    for row, t in zip(whole, each, strict=True):
        row[:, : t.shape[2]] = t[0]
    return whole


class PairLinear(nn.Linear):
    """Linear([x, y]), with the large product W_x x computed once per distinct response."""

    def project(self, x: Tensor) -> Tensor:
        """X (N, E) -> W_x x + b (N, D)."""
        return F.linear(x, self.weight[:, :-1], self.bias)

    def forward(  # type: ignore[override]
        self, x: Tensor, points: tuple[Points, ...], projected: bool = False
    ) -> list[Tensor]:
        """X (N, E), or its projection, and points (B, P) each -> (B, P, D) each; y of targets is 0."""
        rows = x if projected else self.project(x)
        return [
            rows[p.index] if p.y is None else rows[p.index] + p.y[..., None] * self.weight[:, -1]
            for p in points
        ]


class PairEmbedder(nn.Sequential):
    """The MLP from (x, y) to a token; of targets, whose y is 0, once per distinct response."""

    def __init__(self, embedding_width: int, width: int, depth: int) -> None:
        layers: list[nn.Module] = [PairLinear(embedding_width + 1, width)]
        for _ in range(depth - 1):
            layers += [nn.ReLU(), nn.Linear(width, width)]
        super().__init__(*layers)

    def project(self, x: Tensor) -> Tensor:
        """As :meth:`PairLinear.project`."""
        return cast(PairLinear, self[0]).project(x)

    def forward(  # type: ignore[override]
        self, x: Tensor, points: tuple[Points, ...], projected: bool = False
    ) -> list[Tensor]:
        """As :meth:`PairLinear.forward`, to tokens."""
        shared = [p.y is None and p.index.numel() > len(x) for p in points]
        every = torch.arange(len(x), device=x.device)
        asked = tuple(Points(every) if s else p for s, p in zip(shared, points, strict=True))
        first, *rest = self
        tokens: list[Tensor] = first(x, asked, projected)
        for layer in rest:
            tokens = [layer(t) for t in tokens]
        return [t[p.index] if s else t for s, t, p in zip(shared, tokens, points, strict=True)]


class ContextAttention(nn.Module):
    """Multi-head attention to the context, with the parameters of ``nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, h: Tensor, cache: tuple[Tensor, Tensor] | None, mask: Tensor | None, only_cache: bool
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """H (B, P, D) attends to ``cache``, or to itself where there is none.

        Args:
            h: (B, P, D) the queries.
            cache: keys and values (B, H, C, D/H) of the context.
            mask: (B, C) True for real context points, None if all are.
            only_cache: return H as it is; its keys and values are all that is asked for.

        Returns:
            (B, P, D) and the keys and values attended to.
        """
        width = h.shape[-1]
        if only_cache:
            k, v = F.linear(h, self.in_proj_weight[width:], self.in_proj_bias[width:]).chunk(2, -1)
            return h, (self._split(k), self._split(v))
        if cache is None:
            q, k, v = F.linear(h, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
            cache = self._split(k), self._split(v)
        else:
            q = F.linear(h, self.in_proj_weight[:width], self.in_proj_bias[:width])
        attended = F.scaled_dot_product_attention(
            self._split(q), *cache, attn_mask=None if mask is None else mask[:, None, None, :]
        )
        return self.out_proj(attended.transpose(1, 2).flatten(2)), cache

    def _split(self, t: Tensor) -> Tensor:
        """(B, P, D) -> (B, H, P, D/H)."""
        return t.reshape(*t.shape[:2], self.heads, -1).transpose(1, 2)


class EncoderLayer(nn.Module):
    """A post-norm transformer layer, with the parameters of ``nn.TransformerEncoderLayer``."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.self_attn = ContextAttention(width, heads)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(
        self,
        h: Tensor,
        cache: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        only_cache: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As :meth:`ContextAttention.forward`."""
        attended, cache = self.self_attn(h, cache, mask, only_cache)
        if only_cache:
            return h, cache
        h = self.norm1(h + attended)
        return self.norm2(h + self.linear2(F.relu(self.linear1(h)))), cache


class TransformerEncoder(nn.Module):
    """The stack of layers, with the parameters of ``nn.TransformerEncoder``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(config.width, config.heads, config.feedforward) for _ in range(config.layers)
        )


class GPOTransformer(nn.Module):
    """From a few (response, share) points of a group to its preference over other responses.

    Args:
        embedding_width: E.
        config: sizes; the defaults are the published ones (1,188,354 parameters at E = 4096).
    """

    def __init__(self, embedding_width: int, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding_width = embedding_width
        self.embedder = PairEmbedder(embedding_width, config.width, config.embedder_depth)
        self.encoder = TransformerEncoder(config)
        self.predictor = nn.Sequential(
            nn.Linear(config.width, config.feedforward), nn.ReLU(), nn.Linear(config.feedforward, 2)
        )
        if config.prior != "none":
            # at 0 the model starts as the prior itself, and can only leave it where that pays; one gate
            # for questions that meta-train groups answered and one for new ones
            self.prior_gate = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, context: Points, target: Points) -> tuple[Tensor, Tensor]:
        """Predict targets from contexts.

        Args:
            x: (N, E) distinct responses.
            context: (B, C) points with shares; every group needs at least one.
            target: (B, T) points.

        Returns:
            Mean and log standard deviation, each (B, T).
        """
        context_tokens, target_tokens = self.embedder(x, (context, target))
        return self._decode(self._encode(context_tokens, context.mask), target_tokens, target)

    def project(self, x: Tensor) -> Tensor:
        """The first layer's part (N, D) of responses (N, E), to be used again for any group: exact."""
        return self.embedder.project(x)

    def encode_context(self, projected: Tensor, context: Points) -> ContextCache:
        """The keys and values of each group's context, to be reused for any targets: exact.

        Args:
            projected: (N, D) distinct responses, from :meth:`project`.
            context: (B, C) points with shares.
        """
        return self._encode(self.embedder(projected, (context,), projected=True)[0], context.mask)

    def decode(self, projected: Tensor, cache: ContextCache, target: Points) -> tuple[Tensor, Tensor]:
        """Predict targets from encoded contexts; returns as :meth:`forward`.

        Args:
            projected: (N, D) distinct responses, from :meth:`project`.
            cache: from :meth:`encode_context`.
            target: (B, T) points.
        """
        return self._decode(cache, self.embedder(projected, (target,), projected=True)[0], target)

    def _encode(self, h: Tensor, mask: Tensor | None) -> ContextCache:
        if h.shape[1] == 0:
            raise ValueError("the context is empty: give at least one answer")
        caches = []
        *_, last = self.encoder.layers
        for layer in self.encoder.layers:  # what the last one makes of the context, no target sees
            h, cache = layer(h, None, mask, only_cache=layer is last)
            caches.append(cache)
        return ContextCache(tuple(caches), mask)

    def _decode(self, cache: ContextCache, h: Tensor, target: Points) -> tuple[Tensor, Tensor]:
        for layer, layer_cache in zip(self.encoder.layers, cache.layers, strict=True):
            h, _ = layer(h, layer_cache, cache.mask)
        mean, log_std = self.predictor(h).unbind(-1)
        if target.prior is not None and target.seen is not None:
            answered, new = self.prior_gate
            mean = target.prior + torch.where(target.seen, answered, new) * mean
        return mean, log_std
