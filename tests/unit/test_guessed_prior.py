"""Guesses of a language model in the prior: where they help they join, where they do not nothing changes."""

from dataclasses import replace

import numpy as np
import pytest
from prior_views import DATA, SIZES, same
from synthetic import arrays, survey

from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.slates import centred, softmax
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.prior.covariance import NUGGET
from gpo_ray.prior.extrapolation import TRANSFER
from gpo_ray.prior.group_prior import GroupPrior, GroupPriorState
from gpo_ray.prior.guessed import GUESS_NUGGET, TOTAL_WEIGHT, CalibratedGuesses
from gpo_ray.prior.scales import PriorScales


def opinions(data, spread=0.4, seed=4):
    """The same questions, of whose responses all groups have similar opinions."""
    rng, sizes = np.random.default_rng(seed), np.diff(data.offsets)
    common = 1.2 * rng.standard_normal(len(data.x))
    each = [common + spread * rng.standard_normal(len(common)) for _ in data.group_ids]
    return replace(data, shares=tuple(softmax(logits, sizes) for logits in each))


GROUPS, SEEN = range(6), np.arange(10)
LARGE = opinions(arrays(survey(groups=12, count=40)))


def logs_of(shares, sizes):
    return centred(np.log(shares + 0.02)[:, None], sizes)[:, 0]


def features(data, voices=(), noise=0.0, ways=1, seed=0, guessed=None):
    """Guesses that are the groups' mean shares, or each voice's own, with noise on their logarithms."""
    rng, sizes = np.random.default_rng(seed), np.diff(data.offsets)
    shares = np.stack(list(data.shares))
    truth = [shares[data.group_ids.index(v)] for v in voices] if voices else [shares.mean(0)]
    logs = np.stack([logs_of(t, sizes) for t in truth])[:, :, None].repeat(ways, 2)
    logs = logs + noise * rng.standard_normal(logs.shape)
    logs = np.stack([centred(each, sizes) for each in logs])
    known = np.ones(len(data.x), bool) if guessed is None else guessed
    names = tuple(f"model way {k}" for k in range(ways))
    return GuessFeatures(np.where(known[:, None], logs, 0).astype(np.float32), known, names, tuple(voices))


def view(known, variance=0.3, scales=PriorScales(), roles=None, cross_fit=False):  # noqa: B008
    """A prior over six groups' answers to ten questions with guesses, at all 16 questions."""
    prior, index = GroupPrior.from_groups(DATA, GROUPS, SEEN)
    at = np.flatnonzero(np.repeat(index >= 0, SIZES))
    ids = [DATA.group_ids[g] for g in GROUPS]
    guesses = CalibratedGuesses.fit(known.at(at), ids, prior.shares, prior.sizes)
    prior = replace(prior, scales=scales, guesses=replace(guesses, variance=variance))
    x = DATA.x.numpy()
    return PriorAtQuestions.of(prior, x, SIZES, index, cross_fit, guesses=known, roles=roles)


def plain_view():
    prior, index = GroupPrior.from_groups(DATA, GROUPS, SEEN)
    return PriorAtQuestions.of(prior, DATA.x.numpy(), SIZES, index)


def test_the_mean_of_an_unseen_question_is_the_guess_and_what_it_leaves_extrapolated():
    known = features(DATA, noise=0.5, ways=2)
    v = view(known)
    guess, seen = v.prior.guesses, np.flatnonzero(v.response_index >= 0)
    new = np.flatnonzero(v.response_index < 0)
    g = known.log_share[0].astype(float) @ guess.weights
    k = 0.3 * v.prior.kernel(DATA.x.numpy(), DATA.x.numpy())
    shares = np.stack([DATA.shares_of(i, SEEN) for i in GROUPS])
    left = logs = centred(np.log(shares.mean(0) + 0.01)[:, None], SIZES[:10])[:, 0] - g[seen]
    left = np.linalg.solve(k[np.ix_(seen, seen)] + GUESS_NUGGET * np.eye(len(seen)), logs)
    want = softmax(g[new] + TRANSFER * k[np.ix_(new, seen)] @ left, SIZES[10:])
    np.testing.assert_allclose(v.extrapolated.mean[new], want, atol=1e-6)
    inner = np.linalg.solve(k[np.ix_(seen, seen)] + GUESS_NUGGET * np.eye(len(seen)), k[np.ix_(seen, new)])
    unexplained = 0.3 - TRANSFER**2 * (k[np.ix_(seen, new)] * inner).sum(0)
    np.testing.assert_allclose(v.extrapolated.conditional_variance[new], unexplained, atol=1e-4)


