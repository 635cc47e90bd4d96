"""The prior for sparse answers and many people: pseudo-counts, soft thresholds, groups left out exactly."""

import pickle
from dataclasses import replace

import numpy as np
from prior_views import ALL, DATA, GROUPS, SPARSE, ask, differ, view
from synthetic import arrays, survey

from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import SOFT_THRESHOLD_GROUPS, fit_prior
from gpo_ray.prior.covariance import MIN_BOTH, empirical_covariance
from gpo_ray.prior.kernel import nearest_covariance
from gpo_ray.prior.response_model import NominalResponseModel
from gpo_ray.prior.scales import PriorScales

HIDDEN = np.array([4, 5])


def test_leaving_a_group_out_is_exact_for_hidden_questions():
    with_it, without_it = view(groups=GROUPS), view(groups=GROUPS[:4])
    left_out = ask(with_it, leave_out=4, masked=HIDDEN, group=4)
    never_there = ask(without_it, masked=HIDDEN, group=4)
    np.testing.assert_allclose(left_out.shares, never_there.shares, atol=1e-9)
    np.testing.assert_allclose(left_out.sd, never_there.sd, atol=1e-9)
    differ(left_out, ask(with_it, masked=HIDDEN, group=4))


def test_evidence_draws_the_mean_towards_the_estimate_as_so_many_answers_would():
    """Without deviations to follow, a prediction is the mean: (n mean + e estimate) / (n + e)."""
    scales = PriorScales(noise=1e6, outputscale=0.0, pseudo_count=2.0)
    v = view(scales=scales)
    target = np.array([7])
    rows = DATA.rows(target)
    want = (
        5 * np.stack([DATA.shares_of(g, target) for g in GROUPS]).mean(0) + 2 * v.extrapolated.mean[rows]
    ) / 7
    np.testing.assert_allclose(ask(v, target=target).shares, want, atol=1e-6)


def test_evidence_does_not_look_at_the_question_itself_nor_needs_a_cross_fit_again():
    v = fit_prior(SPARSE, GROUPS, ALL, 3)
    scales = PriorScales(pseudo_count=3.0)
    cross = replace(v, prior=replace(v.prior, scales=scales))
    plain = PriorAtQuestions.of(cross.prior, SPARSE.x.numpy(), np.diff(SPARSE.offsets), v.question_index)
    group = 6
    context, target = SPARSE.answered[group][:3], SPARSE.answered[group][3:]
    y = SPARSE.shares_of(group, context)
    known = cross.posterior(context, y, target).seen
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
    cut = replace(plain, prior=replace(plain.prior, scales=PriorScales(0.3, 0.0, soft_threshold=3.0)))
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
    v = view(data, range(150), np.arange(12), PriorScales(0.3, 0.0, soft_threshold=1e-12))
    a, b = v.inputs(np.array([0]), None), v.inputs(np.array([1]), None)
    covariance = a.deviations.residual.T @ b.deviations.residual / 150
    np.testing.assert_allclose(empirical_covariance(a, b, 1e-12), covariance, atol=1e-9)
    few = view(data, range(5), np.arange(12), PriorScales(0.3, 0.0, soft_threshold=1e-12))
    a, b = few.inputs(np.array([0]), None), few.inputs(np.array([1]), None)
    np.testing.assert_allclose(
        empirical_covariance(a, b, 1e-12),
        a.deviations.residual.T @ b.deviations.residual / MIN_BOTH,
        atol=1e-9,
    )


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


def agreeing(n, seed=0):
    """People of two sides, who answer every question with the response of their side three times in four."""
    data = arrays(survey(groups=n, count=12, seed=seed))
    rng = np.random.default_rng(seed)
    sizes = np.diff(data.offsets)
    sides = rng.integers(2, size=n)
    shares = tuple(
        np.concatenate([np.eye(k)[side if rng.random() < 0.75 else 1 - side] for k in sizes])
        for side in sides
    )
    return replace(data, shares=shares, answered=tuple(np.arange(12) for _ in range(n))), sides


def with_groups(data, sides):
    """The same with two more members of the data set: the sides' own shares."""
    means = tuple(np.mean([s for s, x in zip(data.shares, sides, strict=True) if x == k], 0) for k in (0, 1))
    return replace(
        data,
        group_ids=(*data.group_ids, "side=0", "side=1"),
        shares=(*data.shares, *means),
        answered=(*data.answered, np.arange(12), np.arange(12)),
    )


