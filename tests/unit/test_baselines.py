"""Plain baselines against numpy written out, and on data made so that the answer is known."""

import numpy as np
import pytest
import torch
from synthetic import arrays as join
from synthetic import survey

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.evaluation.methods import METHODS, BaselineTask, MetaTrainAnswers
from gpo_ray.evaluation.methods.baseline import FittedBaseline
from gpo_ray.evaluation.methods.gaussian import OwnFunctions, SharedFunction, gaussian_process
from gpo_ray.evaluation.methods.kernels import CentredKernel
from gpo_ray.evaluation.methods.plain import nearest_question
from gpo_ray.evaluation.methods.regression import (
    KERNEL_PENALTIES,
    Gram,
    kernel,
    low_rank,
    ridge_mix,
)
from gpo_ray.model.episodes import Task

BASELINES = [name for name, method in METHODS.items() if method.plain]
FROM_GROUPS = {
    "train-mean",
    "context-mean",
    "nearest-group",
    "ridge-mix",
    "low-rank",
    "majority",
    "item-item",
    "item-response",
}
"""Baselines that can answer no question which meta-train groups did not."""


def population(table, sizes, x=None, ordinal=None, seed=0):
    """Arrays of groups whose shares are the rows of a table (G, N), NaN where one did not answer."""
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    rng = np.random.default_rng(seed)
    answered = [np.flatnonzero(~np.isnan(row[offsets[:-1]])) for row in table]
    return PreferenceArrays(
        x=torch.from_numpy(rng.normal(size=(offsets[-1], 5)) if x is None else x).float(),
        offsets=offsets,
        ordinal=np.full(offsets[-1], np.nan) if ordinal is None else ordinal,
        letter_logprob=np.log(np.repeat(1 / np.asarray(sizes), sizes)).astype(np.float32),
        group_ids=tuple(f"g{i}" for i in range(len(table))),
        question_ids=tuple(f"q{i}" for i in range(len(sizes))),
        answered=tuple(answered),
        shares=tuple(row[~np.isnan(row)] for row in table),
    )


def baseline_task(arrays, group, context, target, groups=None, questions=None):
    train = MetaTrainAnswers(
        arrays,
        [g for g in range(len(arrays.group_ids)) if g != group] if groups is None else groups,
        np.arange(len(arrays.question_ids)) if questions is None else np.asarray(questions),
    )
    return BaselineTask(train, Task(group, np.asarray(context), np.asarray(target)))


def answer(name, train, task):
    """A baseline's shares over a task's targets, None if it can say nothing of them."""
    found = FittedBaseline(METHODS[name].answer, train).predict([task])
    return None if found is None else found[0].shares


