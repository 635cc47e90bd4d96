"""Define the GPO transformer (Zhao et al., section 3; architecture of TNP-D, Nguyen and Grover 2022).

Context points attend to the context, and target points attend to the context only. So no mask between points
is needed: the context is encoded once, its keys and values are kept for each group, and any number of targets
attend to them, independently of one another.

For a model with a prior (``gpo_ray/prior/``), the transformer predicts a correction of the prior's
log-shares; see :class:`GPOTransformer`.

Shapes: B groups, C context points, T target points, P context or target points, N distinct responses,
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

    ``index`` (B, P) is the row of each point in the distinct responses. ``y`` (B, P) is the group's share,
    None for targets. ``mask`` (B, P) is True for real points and False for padding; it is None if all are
    real. Only targets of a model with a prior have the other two: ``prior_log_share`` (B, P) is the logarithm
    of the share that the prior predicts, and ``seen`` (B, P) is True where that rests on meta-train groups'
    answers to the same question, False where it was estimated from other questions.
    """

    index: Tensor
    y: Tensor | None = None
    mask: Tensor | None = None
    prior_log_share: Tensor | None = None
    seen: Tensor | None = None


@dataclass(frozen=True)
class ContextCache:
    """The keys and values of B groups' contexts in every layer, each (B, H, C, D/H), and the mask (B, C)."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor | None

    @property
    def length(self) -> int:
        """Length C of the longest context."""
        return self.layers[0][0].shape[2]

    @property
    def nbytes(self) -> int:
        """Memory of the keys and values in bytes."""
        return sum(t.nbytes for layer in self.layers for t in layer)

    @classmethod
    def padded(cls, caches: Sequence[ContextCache]) -> ContextCache:
        """Join contexts of any lengths, each with B = 1 and no mask, into one cache, in their order."""
        if len(caches) == 1:
            return caches[0]
        lengths = torch.tensor([c.length for c in caches])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        layers = tuple(
            (_stacked([c.layers[i][0] for c in caches]), _stacked([c.layers[i][1] for c in caches]))
            for i in range(len(caches[0].layers))
        )
        return cls(layers, None if mask.all() else mask.to(layers[0][0].device))


def _stacked(each: Sequence[Tensor]) -> Tensor:
    """Stack tensors (1, H, C, D/H) into one (B, H, longest C, D/H); shorter ones are followed by zeros."""
    first = each[0]
    whole = first.new_zeros(len(each), first.shape[1], max(t.shape[2] for t in each), first.shape[3])
    for row, t in zip(whole, each, strict=True):
        row[:, : t.shape[2]] = t[0]
    return whole


class PairLinear(nn.Linear):
    """A linear layer of [x, y] that computes the large product W_x x once per distinct response."""

    def project(self, x: Tensor) -> Tensor:
        """Compute W_x x + b (N, D) from x (N, E)."""
        return F.linear(x, self.weight[:, :-1], self.bias)

    @staticmethod
    def fold_standardization(
        weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return weight and bias that give for x what these give for (x - mean) / scale."""
        w = weight.double()
        folded = w[:, :-1] / scale.double()
        moved = bias.double() - folded @ mean.double()
        return torch.cat([folded, w[:, -1:]], 1).float(), moved.float()

    def forward(  # type: ignore[override]
        self, x: Tensor, points: tuple[Points, ...], projected: bool = False
    ) -> list[Tensor]:
        """Apply the layer to points, where y of targets is 0.

        Args:
            x: (N, E) distinct responses, or their projection (N, D) from :meth:`project`.
            points: several sets of points, each (B, P).
            projected: whether ``x`` is the projection.

        Returns:
            (B, P, D) for each set of points.
        """
        rows = x if projected else self.project(x)
        return [
            rows[p.index] if p.y is None else rows[p.index] + p.y[..., None] * self.weight[:, -1]
            for p in points
        ]


class PairEmbedder(nn.Sequential):
    """The MLP from (x, y) to a token; targets, whose y is 0, share a token per distinct response."""

    def __init__(self, embedding_width: int, width: int, depth: int) -> None:
        layers: list[nn.Module] = [PairLinear(embedding_width + 1, width)]
        for _ in range(depth - 1):
            layers += [nn.ReLU(), nn.Linear(width, width)]
        super().__init__(*layers)

    def project(self, x: Tensor) -> Tensor:
        """Return the first layer's projection of x; see :meth:`PairLinear.project`."""
        return cast(PairLinear, self[0]).project(x)

    def forward(  # type: ignore[override]
        self, x: Tensor, points: tuple[Points, ...], projected: bool = False
    ) -> list[Tensor]:
        """Return the tokens of points; arguments and shapes are those of :meth:`PairLinear.forward`."""
        shared = [p.y is None and p.index.numel() > len(x) for p in points]
        every = torch.arange(len(x), device=x.device)
        asked = tuple(Points(every) if s else p for s, p in zip(shared, points, strict=True))
        first, *rest = self
        tokens: list[Tensor] = first(x, asked, projected)
        for layer in rest:
            tokens = [layer(t) for t in tokens]
        return [t[p.index] if s else t for s, t, p in zip(shared, tokens, points, strict=True)]