def test_stretch_concerns_groups_that_are_beside_people_alone():
    data, sides = agreeing(30)
    both = with_groups(data, sides)
    mixed = view(both, (*range(20), 30, 31), np.arange(12), PriorScales(group_scale=3.0))
    plain = view(both, (*range(20), 30, 31), np.arange(12), PriorScales(group_scale=1.0))
    assert mixed.prior.single.tolist() == [True] * 20 + [False] * 2
    a, b = mixed.inputs(np.arange(12), None), plain.inputs(np.arange(12), None)
    np.testing.assert_allclose(a.deviations.residual[:20], b.deviations.residual[:20])
    np.testing.assert_allclose(a.deviations.residual[20:], 3 * b.deviations.residual[20:])
    left_out = mixed.inputs(np.arange(12), 3)
    assert left_out.deviations.groups == 21
    assert not left_out.deviations.residual[3].any()
    np.testing.assert_allclose(
        left_out.deviations.residual[20:], 3 * plain.inputs(np.arange(12), 3).deviations.residual[20:]
    )


def test_stretch_is_chosen_where_few_people_and_their_groups_are_known():
    data, sides = agreeing(30)
    both = with_groups(data, sides)
    alone = fit_prior(data, range(10), np.arange(12), 4).prior.scales
    mixed = fit_prior(both, (*range(10), 30, 31), np.arange(12), 4).prior.scales
    assert alone.group_scale == 1.0 < mixed.group_scale


def test_traits_are_averaged_into_questions_that_were_answered():
    data, _ = agreeing(160)
    v = fit_prior(data, range(150), np.arange(9), 4)
    found = NominalResponseModel.fit(v.prior.shares, v.prior.sizes)
    half = replace(
        v,
        prior=replace(
            v.prior, response_model=found, scales=replace(v.prior.scales, response_model_weight=0.5)
        ),
    )
    none = replace(
        v,
        prior=replace(
            v.prior, response_model=found, scales=replace(v.prior.scales, response_model_weight=0.0)
        ),
    )
    context, target = np.array([2, 0, 10]), np.array([5, 11, 3])  # 10 and 11 are new
    y = data.shares_of(155, context)
    mixed, plain = (x.posterior(context, y, target) for x in (half, none))
    trait = found.mode(np.array([2, 0]), data.shares_of(155, np.array([2, 0])))
    theirs = found.shares(trait, np.array([5, 3]))
    np.testing.assert_allclose(mixed.shares[mixed.seen], plain.shares[plain.seen] / 2 + theirs / 2)
    np.testing.assert_array_equal(mixed.shares[~mixed.seen], plain.shares[~plain.seen])
    assert 0 < (~mixed.seen).sum() < len(mixed.seen)


def test_traits_are_for_many_people_alone():
    data, _ = agreeing(SOFT_THRESHOLD_GROUPS + 20)
    many = fit_prior(data, range(SOFT_THRESHOLD_GROUPS), np.arange(12), 4).prior
    few = fit_prior(data, range(SOFT_THRESHOLD_GROUPS - 1), np.arange(12), 4).prior
    assert few.response_model is None
    assert few.scales.response_model_weight == 0
    assert (many.response_model is None) == (many.scales.response_model_weight == 0)


def test_threshold_spares_a_question_that_both_inputs_number_alike():
    v = view(people(200), range(150), np.arange(12), PriorScales(0.3, 0.0, soft_threshold=3.0))
    a, again = v.inputs(np.array([8])), replace(v, prior=v.prior).inputs(np.array([8]))
    whole = empirical_covariance(a, a, 1e-12)
    np.testing.assert_array_equal(empirical_covariance(a, again, 3.0), whole)
    apart = PriorAtQuestions.of(v.prior, v.x, v.sizes, v.question_index, cross_fit=True).inputs(np.array([8]))
    assert np.abs(empirical_covariance(a, apart, 3.0)).max() < 0.9 * np.abs(whole).max()


def test_inputs_that_go_to_another_process_together_stay_numbered_alike():
    v = view(groups=GROUPS)
    a, b = pickle.loads(pickle.dumps((v.inputs(ALL[:2]), v.inputs(ALL[2:4]))))
    assert a.numbering is b.numbering is not v.numbering
