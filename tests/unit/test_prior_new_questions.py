"""Questions that the memory does not hold, or that are hidden: kernel regression from those it does."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from prior_views import ALL, DATA, GROUPS, SIZES, ask, changed, differ, rows, same, view
from synthetic import arrays, survey

from gpo_ray.preferences.slates import normalized, softmax
from gpo_ray.prior import extrapolation, group_prior
from gpo_ray.prior.covariance import NUGGET
from gpo_ray.prior.extrapolation import DEVIATION_NUGGET, TRANSFER
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.kernel import scaled_by_shares
from gpo_ray.prior.scales import PriorScales


@pytest.mark.parametrize("target", [[4, 5, 6], [5]])
def test_hidden_questions_do_not_depend_on_anybodys_answers_to_them(target):
    masked = np.asarray([5])
    before, data = view(), DATA
    for g in GROUPS:
        data = changed(data, g, [5], seed=g)
    after = view(data)
    differ(ask(before, target=target), ask(after, target=target))
    mine = np.repeat(np.asarray(target) == 5, SIZES[target])
    old, new = (ask(v, target=target, masked=masked) for v in (before, after))
    for name in ("shares", "sd", "half_width"):
        np.testing.assert_allclose(getattr(old, name)[mine], getattr(new, name)[mine], atol=1e-12)
    assert (old.seen == ~mine).all()


def test_hidden_questions_are_estimated_from_the_others():
    masked, data = np.asarray([5]), DATA
    for g in GROUPS:
        data = changed(data, g, [q for q in ALL if q != 5], seed=g)
    differ(ask(view(), target=[5], masked=masked), ask(view(data), target=[5], masked=masked), least=1e-4)


def regression(memory, x, sizes):
    """Kernel regression by hand: mean shares and deviations of questions that are not in memory."""
    mean, residual = memory.shares.mean(0), memory.shares - memory.shares.mean(0)

    def projection(of):
        number = np.repeat(np.arange(len(of)), of)
        block = number[:, None] == number
        return np.eye(len(number)) - block / block.sum(1)

    own, new = projection(memory.sizes), projection(sizes)
    kernel, cross = memory.kernel(memory.x, memory.x), memory.kernel(x, memory.x)
    n = np.eye(len(kernel))
    weights = np.linalg.solve(kernel + NUGGET * n, own @ np.log(mean + 0.01))
    deviation = np.linalg.solve(own @ kernel @ own + DEVIATION_NUGGET * n, residual.T)
    return softmax(TRANSFER * cross @ weights, sizes), (new @ cross @ own @ deviation).T


def test_new_questions_equal_kernel_regression_by_hand_when_the_context_says_nothing():
    v = view(questions=ALL[:10])
    asked = np.asarray([12, 14])
    mean, _ = regression(v.prior, DATA.x.numpy()[rows(asked)], SIZES[asked])
    nothing = v.prior.shares.mean(0)[rows([0, 1, 2])]
    got = ask(v, (0, 1, 2), asked, nothing)
    np.testing.assert_allclose(got.shares, normalized(mean, SIZES[asked]), atol=1e-6)
    assert not got.seen.any()
    differ(got, ask(v, (0, 1, 2), asked))


def test_new_questions_after_an_answer_equal_the_formula_by_hand():
    """With an outputscale of 0, seen and unseen questions share the groups' deviations only."""
    v = view(questions=ALL[:10], scales=PriorScales(noise=0.1, outputscale=0.0))
    c, asked = rows([0, 1, 2]), np.asarray([12, 14])
    mean, deviation = regression(v.prior, DATA.x.numpy()[rows(asked)], SIZES[asked])
    table = v.prior.shares
    known, residual = table.mean(0)[c], (table - table.mean(0))[:, c]
    noisy = residual.T @ residual / 5 + 0.1 * np.diag(known * (1 - known))
    gain = deviation.T @ residual / 5 @ np.linalg.inv(noisy)
    want = mean + gain @ (DATA.shares_of(6, ALL)[c] - known)
    np.testing.assert_allclose(ask(v, (0, 1, 2), asked).shares, normalized(want, SIZES[asked]), atol=1e-6)


