"""The transformer: equal to the published architecture, and its symmetries."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published import Published
from synthetic import TINY_MODEL

from gpo_ray.config import ModelConfig
from gpo_ray.model.transformer import ContextCache, GPOTransformer, Points

SIZES = st.integers(1, 5)
SEEDS = st.integers(0, 2**31)


def official_keys():
    keys = [f"embedder.{i}.{p}" for i in (0, 2, 4, 6) for p in ("weight", "bias")]
    layer = ["self_attn.in_proj_weight", "self_attn.in_proj_bias"]
    parts = ("self_attn.out_proj", "linear1", "linear2", "norm1", "norm2")
    layer += [f"{part}.{p}" for part in parts for p in ("weight", "bias")]
    keys += [f"encoder.layers.{i}.{name}" for i in range(6) for name in layer]
    return set(keys) | {f"predictor.{i}.{p}" for i in (0, 2) for p in ("weight", "bias")}


def published_weights(embedding_width, dtype):
    """A published model, every parameter away from its initial value so that none can be mixed up."""
    torch.manual_seed(0)
    published = Published(embedding_width).to(dtype)
    with torch.no_grad():
        for parameter in published.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return published


def tiny(seed=0, width=3, **changes):
    torch.manual_seed(seed)
    model = GPOTransformer(width, ModelConfig(**(TINY_MODEL | changes))).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def random_points(seed, groups, contexts, targets, width=3):
    """X, context and target whose points all have rows of their own."""
    g = torch.Generator().manual_seed(seed)
    rows = groups * (contexts + targets)
    x = torch.randn(rows, width, generator=g, dtype=torch.float64)
    order = torch.randperm(rows, generator=g)
    context = order[: groups * contexts].view(groups, contexts)
    target = order[groups * contexts :].view(groups, targets)
    y = torch.rand(groups, contexts, generator=g, dtype=torch.float64)
    return x, Points(context, y), Points(target)


def close(ours, theirs, tolerance=1e-10):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_parameter_count_is_the_published_one():
    model = GPOTransformer(4096, ModelConfig())
    assert sum(p.numel() for p in model.parameters()) == 1_188_354


def test_state_dict_has_the_official_keys():
    assert set(GPOTransformer(8, ModelConfig()).state_dict()) == official_keys()
    assert set(Published(8).state_dict()) == official_keys()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["float64", "float32"]
)
@pytest.mark.parametrize(("groups", "contexts", "targets"), [(1, 1, 1), (3, 17, 9)])
def test_official_weights_give_the_published_numbers(dtype, tolerance, groups, contexts, targets):
    published = published_weights(24, dtype)
    model = GPOTransformer(24, ModelConfig()).to(dtype)
    model.load_state_dict(published.state_dict(), strict=True)
    x, context, target = random_points(1, groups, contexts, targets, width=24)
    x, context = x.to(dtype), Points(context.index, context.y.to(dtype))
    with torch.no_grad():
        mean, log_std = model(x, context, target)
        want = published(x[context.index], context.y, x[target.index])
    close((mean, log_std.exp()), want, tolerance)


def test_same_numbers_at_the_language_models_width():
    published = published_weights(4096, torch.float32)
    model = GPOTransformer(4096, ModelConfig())
    model.load_state_dict(published.state_dict(), strict=True)
    x, context, target = random_points(2, 2, 6, 5, width=4096)
    x, context = 0.2 * x.float(), Points(context.index, context.y.float())
    with torch.no_grad():
        mean, log_std = model(x, context, target)
        want = published(x[context.index], context.y, x[target.index])
    close((mean, log_std.exp()), want, 5e-6)


def test_gradients_are_the_published_ones():
    published = published_weights(5, torch.float64)
    model = GPOTransformer(5, ModelConfig()).double()
    model.load_state_dict(published.state_dict())
    x, context, target = random_points(3, 2, 4, 3, width=5)
    mean, log_std = model(x, context, target)
    (mean.square().sum() + log_std.exp().sum()).backward()
    mean, std = published(x[context.index], context.y, x[target.index])
    (mean.square().sum() + std.sum()).backward()
    theirs = dict(published.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-9, atol=1e-9)


@given(seed=SEEDS, contexts=st.integers(2, 6), targets=SIZES)
def test_order_of_the_context_does_not_matter(seed, contexts, targets):
    model = tiny()
    x, context, target = random_points(seed, 2, contexts, targets)
    order = torch.randperm(contexts, generator=torch.Generator().manual_seed(seed))
    permuted = Points(context.index[:, order], context.y[:, order])
    close(model(x, permuted, target), model(x, context, target))


@given(seed=SEEDS, contexts=SIZES, targets=st.integers(2, 6))
def test_targets_do_not_see_each_other(seed, contexts, targets):
    model = tiny()
    x, context, target = random_points(seed, 2, contexts, targets)
    whole = model(x, context, target)
    alone = model(x, context, Points(target.index[:, :1]))
    close([t[:, :1] for t in whole], alone)
    changed = x.clone()
    changed[target.index[:, 1:].flatten()] += 5.0
    close([t[:, :1] for t in model(changed, context, target)], alone)


@given(seed=SEEDS, contexts=SIZES, padding=SIZES)
def test_masked_context_points_do_not_matter(seed, contexts, padding):
    model = tiny()
    x, context, target = random_points(seed, 2, contexts + padding, 3)
    mask = torch.arange(contexts + padding).expand(2, -1) < contexts
    bare = Points(context.index[:, :contexts], context.y[:, :contexts])
    padded = Points(context.index, context.y, mask)
    close(model(x, padded, target), model(x, bare, target))
    with pytest.raises(AssertionError):  # without the mask they would
        close(model(x, context, target), model(x, bare, target))


def test_a_real_point_of_zeros_is_not_taken_for_padding():
    model = tiny()
    x, context, target = random_points(0, 2, 4, 3)
    x[context.index[:, -1]] = 0.0
    zeros = Points(context.index, context.y * torch.tensor([1.0, 1.0, 1.0, 0.0]))
    unmasked = model(x, zeros, target)
    close(model(x, Points(zeros.index, zeros.y, torch.ones(2, 4, dtype=torch.bool)), target), unmasked)
    without = model(x, Points(zeros.index[:, :3], zeros.y[:, :3]), target)
    assert (unmasked[0] - without[0]).abs().min() > 1e-6


@given(seed=SEEDS, groups=SIZES, contexts=SIZES, targets=SIZES, masked=st.booleans())
def test_cached_context_gives_the_same_numbers(seed, groups, contexts, targets, masked):
    model = tiny()
    x, context, target = random_points(seed, groups, contexts, targets)
    if masked:
        mask = torch.rand(groups, contexts, generator=torch.Generator().manual_seed(seed)) < 0.5
        mask[:, 0] = True
        context = Points(context.index, context.y, mask)
    cache = model.encode_context(model.project(x), context)
    close(model.decode(model.project(x), cache, target), model(x, context, target))


@given(seed=SEEDS, groups=st.integers(2, 5), contexts=SIZES, targets=SIZES)
def test_a_batch_is_its_groups_one_by_one(seed, groups, contexts, targets):
    model = tiny()
    x, context, target = random_points(seed, groups, contexts, targets)
    batch = model(x, context, target)
    for b in range(groups):
        alone = model(
            x, Points(context.index[b : b + 1], context.y[b : b + 1]), Points(target.index[b : b + 1])
        )
        close([t[b : b + 1] for t in batch], alone)


def test_the_context_shares_matter():
    model = tiny()
    x, context, target = random_points(0, 1, 4, 3)
    other = model(x, Points(context.index, 1 - context.y), target)
    assert (other[0] - model(x, context, target)[0]).abs().min() > 1e-6


@pytest.mark.parametrize("call", ["forward", "encode_context"])
def test_empty_context_is_rejected(call):
    x, context, target = random_points(0, 2, 1, 3)
    empty = Points(context.index[:, :0], context.y[:, :0])
    model = tiny()
    arguments = (x, empty, target) if call == "forward" else (model.project(x), empty)
    with pytest.raises(ValueError, match="context is empty"):
        getattr(model, call)(*arguments)


@pytest.mark.parametrize("depth", [2, 3])
def test_embedder_depth_counts_linear_layers(depth):
    model = tiny(embedder_depth=depth)
    assert sum(isinstance(m, torch.nn.Linear) for m in model.embedder) == depth
    x, context, target = random_points(0, 1, 2, 2)
    assert model(x, context, target)[0].shape == (1, 2)


@given(contexts=st.lists(SIZES, min_size=1, max_size=4), targets=SIZES, seed=SEEDS)
def test_padded_contexts_give_each_group_what_its_own_does(contexts, targets, seed):
    torch.manual_seed(seed)
    model = GPOTransformer(3, ModelConfig(**TINY_MODEL)).double().eval()
    index = torch.randint(20, (len(contexts), targets))
    with torch.no_grad():
        x = model.project(torch.randn(20, 3, dtype=torch.float64))
        caches = [
            model.encode_context(x, Points(torch.randint(20, (1, c)), torch.rand(1, c, dtype=torch.float64)))
            for c in contexts
        ]
        together, _ = model.decode(x, ContextCache.padded(caches), Points(index))
        alone = [model.decode(x, c, Points(i[None]))[0] for c, i in zip(caches, index, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)
