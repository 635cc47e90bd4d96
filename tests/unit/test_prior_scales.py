"""The prior for sparse answers and for many people: evidence, threshold, and groups left out exactly."""

from dataclasses import replace

import numpy as np
from synthetic import arrays, survey
from test_memory import GROUPS, SPARSE, ask, differ, view

from gpo_ray.model.calibration import fit_memory
from gpo_ray.model.kernel import nearest_covariance
from gpo_ray.model.posterior import LEAST_BOTH, PriorScales

DATA = arrays(survey(groups=8, count=16))
ALL = np.arange(16)
HIDDEN = np.array([4, 5])


def test_leaving_a_group_out_is_exact_for_hidden_questions():
    with_it, without_it = view(groups=GROUPS), view(groups=GROUPS[:4])
    left_out = ask(with_it, without=4, hidden=HIDDEN, group=4)
    never_there = ask(without_it, hidden=HIDDEN, group=4)
    np.testing.assert_allclose(left_out.shares, never_there.shares, atol=1e-9)
    np.testing.assert_allclose(left_out.sd, never_there.sd, atol=1e-9)
    differ(left_out, ask(with_it, hidden=HIDDEN, group=4))


def test_evidence_draws_the_mean_towards_the_estimate_as_so_many_answers_would():
    """Without deviations to follow, a prediction is the mean: (n mean + e estimate) / (n + e)."""
    scales = PriorScales(noise=1e6, semantic=0.0, evidence=2.0)
    v = view(scales=scales)
    target = np.array([7])
    rows = DATA.rows(target)
    want = (5 * np.stack([DATA.shares_of(g, target) for g in GROUPS]).mean(0) + 2 * v.mean[rows]) / 7
    np.testing.assert_allclose(ask(v, target=target).shares, want, atol=1e-6)


def test_evidence_does_not_look_at_the_question_itself_nor_needs_a_cross_fit_again():
    v = fit_memory(SPARSE, GROUPS, ALL, 3)
    scales = PriorScales(evidence=3.0)
    cross = replace(v, memory=replace(v.memory, scales=scales))
    plain = cross.memory.view(SPARSE.x.numpy(), np.diff(SPARSE.offsets), v.place)
    group = 6
    context, target = SPARSE.answered[group][:3], SPARSE.answered[group][3:]
    y = SPARSE.shares_of(group, context)
    known = cross.posterior(context, y, target).known
    np.testing.assert_allclose(
        cross.posterior(context, y, target).shares[known],
        plain.posterior(context, y, target).shares[known],
        atol=1e-6,
    )


def people(n, seed=0):
    """Single answers to 12 questions of which the first six go together and the others are chance."""
    data = arrays(survey(groups=n, count=12, seed=seed))
    rng = np.random.default_rng(seed)
    sizes = np.diff(data.offsets)
    shares = []
    for _ in range(n):
        side = rng.integers(2)
        first = [np.eye(k)[side if q < 6 else rng.integers(2)] for q, k in enumerate(sizes)]
        shares.append(np.concatenate(first))
    return replace(data, shares=tuple(shares), answered=tuple(np.arange(12) for _ in range(n)))


def test_threshold_cuts_chance_correlations_and_keeps_the_others():
    data = people(200)
    plain = view(data, range(150), np.arange(12), PriorScales(0.3, 0.0))
    cut = replace(plain, memory=replace(plain.memory, scales=PriorScales(0.3, 0.0, threshold=3.0)))
    context = np.arange(3)

    def moved(v, target):
        """How far the context moves the prediction from the mean."""
        y = data.shares_of(160, context)
        other = np.concatenate([np.roll(s, 1) for s in np.split(y, np.cumsum(np.diff(data.offsets)[:2]))])
        a, b = (v.posterior(context, answers, np.asarray(target)).shares for answers in (y, other))
        return abs(a - b).max()

    assert moved(cut, [4, 5]) > 0.3
    assert moved(cut, [8, 9, 10]) < 1e-6 < moved(plain, [8, 9, 10])


def test_threshold_divides_by_those_who_answered_both():
    data = people(200)
    v = view(data, range(150), np.arange(12), PriorScales(0.3, 0.0, threshold=1e-12))
    a, b = v._side(np.array([0]), None), v._side(np.array([1]), None)
    covariance = a.residual.T @ b.residual / 150
    np.testing.assert_allclose(v._together(a, b), covariance, atol=1e-9)
    few = view(data, range(5), np.arange(12), PriorScales(0.3, 0.0, threshold=1e-12))
    a, b = few._side(np.array([0]), None), few._side(np.array([1]), None)
    np.testing.assert_allclose(few._together(a, b), a.residual.T @ b.residual / LEAST_BOTH, atol=1e-9)


def test_nearest_covariance_keeps_what_is_one_and_mends_what_is_not():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    good = root @ root.T
    np.testing.assert_allclose(nearest_covariance(good), good, atol=1e-9)
    bad = good - 3 * np.eye(6)
    mended = nearest_covariance(bad)
    assert np.linalg.eigvalsh(bad).min() < -0.1
    assert np.linalg.eigvalsh(mended).min() > -1e-9
    np.testing.assert_allclose(mended, mended.T)