def test_questions_without_a_guess_are_extrapolated_as_ever():
    guessed = np.repeat(np.arange(16) % 2 == 0, SIZES)
    v, plain = view(features(DATA, guessed=guessed)), plain_view()
    without = (v.response_index < 0) & ~guessed
    for name in ("mean", "conditional_variance", "deviation"):
        got, want = (getattr(p.extrapolated, name)[..., without] for p in (v, plain))
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert abs(v.extrapolated.mean - plain.extrapolated.mean)[(v.response_index < 0) & guessed].max() > 0.01
    unseen = v.inputs(np.arange(10, 16))
    np.testing.assert_array_equal(unseen.guess_scale < 1, guessed[v.response_index < 0])
    np.testing.assert_array_equal(unseen.nugget, np.where(unseen.guess_scale < 1, GUESS_NUGGET, NUGGET))


def test_weights_minimise_the_cross_entropy_and_a_useless_way_gets_none():
    sizes = np.diff(LARGE.offsets)
    shares = np.stack([LARGE.shares[g] for g in range(12)])
    good = features(LARGE, voices=LARGE.group_ids[:5])
    noise = features(LARGE, voices=LARGE.group_ids[:5], noise=1.0, seed=3)
    junk = np.random.default_rng(1).standard_normal(noise.log_share.shape)
    both = replace(good, log_share=np.concatenate([good.log_share, junk], 2), ways=("good", "junk"))
    found = CalibratedGuesses.fit(both, LARGE.group_ids, shares, sizes)
    assert found.weights[0] > 0.8
    assert abs(found.weights[1]) < 0.1

    def loss(w):
        total = ((w - TOTAL_WEIGHT / 2) ** 2).sum()
        for v in range(5):
            total -= shares[v] @ np.log(softmax(both.log_share[v].astype(float) @ w, sizes))
        return total

    for step in (0.01, -0.01):
        for way in (0, 1):
            other = found.weights.copy()
            other[way] += step
            assert loss(other) > loss(found.weights)


def test_weights_of_one_fold_know_nothing_of_the_others_answers():
    sizes = np.diff(LARGE.offsets)
    shares = np.stack([LARGE.shares[g] for g in range(12)])
    some = np.arange(0, 40, 2)
    changed = shares.copy()
    changed[:, LARGE.rows(np.arange(1, 40, 2))] = 0.5
    found = CalibratedGuesses.fit(features(LARGE, noise=1.0), LARGE.group_ids, shares, sizes)
    one, other = (found.fitted_weights(s, sizes, some) for s in (shares, changed))
    np.testing.assert_array_equal(one, other)
    assert abs(found.weights - one).max() > 1e-4


def test_simulated_groups_join_the_covariance_and_their_own_group_has_its_deviation_in_the_mean():
    voices = tuple(DATA.group_ids[g] for g in (0, 1, 7))
    scales = PriorScales(noise=0.05, simulated_weight=0.5, role_weight=0.8, outputscale=0.0)
    v = view(features(DATA, voices, noise=0.3), scales=scales, roles={0: 0, 1: 1, 7: 2})
    context, target = np.array([0, 3, 4]), np.array([11, 12])
    given, asked = v.joint_inputs(context, target)
    d, s = given.deviations, 0.5
    covariance = (d.residual.T @ d.residual + s * given.simulated.T @ given.simulated) / len(GROUPS)
    cross = asked.deviations.residual.T @ d.residual + s * asked.simulated.T @ given.simulated
    y, shift = DATA.shares_of(7, context), (0.8 * p.simulated[2] for p in (asked, given))
    observed = covariance + np.diag(given.noise(scales))
    own_target, own_context = shift
    gain = np.linalg.solve(observed, y - given.mean - own_context)
    want = asked.mean + own_target + cross / len(GROUPS) @ gain
    np.testing.assert_allclose(v.posterior(context, y, target, leave_out=7).mean, want, atol=1e-9)
    want = asked.mean + cross / len(GROUPS) @ np.linalg.solve(observed, y - given.mean)
    np.testing.assert_allclose(v.posterior(context, y, target).mean, want, atol=1e-9)
    seen = np.array([5, 6])  # the answers of other groups say more of these than the role
    same(v.posterior(context, y, seen, leave_out=7), v.posterior(context, y, seen))


