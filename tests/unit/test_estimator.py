"""GroupPreferenceModel: the transformer and a softmax, with its input checked."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import bundle_config, tiny_config

from gpo_ray.errors import DataError
from gpo_ray.meta_training.engine import new_model
from gpo_ray.model.bundle import Bundle, write_bundle
from gpo_ray.model.estimator import GroupPreferenceModel
from gpo_ray.model.transformer import Points

WIDTH = 6
NETWORK = new_model(WIDTH, tiny_config()).eval()
MODEL = GroupPreferenceModel(Bundle(NETWORK, bundle_config(tiny_config()), {}))
SLATES = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def vectors(sizes, seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, WIDTH)) for n in sizes]


def answers(sizes, seed):
    rng = np.random.default_rng([seed, 1])
    return [(x, rng.dirichlet(np.ones(len(x)))) for x in vectors(sizes, seed)]


@given(context=SLATES, target=SLATES, seed=st.integers(0, 99))
def test_predictions_are_the_transformers_means_through_a_softmax_within_each_question(context, target, seed):
    known, asked = answers(context, seed), vectors(target, seed + 1)
    x = torch.from_numpy(np.concatenate([v for v, _ in known] + asked)).float()
    points = torch.arange(len(x))[None]
    y = torch.from_numpy(np.concatenate([share for _, share in known])).float()[None]
    c = y.shape[1]
    with torch.no_grad():
        mean, _ = NETWORK(x, Points(points[:, :c], y), Points(points[:, c:]))
    want = [m.softmax(0).numpy() for m in mean[0].split(target)]
    got = MODEL.adapt(known).predict(asked)
    assert [len(g) for g in got] == target
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, atol=1e-6)
        np.testing.assert_allclose(g.sum(), 1, atol=1e-6)


@given(seed=st.integers(0, 99))
def test_one_question_at_a_time_or_all_at_once_are_the_same(seed):
    group, asked = MODEL.adapt(answers([2, 3], seed)), vectors([3, 2, 4], seed + 1)
    for together, x in zip(group.predict(asked), asked, strict=True):
        np.testing.assert_allclose(group.predict([x])[0], together, atol=1e-6)


@given(seed=st.integers(0, 99))
def test_order_of_the_context_does_not_matter(seed):
    known, asked = answers([2, 3, 4], seed), vectors([3], seed + 1)
    np.testing.assert_allclose(
        MODEL.adapt(known).predict(asked)[0], MODEL.adapt(known[::-1]).predict(asked)[0], atol=1e-6
    )


def test_groups_do_not_disturb_each_other():
    asked = vectors([3], 9)
    first = MODEL.adapt(answers([2, 3], 0))
    before = first.predict(asked)[0]
    other = MODEL.adapt(answers([2, 3], 1)).predict(asked)[0]
    np.testing.assert_array_equal(first.predict(asked)[0], before)
    assert not np.allclose(before, other)


def test_lists_and_integers_do_as_well_as_arrays():
    (x, _), asked = answers([2], 0)[0], vectors([3], 1)
    want = MODEL.adapt([(x, np.asarray([1.0, 0.0]))]).predict(asked)[0]
    np.testing.assert_array_equal(MODEL.adapt([(x.tolist(), [1, 0])]).predict(asked)[0], want)


def test_input_is_left_as_it_was():
    known, asked = answers([2, 3], 0), vectors([3], 1)
    copies = [a.copy() for pair in known for a in pair] + [asked[0].copy()]
    MODEL.adapt(known).predict(asked)
    for a, b in zip([a for pair in known for a in pair] + asked, copies, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_question_gives_no_prediction():
    assert MODEL.adapt(answers([2], 0)).predict([]) == []


def test_loaded_bundle_predicts_the_same(tmp_path):
    write_bundle(tmp_path, NETWORK.state_dict(), bundle_config(tiny_config()), {"survey": "x"})
    loaded = GroupPreferenceModel.load(tmp_path)
    known, asked = answers([2, 3], 0), vectors([3, 2], 1)
    for a, b in zip(loaded.adapt(known).predict(asked), MODEL.adapt(known).predict(asked), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.provenance == {"survey": "x"}


def bad_vectors(change):
    x = np.ones((2, WIDTH))
    return {
        "too wide": np.ones((2, WIDTH + 1)),
        "too narrow": np.ones((2, WIDTH - 1)),
        "one axis": np.ones(WIDTH),
        "no response": np.ones((0, WIDTH)),
        "nan": np.where(np.eye(2, WIDTH), np.nan, x),
        "inf": np.where(np.eye(2, WIDTH), np.inf, x),
    }[change]


BAD = pytest.mark.parametrize("change", ["too wide", "too narrow", "one axis", "no response", "nan", "inf"])


@BAD
def test_bad_context_vectors_are_refused(change):
    with pytest.raises(DataError, match=r"context: question 1: (expected|an embedding)"):
        MODEL.adapt([*answers([2], 0), (bad_vectors(change), [0.5, 0.5])])


@BAD
def test_bad_question_vectors_are_refused(change):
    group = MODEL.adapt(answers([2], 0))
    with pytest.raises(DataError, match=r"questions: question 1: (expected|an embedding)"):
        group.predict([*vectors([2], 0), bad_vectors(change)])


@pytest.mark.parametrize(
    "share", [[0.5, 0.4], [0.6, 0.6], [1.5, -0.5], [np.nan, 1.0], [np.inf, 0.0], [0.0, 0.0]]
)
def test_shares_that_are_no_distribution_are_refused(share):
    with pytest.raises(DataError, match="context question 1: shares must be at least 0 and sum to 1"):
        MODEL.adapt([*answers([2], 0), (np.ones((2, WIDTH)), share)])


@pytest.mark.parametrize("share", [[1.0], [0.5, 0.25, 0.25], [], [[0.5, 0.5]]])
def test_wrong_number_of_shares_is_refused(share):
    with pytest.raises(DataError, match=r"context question 0: \d shares for 2 responses"):
        MODEL.adapt([(np.ones((2, WIDTH)), share)])


def test_empty_context_is_refused():
    with pytest.raises(DataError, match="the context is empty"):
        MODEL.adapt([])