def test_new_questions_in_the_context_equal_the_formula_by_hand():
    """Two new questions share, beside the groups' deviations, what memory leaves open of their log-shares."""
    v = view(questions=ALL[:10], scales=PriorScales(noise=0.1, outputscale=0.2))
    given, asked = np.asarray([11, 13]), np.asarray([12, 14])
    both = np.concatenate([given, asked])
    x, sizes = DATA.x.numpy()[rows(both)], SIZES[both]
    mean, deviation = regression(v.prior, x, sizes)
    kernel, cross = v.prior.kernel(v.prior.x, v.prior.x), v.prior.kernel(x, v.prior.x)
    explained = TRANSFER**2 * cross @ np.linalg.solve(kernel + NUGGET * np.eye(len(kernel)), cross.T)
    here, c = SimpleNamespace(mean=mean, sizes=sizes), SIZES[given].sum()
    latent = 1.2 * v.prior.kernel(x, x) - explained
    covariance = scaled_by_shares(latent, here, here) + deviation.T @ deviation / 5
    own = scaled_by_shares(2 * NUGGET * np.eye(len(x)), here, here) + 0.1 * np.diag(mean * (1 - mean))
    gain = covariance[c:, :c] @ np.linalg.inv((covariance + own)[:c, :c])
    want = mean[c:] + gain @ (DATA.shares_of(6, given) - mean[:c])
    got = ask(v, given, asked)
    np.testing.assert_allclose(got.shares, normalized(want, SIZES[asked]), atol=1e-6)
    share = mean * (1 - mean)
    prior = (deviation**2).mean(0) + (1.2 + NUGGET - np.diag(explained)) * share**2 + 0.1 * share
    variance = prior[c:] - (gain * covariance[c:, :c]).sum(1)
    np.testing.assert_allclose(got.sd, np.sqrt(variance), rtol=1e-5)


def test_cross_fitted_questions_equal_kernel_regression_without_their_fold():
    """A fold is what does not matter to a question's estimate: the estimate is that from all the rest."""
    v, asked = view(), np.asarray([7])
    before = ask(v, (0, 1, 2), asked, masked=asked)
    fold = [
        q
        for q in ALL[3:]
        if q == 7
        or np.allclose(
            ask(view(changed(DATA, 0, [q])), (0, 1, 2), asked, masked=asked).shares, before.shares, atol=1e-12
        )
    ]
    assert 1 < len(fold) < 6
    nothing = v.prior.shares.mean(0)[rows([0, 1, 2])]
    got = ask(v, (0, 1, 2), asked, nothing, masked=asked)
    memory = GroupPrior.from_groups(DATA, GROUPS, np.setdiff1d(ALL, fold))[0]
    kernel = v.prior.kernel
    by_hand = SimpleNamespace(shares=memory.shares, x=memory.x, sizes=memory.sizes, kernel=kernel)
    mean, _ = regression(by_hand, DATA.x.numpy()[rows(asked)], SIZES[asked])
    np.testing.assert_allclose(got.shares, normalized(mean, SIZES[asked]), atol=1e-6)


def test_context_of_questions_that_nobody_answered_moves_towards_the_context():
    """A new survey: the answers to a question much like the target say what the target's will be."""
    x = DATA.x.numpy().copy()
    first, second = twins()
    x[rows([second])] = x[rows([first])] + 0.01
    data = replace(DATA, x=DATA.x.new_tensor(x))
    v = view(data, questions=ALL[:8])
    share = np.asarray([0.9] + [0.1 / (SIZES[first] - 1)] * (SIZES[first] - 1))
    for answer in (share, share[::-1]):
        prior = ask(v, (first,), (second,), v.extrapolated.mean[rows([first])]).shares
        got = ask(v, (first,), (second,), answer).shares
        assert abs(got - answer).sum() < 0.7 * abs(prior - answer).sum()


def twins():
    """Two questions with as many responses, outside the first eight."""
    size, count = np.unique(SIZES[8:], return_counts=True)
    return (8 + np.flatnonzero(SIZES[8:] == size[count >= 2][0]))[:2]


def test_new_questions_are_less_sure_than_answered_ones():
    assert ask(view(), masked=np.asarray([4, 5, 6])).sd.mean() > ask(view()).sd.mean()
    assert ask(view(questions=ALL[:4])).sd.mean() > ask(view()).sd.mean()