def test_a_voice_that_says_what_all_say_does_not_deviate():
    v = view(features(DATA, DATA.group_ids[:3]))
    alike = replace(v.guesses, log_share=v.guesses.log_share[:1].repeat(3, 0))
    mean = np.full(len(v.x), 0.3)
    np.testing.assert_allclose(v.prior.guesses.deviations(alike, mean, SIZES), 0, atol=1e-12)
    sums = np.add.reduceat(v.prior.guesses.deviations(v.guesses, mean, SIZES), DATA.offsets[:-1], axis=1)
    np.testing.assert_allclose(sums, 0, atol=1e-12)


@pytest.mark.parametrize("voices", [(), LARGE.group_ids[:6]], ids=["nobody", "roles"])
def test_what_knows_the_answers_joins_and_what_knows_nothing_changes_nothing(voices):
    train, asked = range(8), np.arange(30)
    plain = fit_prior(LARGE, train, asked, 5)
    clever = fit_prior(replace(LARGE, guesses=features(LARGE, voices, noise=0.3)), train, asked, 5)
    junk = features(LARGE, voices, noise=1.0)
    logs = np.random.default_rng(7).standard_normal(junk.log_share.shape).astype(np.float32)
    foolish = fit_prior(replace(LARGE, guesses=replace(junk, log_share=logs)), train, asked, 5)
    context, target = np.arange(5), np.arange(30, 40)
    error = {}
    for name, v in (("plain", plain), ("clever", clever), ("foolish", foolish)):
        found = [v.posterior(context, LARGE.shares_of(g, context), target, g) for g in range(8, 12)]
        truth = [LARGE.shares_of(g, target) for g in range(8, 12)]
        error[name] = float(np.mean([(f.shares - t) ** 2 for f, t in zip(found, truth, strict=True)]))
    assert clever.prior.guesses is not None
    assert error["clever"] < 0.5 * error["plain"]
    assert foolish.prior.guesses is None
    assert foolish.prior.scales == plain.prior.scales
    assert error["foolish"] == error["plain"]


def test_what_is_stored_makes_the_same_prior():
    voices = DATA.group_ids[:3]
    v = view(features(DATA, voices, ways=2), scales=PriorScales(simulated_weight=1.0, role_weight=0.5))
    values, stored = v.prior.to_state()
    state = GroupPriorState.model_validate(values)
    back = GroupPrior.from_state(state, stored, v.prior.sizes)
    known = v.guesses
    again = PriorAtQuestions.of(back, v.x, SIZES, v.question_index, guesses=known, roles={7: 1})
    first = replace(v, roles={7: 1})
    context, target = np.array([0, 3]), np.array([5, 11, 12])
    y = DATA.shares_of(7, context)
    same(first.posterior(context, y, target, leave_out=7), again.posterior(context, y, target, leave_out=7))
    assert {n: a.shape for n, a in stored.items() if "guess" in n} == state.guesses.shapes(len(back.x))


def test_guesses_that_are_added_to_a_prior_give_what_they_give_at_once():
    guessed = np.repeat(np.arange(16) % 3 > 0, SIZES)
    known = features(DATA, DATA.group_ids[:2], noise=0.3, guessed=guessed)
    whole = view(known, roles={0: 0}, cross_fit=True)
    prior, index = GroupPrior.from_groups(DATA, GROUPS, SEEN)
    plain = PriorAtQuestions.of(prior, DATA.x.numpy(), SIZES, index, True)
    added = plain.with_guesses(whole.prior, known, {0: 0})
    for name in ("mean", "leave_one_out_mean", "deviation", "conditional_variance", "whitened"):
        np.testing.assert_allclose(
            getattr(added.extrapolated, name), getattr(whole.extrapolated, name), atol=1e-6
        )
