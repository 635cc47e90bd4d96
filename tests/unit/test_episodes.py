"""Preferences as arrays, and the episodes drawn from them."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import arrays, bundle_config, survey, tiny_config

from gpo_ray.config import EpisodeConfig
from gpo_ray.meta_training.engine import new_model
from gpo_ray.model import predict
from gpo_ray.model.bundle import Bundle
from gpo_ray.model.episodes import Task, build_episode, draw_tasks
from gpo_ray.model.estimator import GroupPreferenceModel
from gpo_ray.model.predict import episode_loss, fixed_context_tasks, predict_tasks, score
from gpo_ray.preferences.metrics import alignment
from gpo_ray.preferences.slates import spans

SEEDS = st.integers(0, 2**31)
FULL = arrays(survey(6, 12))
SPARSE = arrays(survey(6, 12, answered=0.4))
CONFIG = EpisodeConfig(groups=4, context_questions=(2, 4), target_questions=(3, 6))


def draw(data, seed, config=CONFIG, groups=range(6), questions=None):
    asked = np.arange(12) if questions is None else questions
    return draw_tasks(data, list(groups), asked, config, (0, seed))


def as_tuples(tasks):
    return [(t.group, t.context.tolist(), t.target.tolist()) for t in tasks]


def model(seed=0, **changes):
    return new_model(6, tiny_config(seed=seed, **changes)).eval()


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=8), data=st.data())
def test_spans_are_the_ranges_end_to_end(sizes, data):
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    which = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=6))
    want = [i for w in which for i in range(offsets[w], offsets[w + 1])]
    assert spans(offsets, np.asarray(which, np.int64)).tolist() == want


@pytest.mark.parametrize("answered", [1.0, 0.4])
def test_shares_of_are_those_of_the_data_set(answered):
    dataset = survey(5, 9, seed=3, answered=answered)
    data = arrays(dataset)
    rows = {(p["group_id"], p["question_id"]): p["share"] for p in dataset.preferences.to_pylist()}
    assert sum(len(a) for a in data.answered) == len(rows)
    for g, group_id in enumerate(data.group_ids):
        backwards = data.answered[g][::-1]
        want = [v for q in backwards for v in rows[group_id, data.question_ids[q]]]
        np.testing.assert_array_equal(data.shares_of(g, backwards), want)


def test_the_scale_is_nan_exactly_for_nominal_questions():
    dataset = survey(2, 9)
    data = arrays(dataset)
    for i, q in enumerate(dataset.iter_questions()):
        want = [np.nan] * len(q.responses) if q.ordinal is None else q.ordinal
        np.testing.assert_array_equal(data.ordinal[data.rows(np.array([i]))], want)


@given(seed=SEEDS)
def test_same_seed_draws_the_same_tasks(seed):
    assert as_tuples(draw(SPARSE, seed)) == as_tuples(draw(SPARSE, seed))


def test_other_seeds_draw_other_tasks():
    assert len({str(as_tuples(draw(FULL, seed))) for seed in range(10)}) == 10


def test_every_group_and_question_gets_drawn_in_either_role():
    tasks = [t for seed in range(60) for t in draw(FULL, seed)]
    assert {t.group for t in tasks} == set(range(6))
    assert {q for t in tasks for q in t.context.tolist()} == set(range(12))
    assert {q for t in tasks for q in t.target.tolist()} == set(range(12))


@given(seed=SEEDS)
def test_groups_that_answered_all_get_the_same_questions(seed):
    tasks = as_tuples(draw(FULL, seed))
    assert len({str(t[1:]) for t in tasks}) == 1
    assert len({t[0] for t in tasks}) == len(tasks) == CONFIG.groups


@given(seed=SEEDS)
def test_sizes_are_within_their_ranges(seed):
    for task in draw(FULL, seed):
        assert 2 <= len(task.context) <= 4
        assert 3 <= len(task.target) <= 6


def test_all_sizes_of_the_ranges_are_drawn():
    drawn = [draw(FULL, seed)[0] for seed in range(200)]
    assert {len(t.context) for t in drawn} == {2, 3, 4}
    assert {len(t.target) for t in drawn} == {3, 4, 5, 6}


@given(seed=SEEDS)
def test_context_and_target_are_disjoint_answered_questions_of_those_given(seed):
    allowed = np.asarray([1, 4, 7, 8, 9, 11])
    for task in draw(SPARSE, seed, questions=allowed):
        both = np.concatenate([task.context, task.target])
        assert len(set(both.tolist())) == len(both)
        assert set(both.tolist()) <= set(SPARSE.answered[task.group].tolist()) & set(allowed.tolist())
        assert len(task.context) >= 1
        assert len(task.target) >= 1


@given(seed=SEEDS, context=st.integers(1, 40), target=st.integers(1, 40))
def test_sparse_groups_divide_what_they_have_in_proportion(seed, context, target):
    config = EpisodeConfig(groups=6, context_questions=(context, context), target_questions=(target, target))
    for task in draw(SPARSE, seed, config):
        c, t, have = len(task.context), len(task.target), len(SPARSE.answered[task.group])
        if context + target <= have:
            assert (c, t) == (context, target)
        else:
            assert c + t == have
            assert abs(c - np.clip(have * context / (context + target), 1, have - 1)) <= 0.5


def test_a_group_with_a_single_answer_is_left_out():
    only = SPARSE.answered[2][:1]
    rest = np.setdiff1d(np.arange(12), SPARSE.answered[2])
    tasks = draw(SPARSE, 0, EpisodeConfig(groups=9), questions=np.concatenate([only, rest]))
    assert 2 not in {t.group for t in tasks}


@given(seed=SEEDS)
def test_an_episode_holds_the_data_of_its_tasks(seed):
    tasks = draw(SPARSE, seed)
    episode = build_episode(SPARSE, tasks)
    sizes = np.diff(SPARSE.offsets)
    mask = episode.context.mask
    starts = np.concatenate([[0], np.cumsum([sizes[t.target].sum() for t in tasks])])
    flat_target = episode.target.index.flatten()[episode.position]
    slates = np.concatenate([np.repeat(np.arange(len(t.target)), sizes[t.target]) for t in tasks])
    for b, task in enumerate(tasks):
        real = slice(None) if mask is None else mask[b]
        index, y = episode.context.index[b][real], episode.context.y[b][real]
        assert torch.equal(episode.x[index], SPARSE.x[SPARSE.rows(task.context)])
        np.testing.assert_array_equal(y, SPARSE.shares_of(task.group, task.context).astype(np.float32))
        part = slice(starts[b], starts[b + 1])
        assert torch.equal(episode.x[flat_target[part]], SPARSE.x[SPARSE.rows(task.target)])
        np.testing.assert_array_equal(
            episode.y[part], SPARSE.shares_of(task.group, task.target).astype(np.float32)
        )
        own = episode.slate[part] - episode.slate[part][0]
        np.testing.assert_array_equal(own, slates[part])
        assert (episode.position[part] // episode.target.index.shape[1] == b).all()
    assert episode.slates == episode.total_slates == sum(len(t.target) for t in tasks)
    assert episode.slate.unique().tolist() == list(range(episode.slates))
    assert episode.total_points == len(episode.y) == starts[-1]
    assert len(episode.x) == len(torch.unique(episode.x, dim=0))


@pytest.mark.parametrize("likelihood", ["gaussian", "cross_entropy"])
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_losses_and_gradients_average_to_those_of_one_process(likelihood, workers):
    tasks = draw(SPARSE, 5, EpisodeConfig(groups=5, context_questions=(2, 4), target_questions=(3, 6)))
    assert len({len(t.target) for t in tasks}) > 1
    network = model()
    whole, excess = episode_loss(network, build_episode(SPARSE, tasks), likelihood)
    whole.backward()
    gradients = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    parts = [
        episode_loss(network, build_episode(SPARSE, tasks[r::workers], tasks), likelihood, workers)
        for r in range(workers)
    ]
    mean = sum(loss for loss, _ in parts) / workers
    mean.backward()
    torch.testing.assert_close(mean, whole, rtol=1e-5, atol=1e-6)
    for rank, (_, part) in enumerate(parts):
        torch.testing.assert_close(part, excess[rank::workers], rtol=1e-4, atol=1e-6)
    for got, want in zip([p.grad for p in network.parameters()], gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["gaussian", "cross_entropy"])
def test_the_loss_is_the_mean_over_groups_taken_one_by_one(likelihood):
    tasks, network = draw(SPARSE, 1), model()
    alone = [build_episode(SPARSE, [t]) for t in tasks]
    weights = [e.total_points if likelihood == "gaussian" else e.total_slates for e in alone]
    want = sum(w * episode_loss(network, e, likelihood)[0] for w, e in zip(weights, alone, strict=True))
    got = episode_loss(network, build_episode(SPARSE, tasks), likelihood)[0]
    torch.testing.assert_close(got, want / sum(weights), rtol=1e-5, atol=1e-6)


def test_standardized_vectors_have_mean_zero_and_variance_one_over_the_given_questions():
    questions = np.asarray([0, 3, 5, 7])
    scaled, mean, scale = FULL.standardized(questions)
    rows = scaled.x[scaled.rows(questions)]
    torch.testing.assert_close(rows.mean(0), torch.zeros(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(rows.std(0), torch.ones(6), rtol=1e-4, atol=0)
    torch.testing.assert_close(scaled.x * scale + mean, FULL.x, rtol=1e-5, atol=1e-5)


def folded_error(raw):
    """Largest difference that folding makes to predictions, and that leaving it out would make."""
    scaled, mean, scale = raw.standardized(np.arange(12))
    network, folded, tasks = model(), model(), draw(raw, 0)
    folded.load_state_dict(network.fold_standardization(network.state_dict(), mean, scale))
    want, got, bare = (
        np.concatenate(predict_tasks(n, data, tasks))
        for n, data in ((network, scaled), (folded, raw), (network, raw))
    )
    return np.abs(got - want).max(), np.abs(bare - want).max()


def test_folded_weights_predict_on_raw_vectors_as_before_on_standardized_ones():
    error, unfolded = folded_error(FULL)
    assert error < 1e-5
    assert unfolded > 1e-3


def test_folding_is_exact_with_a_dimension_that_never_varies():
    constant = FULL.x.clone()
    constant[:, 2] = 3.0
    assert folded_error(dataclasses.replace(FULL, x=constant))[0] < 1e-5


def test_predictions_of_tasks_equal_the_estimators(monkeypatch):
    monkeypatch.setattr(predict, "TARGET_CHUNK", 2)  # several chunks
    network, tasks = model(), draw(SPARSE, 2)
    assert len(tasks) > 2
    estimator = GroupPreferenceModel(Bundle(network, bundle_config(tiny_config()), {}))

    def vectors(q):
        return SPARSE.x[SPARSE.rows(np.asarray([q]))].numpy()

    for task, shares in zip(tasks, predict_tasks(network, SPARSE, tasks), strict=True):
        context = [(vectors(q), SPARSE.shares_of(task.group, np.asarray([q]))) for q in task.context]
        want = estimator.adapt(context).predict([vectors(q) for q in task.target])
        np.testing.assert_allclose(shares, np.concatenate(want), atol=1e-6)


@given(seed=SEEDS, context=st.integers(1, 15))
def test_fixed_context_is_the_first_answered_questions_of_the_order(seed, context):
    order = np.random.default_rng(seed).permutation(12)
    tasks = fixed_context_tasks(SPARSE, range(6), order, context)
    assert [t.group for t in tasks] == list(range(6))
    for task in tasks:
        mine = [q for q in order.tolist() if q in SPARSE.answered[task.group]]
        c = min(context, len(mine) - 1)
        assert task.context.tolist() == mine[:c]
        assert task.target.tolist() == mine[c:]


def test_given_targets_are_scored_as_far_as_answered():
    order, targets = np.arange(6), np.arange(6, 12)
    for task in fixed_context_tasks(SPARSE, range(6), order, 99, targets):
        answered = SPARSE.answered[task.group]
        assert task.context.tolist() == [q for q in order if q in answered]
        assert task.target.tolist() == [q for q in targets if q in answered]
        assert len(task.context) > 0
        assert len(task.target) > 0


def test_score_is_the_alignment_of_each_target_question():
    task = Task(0, np.asarray([0]), np.asarray([5, 2, 3]))
    uniform = np.concatenate([np.full(n, 1 / n) for n in np.diff(FULL.offsets)[task.target]])
    scores = score(FULL, task, uniform)
    for i, q in enumerate(task.target):
        rows = FULL.rows(np.asarray([q]))
        human = FULL.shares_of(0, np.asarray([q]))
        offsets = np.asarray([0, len(rows)])
        want = alignment(np.full(len(rows), 1 / len(rows)), human, offsets, FULL.ordinal[rows])
        np.testing.assert_allclose(scores[i], want[0])


def test_group_and_question_numbers_follow_the_ids():
    assert FULL.group_numbers(["g3", "g0"]) == [3, 0]
    assert FULL.question_numbers(["q11", "q2"]).tolist() == [11, 2]