def random_table(groups=6, sizes=(2, 3, 4, 2, 3, 5, 2, 3), answered=1.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(groups):
        parts = [rng.dirichlet(np.full(s, 3.0)) for s in sizes]
        for i in np.flatnonzero(rng.random(len(sizes)) > answered):
            parts[i] = np.full(sizes[i], np.nan)
        rows.append(np.concatenate(parts))
    return np.stack(rows), np.asarray(sizes)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("answered", [1.0, 0.4])
def test_shares_sum_to_one_on_every_question(name, answered):
    arrays = join(survey(groups=8, count=20, answered=answered))
    train = MetaTrainAnswers(arrays, [0, 1, 2, 3, 4], np.arange(20))
    for group in (5, 6, 7):
        mine = arrays.answered[group]
        task = Task(group, mine[: len(mine) // 2], mine[len(mine) // 2 :])
        shares = answer(name, train, task)
        starts = np.cumsum(np.diff(arrays.offsets)[task.target]) - np.diff(arrays.offsets)[task.target]
        assert (shares >= 0).all()
        np.testing.assert_allclose(np.add.reduceat(shares, starts), 1, atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_order_of_meta_train_groups_changes_nothing(name):
    arrays = join(survey(groups=8, count=20, answered=0.7))
    mine = arrays.answered[7]
    task = Task(7, mine[:5], mine[5:])
    there, back = (
        answer(name, MetaTrainAnswers(arrays, g, np.arange(20)), task)
        for g in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1])
    )
    np.testing.assert_allclose(there, back, atol=1e-3 if name == "item-response" else 1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_target_answers_are_not_read(name):
    table, sizes = random_table()
    other = table.copy()
    other[5, 9:] = random_table(seed=1)[0][5, 9:]
    first, second = (
        answer(name, q.train, q.task)
        for q in (baseline_task(population(t, sizes), 5, [0, 1, 2], [3, 4, 5, 6, 7]) for t in (table, other))
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", BASELINES)
def test_new_questions_are_answered_from_embeddings_or_not_at_all(name):
    arrays = join(survey(groups=7, count=16))
    train = MetaTrainAnswers(arrays, [0, 1, 2, 3, 4], np.arange(10))
    some = answer(name, train, Task(5, np.arange(5), np.asarray([5, 12])))
    assert np.isfinite(some).all()
    none = answer(name, train, Task(5, np.arange(5), np.arange(10, 16)))
    assert (none is None) == (name in FROM_GROUPS)
    if name in FROM_GROUPS and name != "uniform":
        size = np.diff(arrays.offsets)[12]
        np.testing.assert_allclose(some[-size:], 1 / size)


@pytest.mark.parametrize("name", BASELINES)
def test_new_survey_is_answered_from_embeddings_or_not_at_all(name):
    arrays = join(survey(groups=7, count=16))
    train = MetaTrainAnswers(arrays, [0, 1, 2, 3, 4], np.arange(8))
    shares = answer(name, train, Task(5, np.arange(8, 12), np.arange(12, 16)))
    assert (shares is None) == (name in FROM_GROUPS)
    if shares is not None:
        assert np.isfinite(shares).all()


@pytest.mark.parametrize("name", BASELINES)
def test_context_that_no_group_answered_leaves_what_is_known(name):
    arrays = join(survey(groups=7, count=16))
    train = MetaTrainAnswers(arrays, [0, 1, 2, 3, 4], np.arange(8))
    shares = answer(name, train, Task(5, np.asarray([9, 10]), np.arange(3)))
    assert np.isfinite(shares).all()
    if name in FROM_GROUPS - {"nearest-group", "item-response"}:
        np.testing.assert_allclose(shares, train.mean[arrays.rows(np.arange(3))], atol=1e-6)


def test_fits_are_made_once():
    calls = []
    train = MetaTrainAnswers(join(survey()), [0, 1, 2], np.arange(8))

    def fit(given):
        calls.append(given)
        return len(calls)

    assert [train.fitted(fit), train.fitted(fit)] == [1, 1]
    assert calls == [train]


def test_ridge_mix_is_ridge_regression_on_groups():
    table, sizes = random_table(answered=0.8)
    q = baseline_task(population(table, sizes), 5, [], [3, 4])
    mine = np.flatnonzero(~np.isnan(table[5][np.cumsum(sizes) - sizes]))
    q = baseline_task(q.train.arrays, 5, mine[:3], mine[3:])
    known = np.nanmean(table[:5], 0)
    residuals = np.nan_to_num(table[:5] - known)
    near, far = q.train.arrays.rows(q.task.context), q.target_rows
    a, b = residuals[:, near].T, table[5, near] - known[near]
    w = np.linalg.inv(a.T @ a + 0.05 * np.eye(5)) @ a.T @ b
    scores = np.maximum(known[far] + w @ residuals[:, far], 1e-4)
    total = np.concatenate([np.full(s, p.sum()) for s, p in zip(q.sizes, _cut(scores, q.sizes), strict=True)])
    np.testing.assert_allclose(ridge_mix(q), scores / total, atol=1e-9)


def _cut(values, sizes):
    return np.split(values, np.cumsum(sizes)[:-1])


def test_left_out_error_is_that_of_leaving_questions_out():
    rng = np.random.default_rng(0)
    sizes = np.asarray([2, 3, 2, 4])
    x, y = rng.normal(size=(11, 6)), rng.normal(size=11)
    gram, question = x @ x.T, np.repeat(np.arange(4), sizes)
    error = 0.0
    for i in range(4):
        out = question == i
        dual = np.linalg.solve(gram[np.ix_(~out, ~out)] + 0.7 * np.eye((~out).sum()), y[~out])
        error += ((y[out] - gram[np.ix_(out, ~out)] @ dual) ** 2).sum()
    for made in (Gram.of(gram), Gram.of_features(x.T)):
        assert made.left_out_error(y, sizes, 0.7) == pytest.approx(error)
        np.testing.assert_allclose(made.solve(y, 0.7), np.linalg.solve(gram + 0.7 * np.eye(11), y))


def test_low_rank_recovers_a_population_of_rank_one():
    rng = np.random.default_rng(0)
    sizes = np.full(12, 3)
    direction = rng.normal(size=(12, 3))
    direction -= direction.mean(1, keepdims=True)
    scores = np.linspace(-0.1, 0.1, 9)
    table = 1 / 3 + scores[:, None] * direction.ravel() / np.abs(direction).max()
    q = baseline_task(population(table, sizes), 8, np.arange(3), np.arange(3, 12))
    np.testing.assert_allclose(low_rank(q), table[8, 9:], atol=1e-3)
    assert np.abs(q.train.mean[9:] - table[8, 9:]).max() > 0.05


def test_low_rank_leaves_noise_to_the_mean():
    """Where groups differ by noise alone, components must not make it worse than the mean."""
    table, sizes = random_table(groups=30, sizes=(3,) * 30)
    q = baseline_task(population(table, sizes), 29, np.arange(10), np.arange(10, 30))
    error = np.linalg.norm(low_rank(q) - table[29, 30:])
    assert error < 1.1 * np.linalg.norm(q.train.mean[30:] - table[29, 30:])


def test_kernel_is_ridge_regression_with_the_best_left_out_error():
    table, sizes = random_table()
    q = baseline_task(population(table, sizes), 5, np.arange(5), [5, 6, 7])
    y = table[5, : sizes[:5].sum()] - np.repeat(1 / sizes[:5], sizes[:5])
    context = np.arange(5)
    tried = [
        (Gram.of(k(context, context)).left_out_error(y, sizes[:5], p), k, p)
        for k in CentredKernel.fit(q.train)
        for p in KERNEL_PENALTIES
    ]
    _, k, p = min(tried, key=lambda t: t[0])
    near = k(context, context)
    scores = q.uniform + k(q.task.target, context) @ np.linalg.inv(near + p * np.eye(len(near))) @ y
    np.testing.assert_allclose(kernel(q), q.normalized(scores), atol=1e-9)


def test_rbf_covariances_are_centred_within_questions():
    table, sizes = random_table()
    q = baseline_task(population(table, sizes), 5, [0], [1])
    k = CentredKernel.fit(q.train)[1]
    everything = np.arange(8)
    covariance = k(everything, everything)
    starts = np.cumsum(sizes) - sizes
    np.testing.assert_allclose(np.add.reduceat(covariance, starts, axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(covariance, covariance.T)
    assert np.diag(covariance).mean() == pytest.approx(1)
    x = q.train.embeddings
    raw = np.exp(-((x[:, None] - x) ** 2).sum(-1) * k.kernel.rate)
    middle = np.eye(len(x)) - (np.repeat(everything, sizes)[:, None] == np.repeat(everything, sizes)) / (
        np.repeat(sizes, sizes)
    )
    np.testing.assert_allclose(covariance, k.scale * middle @ raw @ middle, atol=1e-9)


def test_nearest_question_takes_over_shares_by_place_on_the_scale():
    x = np.asarray([[0.0], [0.1], [1.0], [1.1], [0.9], [1.0], [5.0], [5.1], [5.2]])
    ordinal = np.asarray([1, 2, 1, 2, 2, 1, np.nan, np.nan, np.nan])
    table = np.asarray([[0.9, 0.1, 0.7, 0.3, 0.5, 0.5, 0.2, 0.3, 0.5]] * 2)
    arrays = population(table, [2, 2, 2, 3], x, ordinal)
    np.testing.assert_allclose(nearest_question(baseline_task(arrays, 1, [0, 1], [2])), [0.3, 0.7])
    np.testing.assert_allclose(nearest_question(baseline_task(arrays, 1, [0, 1], [3])), 1 / 3)


def opinions(groups=8, count=40, own=0.0, noise=0.0, seed=0):
    """Yes-or-no questions whose shares are a smooth function of a plane, the group's own part in it."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(-1, 1, (count, 2))
    x = np.stack([np.hstack([place, np.full((count, 1), s)]) for s in (-1.0, 1.0)], 1).reshape(-1, 3)
    shift = rng.normal(size=(groups, 1)) * own
    lean = 0.25 * np.sin(2 * place[:, 0]) + shift * np.cos(2 * place[:, 1])
    lean = np.clip(lean + noise * rng.normal(size=(groups, count)), -0.45, 0.45)
    return np.stack([0.5 - lean, 0.5 + lean], 2).reshape(groups, -1), np.full(count, 2), x


def test_gaussian_process_gives_training_answers_back_where_groups_agree():
    table, sizes, x = opinions()
    q = baseline_task(population(table, sizes, x), 7, [0, 1], np.arange(2, 40))
    np.testing.assert_allclose(gaussian_process(q), table[7, 4:], atol=0.01)


def test_gaussian_process_carries_what_groups_share_to_new_questions():
    table, sizes, x = opinions()
    arrays = population(table, sizes, x)
    q = baseline_task(arrays, 7, [0, 1], np.arange(30, 40), questions=np.arange(30))
    assert np.abs(gaussian_process(q) - table[7, 60:]).mean() < 0.03
    assert np.abs(q.uniform - table[7, 60:]).mean() > 0.1


def test_gaussian_process_carries_what_is_the_groups_own_to_other_questions():
    table, sizes, x = opinions(groups=12, own=0.12, noise=0.01, seed=3)
    arrays = population(table, sizes, x)
    for questions in (np.arange(40), np.arange(25)):
        q = baseline_task(arrays, 11, np.arange(10), np.arange(25, 40), questions=questions)
        base = q.uniform + q.train.fitted(SharedFunction.fit).mean[q.target_rows]
        assert (
            np.abs(gaussian_process(q) - table[11, 50:]).mean() < 0.5 * np.abs(base - table[11, 50:]).mean()
        )


def test_gaussian_process_posterior_is_that_of_all_answers():
    """Given the hyperparameters: conditioning on every meta-train answer by hand gives the same."""
    table, sizes = random_table(groups=5, sizes=(2, 3, 2, 3, 2))
    q = baseline_task(population(table, sizes), 4, [0, 1], [2, 3, 4], questions=np.arange(4))
    own, shared = q.train.fitted(OwnFunctions.fit), q.train.fitted(SharedFunction.fit)
    everything = np.arange(5)
    f, h = shared.prior_covariance(q.train, everything, everything), own(q.train, everything, everything)
    n, known, near = len(f), np.arange(10), q.context_rows
    joint = np.block([[f + (i == j) * h for j in range(5)] for i in range(5)])
    seen = np.concatenate([*(i * n + known for i in range(4)), 4 * n + near])
    y = np.concatenate([*(table[i, known] for i in range(4)), table[4, near]])
    y = y - np.tile(np.repeat(1 / sizes, sizes), 5)[seen]
    wanted = 4 * n + q.target_rows
    jitter = 1e-8 * np.eye(len(seen))
    scores = joint[np.ix_(wanted, seen)] @ np.linalg.solve(joint[np.ix_(seen, seen)] + jitter, y)
    np.testing.assert_allclose(gaussian_process(q), q.normalized(q.uniform + scores), atol=1e-4)


def test_gaussian_process_beyond_its_joint_rows_still_knows_each_answer(monkeypatch):
    table, sizes, x = opinions()
    monkeypatch.setattr("gpo_ray.evaluation.methods.gaussian.MAX_ROWS", 20)
    q = baseline_task(population(table, sizes, x), 7, [0, 1], np.arange(2, 40))
    np.testing.assert_allclose(gaussian_process(q), table[7, 4:], atol=0.02)