@pytest.mark.parametrize("seed", [1, 8, 13, 18])
def test_no_context_makes_a_new_question_certain(seed):
    data = arrays(survey(groups=8, count=30, seed=seed))
    v, asked = view(data, questions=ALL[:6]), np.arange(25, 30)
    got = ask(v, np.arange(25), asked, data=data)
    mean = v.extrapolated.mean[data.rows(asked)]
    assert (got.sd**2 >= (0.999 * 0.03 * mean * (1 - mean))).all()


def test_known_and_new_questions_are_predicted_each_with_its_scales():
    one, other = PriorScales(0.02, 0.5), PriorScales(0.4, 0.1)
    both = PriorScales(0.02, 0.5, unseen_noise=0.4, unseen_outputscale=0.1)
    context, target, masked = np.arange(4), np.arange(4, 12), np.arange(6, 12)
    y = DATA.shares_of(6, context)
    apart, first, second = (
        view(scales=s).posterior(context, y, target, 6, masked) for s in (both, one, other)
    )
    for name in ("shares", "sd"):
        got, known, new = (getattr(p, name) for p in (apart, first, second))
        np.testing.assert_allclose(got, np.where(apart.seen, known, new))
        assert not np.allclose(known, new)
    assert both.for_unseen == replace(both, noise=0.4, outputscale=0.1)
    assert not both.same_for_unseen
    assert one.same_for_unseen


def estimates(v):
    found = v.extrapolated
    return found.mean, found.deviation, found.conditional_variance, found.whitened, found.leave_one_out_mean


def test_blocks_of_questions_do_not_change_the_estimates(monkeypatch):
    at_once = view(questions=ALL[:9])
    monkeypatch.setattr(extrapolation, "BLOCK", 5)
    in_blocks = view(questions=ALL[:9])
    assert at_once.extrapolated.whitened.shape == (SIZES[:9].sum(), SIZES[9:].sum())
    for a, b in zip(estimates(at_once), estimates(in_blocks), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)  # similarities are float32, whose sums depend on the size


def test_means_without_each_group_are_computed_only_when_asked_for(monkeypatch):
    extrapolator, new = view(questions=ALL[:12]).prior.extrapolator, rows(ALL[12:])
    computed = []
    softmax = extrapolation.softmax
    monkeypatch.setattr(extrapolation, "softmax", lambda *values: computed.append(1) or softmax(*values))
    asked = extrapolator.at(DATA.x.numpy()[new], SIZES[12:], leave_one_out=True)
    assert (len(computed), asked.leave_one_out_mean.shape) == (1 + len(GROUPS), (len(GROUPS), len(new)))
    computed.clear()
    found = extrapolator.at(DATA.x.numpy()[new], SIZES[12:])
    assert (len(computed), found.leave_one_out_mean.shape) == (1, (0, len(new)))
    np.testing.assert_array_equal(found.mean, asked.mean)


def test_beyond_a_bound_new_questions_are_estimated_from_a_choice_of_those_in_memory(monkeypatch):
    whole = view(questions=ALL[:12])
    monkeypatch.setattr(group_prior, "MAX_KERNEL_RESPONSES", 20)
    bounded = view(questions=ALL[:12])
    chosen = group_prior.within(np.arange(12), SIZES[:12], 20)
    assert 20 - SIZES.max() < SIZES[chosen].sum() <= 20
    monkeypatch.undo()
    new = rows(ALL[12:])
    extrapolator = bounded.prior.extrapolator_from(chosen)
    assert extrapolator.rows == SIZES[chosen].sum()
    expected = extrapolator.at(DATA.x.numpy()[new], SIZES[12:], whitened=True)
    for name in ("mean", "deviation", "conditional_variance"):
        np.testing.assert_allclose(getattr(bounded.extrapolated, name)[..., new], getattr(expected, name))
    np.testing.assert_allclose(bounded.extrapolated.whitened, expected.whitened)
    same(ask(whole), ask(bounded))  # on questions in memory nothing changes
    differ(ask(whole, target=(13, 14)), ask(bounded, target=(13, 14)), 1e-6)