class ContextAttention(nn.Module):
    """A multi-head attention to the context, with the parameters of ``nn.MultiheadAttention``."""

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
        """Let tokens attend to ``cache``, or to themselves if there is none.

        Args:
            h: (B, P, D) the tokens that attend.
            cache: keys and values (B, H, C, D/H) of the context.
            mask: (B, C) True for real context points, None if all are real.
            only_cache: whether only the keys and values of ``h`` are needed; ``h`` is then returned
                unchanged.

        Returns:
            The attention's output (B, P, D), and the keys and values that were attended to.
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
        """Split (B, P, D) into heads (B, H, P, D/H)."""
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
        """Apply the layer; arguments and results are those of :meth:`ContextAttention.forward`."""
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


FIRST_LAYER = "embedder.0"
"""Path, in the state dict of a :class:`GPOTransformer`, of the :class:`PairLinear` that reads embeddings."""


class GPOTransformer(nn.Module):
    """A transformer that predicts a group's shares of some responses from its shares of a few others.

    Without a prior, a target's mean is the first output of ``predictor``, and the softmax of the means within
    a question gives the shares (:func:`~gpo_ray.likelihoods.shares.slate_log_softmax`). With a prior, the
    transformer corrects it at the very end: the mean is the log of the share that the prior predicts plus a
    learnt gate times this output. The prior is no input of the network. There are two gates, one for seen and
    one for unseen questions; both are 0 before training, where the model equals its prior.

    Args:
        embedding_width: width E of the embeddings.
        config: sizes of the layers; the defaults are the published ones (1,188,354 parameters at E = 4096).
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
            # with gates of 0 the model starts as the prior itself; one gate is for seen questions and one for
            # unseen questions, and _decode applies them
            self.prior_gate = nn.Parameter(torch.zeros(2))

    @staticmethod
    def fold_standardization(weights: dict[str, Tensor], mean: Tensor, scale: Tensor) -> dict[str, Tensor]:
        """Return weights for raw embeddings x that give what ``weights`` give for (x - mean) / scale.

        Args:
            weights: the weights of a model of this class.
            mean: (E,) mean of the embeddings.
            scale: (E,) factor that the embeddings were divided by.
        """
        names = f"{FIRST_LAYER}.weight", f"{FIRST_LAYER}.bias"
        weight, bias = (weights[name] for name in names)
        folded = PairLinear.fold_standardization(weight, bias, mean, scale)
        return weights | dict(zip(names, folded, strict=True))

    @property
    def corrects_prior(self) -> bool:
        """Whether a gate is open; training leaves both at 0 where the transformer gains nothing."""
        return bool(self.prior_gate.any())

    def forward(self, x: Tensor, context: Points, target: Points) -> tuple[Tensor, Tensor]:
        """Predict targets from contexts.

        If the targets have a prior, the means are the prior's log-shares plus the transformer's gated
        correction.

        Args:
            x: (N, E) distinct responses.
            context: (B, C) points with shares; every group needs at least one.
            target: (B, T) points, with ``prior_log_share`` and ``seen`` for a model with a prior.

        Returns:
            Mean and log standard deviation, each (B, T). The softmax of the means within a question is the
            prediction of its shares.
        """
        context_tokens, target_tokens = self.embedder(x, (context, target))
        return self._decode(self._encode(context_tokens, context.mask), target_tokens, target)

    def project(self, x: Tensor) -> Tensor:
        """Compute the first layer's projection (N, D) of responses (N, E).

        It can be used again for any group, with exactly the same predictions.
        """
        return self.embedder.project(x)

    def encode_context(self, projected: Tensor, context: Points) -> ContextCache:
        """Compute the keys and values of each group's context.

        They can be used again for any targets, with exactly the same predictions.

        Args:
            projected: (N, D) distinct responses, from :meth:`project`.
            context: (B, C) points with shares.
        """
        return self._encode(self.embedder(projected, (context,), projected=True)[0], context.mask)

    def decode(self, projected: Tensor, cache: ContextCache, target: Points) -> tuple[Tensor, Tensor]:
        """Predict targets from encoded contexts, with the results of :meth:`forward`.

        Args:
            projected: (N, D) distinct responses, from :meth:`project`.
            cache: the encoded contexts, from :meth:`encode_context`.
            target: (B, T) points, with ``prior_log_share`` and ``seen`` for a model with a prior.
        """
        return self._decode(cache, self.embedder(projected, (target,), projected=True)[0], target)

    def _encode(self, h: Tensor, mask: Tensor | None) -> ContextCache:
        """Encode the context's tokens ``h`` (B, C, D)."""
        if h.shape[1] == 0:
            raise ValueError("the context is empty: give at least one answer")
        caches = []
        *_, last = self.encoder.layers
        for layer in self.encoder.layers:  # no target attends to the last layer's output for the context
            h, cache = layer(h, None, mask, only_cache=layer is last)
            caches.append(cache)
        return ContextCache(tuple(caches), mask)

    def _decode(self, cache: ContextCache, h: Tensor, target: Points) -> tuple[Tensor, Tensor]:
        """Predict from the targets' tokens ``h`` (B, T, D), and correct the prior if the targets have one.

        The corrected mean of a target is ``log(prior share) + gate * output``, where the output is the first
        one of ``predictor`` and the gate is ``prior_gate[0]`` for seen and ``prior_gate[1]`` for unseen
        questions. The log standard deviation comes from the transformer alone.
        """
        for layer, layer_cache in zip(self.encoder.layers, cache.layers, strict=True):
            h, _ = layer(h, layer_cache, cache.mask)
        mean, log_std = self.predictor(h).unbind(-1)
        if target.prior_log_share is not None and target.seen is not None:
            seen, unseen = self.prior_gate
            mean = target.prior_log_share + torch.where(target.seen, seen, unseen) * mean
        return mean, log_std
