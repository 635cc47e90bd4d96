"""Scales of the prior from left-out meta-train groups, on surveys whose noise is known."""

from dataclasses import replace

import numpy as np
import pytest
from prior_views import changed
from synthetic import arrays, survey

from gpo_ray.prior import calibration
from gpo_ray.prior.calibration import NOISES, OUTPUTSCALES, PREFERRED, fit_prior
from gpo_ray.prior.scales import PriorScales

QUESTIONS = np.arange(24)


def mixtures(groups, precision, seed=0, count=24, kinds=3):
    """Groups that mix a few kinds of people; with ``precision`` an answer is a Dirichlet draw around that."""
    data = arrays(survey(kinds, count, seed=seed), seed=seed)
    rng = np.random.default_rng([seed, 7])
    table = np.stack(data.shares)
    cuts = data.offsets[1:-1]
    shares = []
    for mix in rng.dirichlet(np.ones(kinds), groups):
        exact = np.split(mix @ table, cuts)
        shares.append(
            np.concatenate(exact if precision is None else [rng.dirichlet(precision * p) for p in exact])
        )
    return replace(
        data,
        group_ids=tuple(f"g{g}" for g in range(groups)),
        answered=(np.arange(count),) * groups,
        shares=tuple(shares),
        sampling=None,
    )


def scales(data, groups=20, context=10, questions=QUESTIONS):
    return fit_prior(data, range(groups), questions, context).prior.scales


def left_out(data, groups, context):
    """The groups that the scales are tried on, each with its context."""
    return calibration._trials(data, groups, QUESTIONS, context, 0)  # noqa: SLF001 -- nothing else tells them


def test_noise_is_small_where_there_is_none_and_large_where_there_is_much():
    exact, some, much = (scales(mixtures(20, p)).noise for p in (None, 30, 3))
    assert exact == min(NOISES)
    assert exact < some < much


def test_scales_are_the_best_of_all_on_the_left_out_groups(monkeypatch):
    """By hand, with the same groups and contexts: no other choice has smaller errors, known and new apart."""
    monkeypatch.setattr(calibration, "STEP_PENALTY", 0.0)
    data = mixtures(12, 20)
    view = fit_prior(data, range(12), QUESTIONS, 6)
    trials = left_out(data, range(12), 6)
    found = {True: {}, False: {}}
    for noise in NOISES:
        for outputscale in OUTPUTSCALES:
            other = replace(view, prior=replace(view.prior, scales=PriorScales(noise, outputscale)))
            errors = {True: [], False: []}
            for t in trials:
                p = other.posterior(
                    t.context, data.shares_of(t.group, t.context), t.target, t.group, t.masked
                )
                for known in errors:
                    errors[known] += ((p.shares - data.shares_of(t.group, t.target)) ** 2)[
                        p.seen == known
                    ].tolist()
            for known in found:
                found[known][noise, outputscale] = np.mean(errors[known])
    chosen = view.prior.scales
    assert (chosen.noise, chosen.outputscale) == min(found[True], key=found[True].get)
    assert (chosen.unseen_noise, chosen.unseen_outputscale) == min(found[False], key=found[False].get)


