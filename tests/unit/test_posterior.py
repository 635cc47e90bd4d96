"""The posterior as a Gaussian process has it, against the textbook's formulas on one dense matrix."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from synthetic import arrays, survey

from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.covariance import NUGGET
from gpo_ray.prior.extrapolation import TRANSFER
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.scales import PriorScales

DATA = arrays(survey(groups=10, count=16))
GROUPS = range(8)
SEEN = np.arange(10)
CONTEXT, TARGET, GROUP = np.asarray([0, 3, 12]), np.asarray([5, 6, 13, 14]), 9
Y = DATA.shares_of(GROUP, CONTEXT)
SCALES = PriorScales(noise=0.05, outputscale=0.3)


def view(scales=SCALES):
    prior, index = GroupPrior.from_groups(DATA, GROUPS, SEEN)
    prior = replace(prior, scales=scales)
    return PriorAtQuestions.of(prior, DATA.x.numpy(), np.diff(DATA.offsets), index)


def dense(v, questions):
    """The prior's mean and the covariance of observed shares, response by response, in plain loops.

    Latent log-shares have the covariance outputscale k + (what k leaves unexplained of unseen questions); a
    share's first-order change with log-shares is diag(p) - p p', question by question.
    """
    rows, scales, prior = DATA.rows(questions), v.prior.scales, v.prior
    sizes = np.diff(DATA.offsets)[questions]
    of = np.repeat(questions, sizes)
    seen = of < len(SEEN)
    answers = np.stack([DATA.shares_of(g, SEEN) for g in GROUPS])
    mean, deviation = v.extrapolated.mean[rows].copy(), v.extrapolated.deviation[:, rows].astype(float)
    mean[seen] = answers.mean(0)[rows[seen]]
    deviation[:, seen] = (answers - answers.mean(0))[:, rows[seen]]
    x, known = DATA.x.numpy()[rows], prior.x
    k, k_known = prior.kernel(x, x), prior.kernel(x, known)
    inner = prior.kernel(known, known) + NUGGET * np.eye(len(known))
    unexplained = k - TRANSFER**2 * k_known @ np.linalg.solve(inner, k_known.T)
    n = len(rows)
    latent = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            both = not seen[i] and not seen[j]
            latent[i, j] = scales.outputscale * k[i, j] + (unexplained[i, j] if both else 0)
        latent[i, i] += 0 if seen[i] else 2 * NUGGET
    jacobian = np.zeros((n, n))
    for q in np.unique(of):
        mine = np.flatnonzero(of == q)
        p = mean[mine]
        jacobian[np.ix_(mine, mine)] = np.diag(p) - np.outer(p, p)
    noise = scales.noise * np.maximum(mean * (1 - mean), 1e-3)
    covariance = deviation.T @ deviation / len(GROUPS) + jacobian @ latent @ jacobian.T
    return mean, covariance, noise


def test_mean_covariance_and_likelihood_are_the_textbooks():
    v = view()
    c = int(np.diff(DATA.offsets)[CONTEXT].sum())
    mean, covariance, noise = dense(v, np.concatenate([CONTEXT, TARGET]))
    observed = covariance + np.diag(noise)
    gain = np.linalg.solve(observed[:c, :c], covariance[:c, c:]).T
    given, _ = v.joint_inputs(CONTEXT, TARGET)
    got = v.posterior(CONTEXT, Y, TARGET)
    np.testing.assert_allclose(got.mean, mean[c:] + gain @ (Y - mean[:c]), atol=1e-5)
    np.testing.assert_allclose(got.covariance, observed[c:, c:] - gain @ covariance[:c, c:], atol=1e-5)
    np.testing.assert_array_equal(got.variance, np.diag(got.covariance))
    likelihood = v.prior.condition_on(given, Y).log_marginal_likelihood
    want = multivariate_normal(mean[:c], observed[:c, :c]).logpdf(Y)
    assert likelihood == pytest.approx(want, rel=1e-4)


def test_the_likelihood_tells_a_group_of_the_population_from_shuffled_answers():
    v = view()
    given, _ = v.joint_inputs(SEEN, TARGET)
    mine, sizes = DATA.shares_of(GROUP, SEEN), np.diff(DATA.offsets)[SEEN]
    reversed_answers = np.concatenate([part[::-1] for part in np.split(mine, np.cumsum(sizes)[:-1])])
    found = [v.prior.condition_on(given, y).log_marginal_likelihood for y in (mine, reversed_answers)]
    assert found[0] > found[1] + 1


def test_samples_have_the_posteriors_mean_and_covariance():
    found = view().posterior(SEEN, DATA.shares_of(GROUP, SEEN), TARGET)
    draws = found.sample(20_000, np.random.default_rng(0))
    sizes = np.diff(DATA.offsets)[TARGET]
    totals = np.add.reduceat(draws, np.cumsum(sizes) - sizes, axis=1)
    np.testing.assert_allclose(totals, 1)
    assert (draws > 0).all()
    inner = (found.mean - 4 * np.sqrt(found.variance) > 0).all()
    assert np.abs(draws.mean(0) - found.shares).max() < (0.01 if inner else 0.05)
    repeated = found.sample(5, np.random.default_rng(0))
    np.testing.assert_allclose(repeated.sum(), 5 * len(TARGET))


def test_questions_seen_and_unseen_have_each_their_hyperparameters():
    apart = replace(SCALES, unseen_noise=0.4, unseen_outputscale=0.1)
    got = view(apart).posterior(CONTEXT, Y, TARGET)
    unseen = replace(apart.for_unseen, unseen_noise=None, unseen_outputscale=None)
    one, other = (view(s).posterior(CONTEXT, Y, TARGET) for s in (SCALES, unseen))
    both_seen = np.outer(got.seen, got.seen)
    np.testing.assert_allclose(got.covariance[both_seen], one.covariance[both_seen])
    np.testing.assert_allclose(got.covariance[~both_seen], other.covariance[~both_seen])
    assert got.seen.any()
    assert not got.seen.all()


def test_the_covariance_costs_nothing_until_it_is_asked_for():
    found = view().posterior(CONTEXT, Y, TARGET)
    assert "covariance" not in vars(found)
    assert found.covariance is found.covariance