def test_every_left_out_group_is_apart_from_its_context_and_half_of_its_targets_are_new():
    data = arrays(survey(9, 24, answered=0.6))
    trials = left_out(data, range(7), 5)
    counts = np.bincount([t.group for t in trials], minlength=7)
    assert counts.sum() == 24
    assert set(counts) == {3, 4}  # all groups in turn
    contexts = {(t.group, *sorted(t.context)) for t in trials}
    assert len(contexts) > 20  # each time others of its answers
    for t in trials:
        assert len(t.context) == min(5, len(data.answered[t.group]) // 2)
        assert not set(t.context) & set(t.target)
        assert set(t.context) | set(t.target) == set(data.answered[t.group])
        assert set(t.masked) <= set(t.target)
        assert abs(2 * len(t.masked) - len(t.target)) <= 1


@pytest.mark.parametrize("precision", [5, 40])
def test_nine_in_ten_shares_of_exchangeable_groups_are_within_their_intervals(precision):
    inside = {True: [], False: []}
    for seed in range(4):
        data = mixtures(34, precision, seed, count=36)
        view = fit_prior(data, range(20), np.arange(24), 10)
        for g in range(20, 34):
            context, target = np.arange(10), np.arange(10, 36)
            found = view.posterior(context, data.shares_of(g, context), target)
            within = np.abs(found.shares - data.shares_of(g, target)) <= found.half_width
            for known in inside:
                inside[known] += within[found.seen == known].tolist()
    assert np.mean(inside[True]) == pytest.approx(0.9, abs=0.05)
    assert np.mean(inside[False]) == pytest.approx(0.9, abs=0.1)


def test_the_same_data_give_the_same_scales():
    data = mixtures(12, 10)
    assert scales(data, 12) == scales(data, 12)
    assert scales(data, 12) != scales(mixtures(12, 10, seed=1), 12)


def test_only_meta_train_groups_and_training_questions_are_looked_at():
    data = mixtures(14, 10)
    training = QUESTIONS[:16]
    want = scales(data, 10, 5, training)
    other = data
    for g in range(14):
        other = changed(other, g, QUESTIONS[16:] if g < 10 else QUESTIONS, seed=g)
    assert scales(other, 10, 5, training) == want
    assert scales(changed(data, 3, training), 10, 5, training) != want


def test_of_very_many_groups_some_are_kept(monkeypatch):
    data = mixtures(16, 10)
    whole = fit_prior(data, range(16), QUESTIONS, 5).prior
    monkeypatch.setattr(calibration, "MAX_PRIOR_GROUPS", 16)
    np.testing.assert_array_equal(fit_prior(data, range(16), QUESTIONS, 5).prior.shares, whole.shares)
    monkeypatch.setattr(calibration, "MAX_PRIOR_GROUPS", 12)
    view = fit_prior(data, range(16), QUESTIONS, 5)
    assert len(view.prior.groups) == len(set(view.prior.groups)) == 12
    np.testing.assert_array_equal(view.prior.shares, whole.shares[list(view.prior.groups)])
    for g in range(16):  # in memory or not, a group's episodes have a prior
        found = view.posterior(QUESTIONS[:5], data.shares_of(g, QUESTIONS[:5]), QUESTIONS[5:], g)
        assert np.abs(found.shares - data.shares_of(g, QUESTIONS[5:])).mean() < 0.2


def test_groups_with_a_single_answer_leave_the_scales_as_they_are():
    data = arrays(survey(4, 8))
    one = np.arange(1)
    first = tuple(s[: data.offsets[1]] for s in data.shares)
    data = replace(data, answered=(one,) * 4, shares=first, sampling=None)
    assert scales(data, 4) == PriorScales()


def test_few_answers_do_not_lead_far_from_the_preferred_scales_and_many_do(monkeypatch):
    def chosen(questions, caution):
        monkeypatch.setattr(calibration, "STEP_PENALTY", caution)
        found = [scales(mixtures(8, 30, seed), 8, 4, np.arange(questions)) for seed in range(4)]
        return [(s.noise, s.outputscale, s.pseudo_count) for s in found]

    preferred = (PREFERRED.noise, PREFERRED.outputscale, PREFERRED.pseudo_count)
    assert set(chosen(6, 1e9)) == {preferred}
    few = sum(s != preferred for s in chosen(6, calibration.STEP_PENALTY))
    assert chosen(6, 0.0) != chosen(6, 1e9), "errors alone choose the same; the test would prove nothing"
    assert few < len(chosen(6, 0.0))


def test_what_many_answers_say_is_followed():
    assert scales(mixtures(20, 3)).noise > PREFERRED.noise
