"""The Gaussian process over the meta-train groups' answers, against numpy written out by hand."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic import arrays, survey

from gpo_ray.errors import ConfigError
from gpo_ray.model.episodes import Task, build_episode, make_task_prior
from gpo_ray.preferences.slates import normalized, softmax
from gpo_ray.prior import at_questions, extrapolation, group_prior
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.prior.covariance import NUGGET, PriorInputs
from gpo_ray.prior.extrapolation import DEVIATION_NUGGET, TRANSFER, KernelRidgeExtrapolator
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.kernel import filled, scaled_by_shares
from gpo_ray.prior.keyed import KeyedGroupPrior
from gpo_ray.prior.scales import PriorScales

DATA = arrays(survey(groups=8, count=16))
SPARSE = arrays(survey(groups=8, count=16, answered=0.6, seed=3))
ALL = np.arange(16)
SIZES = np.diff(DATA.offsets)
GROUPS = (0, 1, 2, 3, 4)


def view(data=DATA, groups=GROUPS, questions=ALL, scales=PriorScales(), cross_fit=True):  # noqa: B008
    memory, question_index = GroupPrior.from_groups(data, groups, np.asarray(questions))
    memory = replace(memory, scales=scales)
    return PriorAtQuestions.of(memory, data.x.numpy(), np.diff(data.offsets), question_index, cross_fit)


def ask(v, context=(0, 1, 2, 3), target=(4, 5, 6), y=None, group=6, data=DATA, **kwargs):
    context, target = np.asarray(context), np.asarray(target)
    y = data.shares_of(group, context) if y is None else y
    return v.posterior(context, y, target, **kwargs)


def changed(data, group, questions, seed=9):
    """Other answers of a group to some questions that it answered."""
    rng = np.random.default_rng(seed)
    sizes = np.diff(data.offsets)
    own = np.split(data.shares[group], np.cumsum(sizes[data.answered[group]])[:-1])
    own = [
        rng.dirichlet(np.ones(len(s))) if q in set(questions) else s
        for q, s in zip(data.answered[group], own, strict=True)
    ]
    shares = tuple(np.concatenate(own) if g == group else s for g, s in enumerate(data.shares))
    return replace(data, shares=shares)


def hide(data, group, questions):
    """The same data without a group's answers to some questions."""
    kept = data.answered[group][~np.isin(data.answered[group], questions)]
    mine = data.shares_of(group, kept)
    return replace(
        data,
        answered=tuple(kept if g == group else a for g, a in enumerate(data.answered)),
        shares=tuple(mine if g == group else s for g, s in enumerate(data.shares)),
    )


def same(a, b, **kwargs):
    np.testing.assert_allclose(a.shares, b.shares, **({"atol": 1e-9} | kwargs))
    np.testing.assert_allclose(a.sd, b.sd, **({"atol": 1e-9} | kwargs))
    np.testing.assert_array_equal(a.seen, b.seen)


def differ(a, b, least=1e-3):
    assert abs(a.shares - b.shares).max() > least


def rows(questions):
    return DATA.rows(np.asarray(questions))


def test_known_questions_equal_a_ridge_mix_of_the_groups_by_hand():
    """With an outputscale of 0 the mean is mean + residual' w, w by ridge regression with weighted errors."""
    scales = PriorScales(noise=0.05, outputscale=0.0)
    context, target = rows([0, 1, 2, 3]), rows([4, 5, 6])
    table = np.stack([DATA.shares_of(g, ALL) for g in GROUPS])
    mean, residual = table.mean(0), table - table.mean(0)
    noise = 0.05 * mean * (1 - mean)
    a, b = residual[:, context].T, DATA.shares_of(6, ALL)[context] - mean[context]
    precision = a.T @ (a / noise[context][:, None]) + len(GROUPS) * np.eye(len(GROUPS))
    w = np.linalg.solve(precision, a.T @ (b / noise[context]))
    got = ask(view(scales=scales))
    np.testing.assert_allclose(got.shares, normalized(mean[target] + w @ residual[:, target], SIZES[4:7]))
    conditional_variance = residual[:, target]
    variance = (conditional_variance * np.linalg.solve(precision, conditional_variance)).sum(0) + noise[
        target
    ]
    np.testing.assert_allclose(got.sd, np.sqrt(variance))
    assert got.seen.all()


def test_known_questions_with_a_semantic_part_equal_the_dual_form_by_hand():
    scales = PriorScales(noise=0.02, outputscale=0.4)
    v = view(scales=scales)
    table = np.stack([DATA.shares_of(g, ALL) for g in GROUPS])
    mean, residual = table.mean(0), table - table.mean(0)
    kernel = v.prior.kernel(DATA.x.numpy(), DATA.x.numpy())
    everywhere = SimpleNamespace(mean=mean, sizes=SIZES)
    covariance = 0.4 * scaled_by_shares(kernel, everywhere, everywhere) + residual.T @ residual / 5
    c, t = rows([0, 1, 2, 3]), rows([4, 5, 6])
    noisy = covariance[np.ix_(c, c)] + np.diag(0.02 * (mean * (1 - mean))[c])
    gain = np.linalg.solve(noisy, covariance[np.ix_(c, t)]).T
    want = mean[t] + gain @ (DATA.shares_of(6, ALL)[c] - mean[c])
    np.testing.assert_allclose(ask(v).shares, normalized(want, SIZES[4:7]), atol=1e-7)


def test_a_mix_of_the_groups_is_recovered_without_noise():
    table = np.stack([DATA.shares_of(g, ALL) for g in GROUPS])
    mixed = np.asarray([0.6, 0.4, 0, 0, 0]) @ table
    v = view(scales=PriorScales(noise=1e-9, outputscale=0.0))
    got = ask(v, ALL[:12], ALL[12:], mixed[rows(ALL[:12])])
    np.testing.assert_allclose(got.shares, mixed[rows(ALL[12:])], atol=1e-4)


@pytest.mark.parametrize("questions", [ALL, ALL[:9]])
def test_order_of_the_context_does_not_matter(questions):
    v = view(questions=questions)
    same(ask(v, (0, 1, 2, 11), (4, 12)), ask(v, (11, 2, 0, 1), (4, 12)))


@pytest.mark.parametrize("data", [DATA, SPARSE])
def test_order_of_the_groups_does_not_matter(data):
    context, target = data.answered[6][:4], data.answered[6][4:8]
    for masked in (None, target[::2]):
        first, second = (
            ask(view(data, g), context, target, data=data, masked=masked) for g in (GROUPS, (3, 0, 4, 2, 1))
        )
        same(first, second)


@pytest.mark.parametrize("context", [(0, 1, 2, 3), (0, 1, 12, 13), (12, 13)])
def test_targets_together_or_one_by_one_are_the_same(context):
    v, target = view(questions=ALL[:10]), (4, 14, 5, 15)
    together = ask(v, context, target, masked=np.asarray([5]))
    alone = [ask(v, context, (q,), masked=np.asarray([5])) for q in target]
    for name in ("shares", "sd", "seen", "half_width"):
        want = np.concatenate([getattr(a, name) for a in alone])
        np.testing.assert_allclose(getattr(together, name), want, atol=1e-6)  # similarities are float32
    assert together.seen.tolist() == np.repeat([True, False, False, False], SIZES[list(target)]).tolist()


@pytest.mark.parametrize("data", [DATA, SPARSE])
def test_leaving_a_group_out_is_as_if_it_had_never_been_asked(data):
    others = np.unique(np.concatenate([data.answered[g] for g in GROUPS if g != 2]))
    mine = np.intersect1d(data.answered[2], others)
    context, target = mine[:3], mine[3:6]
    everyone, without = view(data), view(data, tuple(g for g in GROUPS if g != 2))
    same(
        ask(everyone, context, target, group=2, data=data, leave_out=2),
        ask(without, context, target, group=2, data=data),
    )
    differ(
        ask(everyone, context, target, group=2, data=data), ask(without, context, target, group=2, data=data)
    )
    other = view(changed(data, 2, ALL))
    same(
        ask(other, context, target, group=2, data=data, leave_out=2),
        ask(everyone, context, target, group=2, data=data, leave_out=2),
    )


def test_a_question_that_only_the_left_out_group_answered_is_new():
    data = DATA
    for g in (0, 1, 3, 4):
        data = hide(data, g, [5])
    v = view(data)
    assert ask(v, group=2).seen.all()
    got = ask(v, group=2, leave_out=2)
    assert got.seen.tolist() == np.repeat([True, False, True], SIZES[4:7]).tolist()
    same(got, ask(v, group=2, leave_out=2, masked=np.asarray([5])))
    other = ask(view(changed(data, 2, [5])), group=2, leave_out=2)
    np.testing.assert_allclose(other.shares, got.shares, atol=1e-12)


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


@pytest.mark.parametrize("questions", [ALL, ALL[:10]])
def test_the_groups_own_answers_to_the_targets_reach_no_prediction(questions):
    prior = make_task_prior(view(questions=questions), DATA)
    t = Task(6, ALL[:3], np.asarray([4, 12, 14]))
    other = changed(changed(DATA, 6, [4, 12, 14]), 7, ALL)
    again = make_task_prior(view(other, questions=questions), other)
    np.testing.assert_array_equal(prior(t)[0], again(t)[0])


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


@pytest.mark.parametrize("questions", [ALL, ALL[:10], ALL[:4]])
@pytest.mark.parametrize("outputscale", [0.0, 0.3])
def test_more_context_never_makes_the_prior_less_sure(questions, outputscale):
    v = view(questions=questions, scales=PriorScales(0.03, outputscale))
    order = np.random.default_rng(0).permutation(ALL[:13])
    sds = np.stack([ask(v, order[:n], (13, 14, 15)).sd for n in range(1, 14)])
    assert (np.diff(sds, axis=0) <= 1e-9).all()
    assert (sds[-1] < 0.97 * sds[0]).any()


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


def test_groups_that_did_not_answer_are_left_out_of_the_mean_and_have_no_deviation():
    shares = np.asarray([[0.2, 0.8, np.nan], [np.nan, 0.6, np.nan], [0.4, np.nan, np.nan]])
    got = filled(shares)
    np.testing.assert_allclose(got.mean, [0.3, 0.7, np.nan])
    np.testing.assert_allclose(got.residual, [[-0.1, 0.1, 0], [0, -0.1, 0], [0.1, 0, 0]], atol=1e-12)


def test_missing_answers_are_handled_by_hand():
    v = view(SPARSE, scales=PriorScales(0.05, 0.0))
    context, target = SPARSE.answered[6][:4], SPARSE.answered[6][4:8]
    found = filled(np.stack([full(SPARSE, g) for g in GROUPS]))
    assert np.isnan(v.prior.shares).any()
    c, t = SPARSE.rows(context), SPARSE.rows(target)
    covariance = found.residual.T @ found.residual / 5
    noise = 0.05 * found.mean * (1 - found.mean)
    gain = covariance[np.ix_(t, c)] @ np.linalg.inv(covariance[np.ix_(c, c)] + np.diag(noise[c]))
    want = found.mean[t] + gain @ (SPARSE.shares_of(6, context) - found.mean[c])
    got = ask(v, context, target, data=SPARSE)
    np.testing.assert_allclose(got.shares, normalized(want, np.diff(SPARSE.offsets)[target]))


@pytest.mark.parametrize("data", [DATA, SPARSE])
@pytest.mark.parametrize("by_group", [True, False])
def test_many_groups_in_single_precision_predict_the_same(monkeypatch, data, by_group):
    context, target = data.answered[6][:4], data.answered[6][4:8]

    def asked():
        v = view(data, questions=ALL[:12])
        return v, [ask(v, context, some, data=data, masked=target[::2]) for some in (target, [13, 15])]

    _, want = asked()
    solve = KernelRidgeExtrapolator._deviations
    monkeypatch.setattr(KernelRidgeExtrapolator, "_deviations", lambda *args: solve(*args[:2], by_group))
    monkeypatch.setattr(group_prior, "SINGLE_PRECISION_GROUPS", 3)
    monkeypatch.setattr(group_prior, "LEFT_OUT_BELOW", 3)
    v, got = asked()
    tables = v.prior.shares, v.extrapolated.deviation, v.inputs(target).deviations.residual
    assert {t.dtype for t in tables} == {np.dtype(np.float32)}
    assert v.prior.shares.flags.f_contiguous
    assert v.extrapolated.deviation.flags.f_contiguous
    for mine, whole in zip(got, want, strict=True):
        same(mine, whole, atol=1e-5)
    assert any((mine.shares != whole.shares).any() for mine, whole in zip(got, want, strict=True))


def test_a_bare_side_lets_go_of_its_tables():
    whole = view().inputs(ALL[:5])
    bare = whole.bare
    tables = bare.deviations.residual, bare.deviations.answered, bare.embedded.x.x
    assert all(t.base is None and not t.size for t in tables)
    np.testing.assert_array_equal(bare.deviations.squares, whole.deviations.squares)


def full(data, g):
    """(N,) shares of a group, NaN where it did not answer."""
    result = np.full(len(data.x), np.nan)
    result[data.rows(data.answered[g])] = data.shares[g]
    return result


def test_remembered_is_what_the_groups_answered_and_no_more():
    memory, question_index = GroupPrior.from_groups(SPARSE, (1, 3), ALL[:9])
    kept = np.intersect1d(ALL[:9], np.union1d(SPARSE.answered[1], SPARSE.answered[3]))
    np.testing.assert_array_equal(np.flatnonzero(question_index >= 0), kept)
    np.testing.assert_array_equal(question_index[kept], np.arange(len(kept)))
    want = np.stack([full(SPARSE, g) for g in (1, 3)])[:, SPARSE.rows(kept)]
    np.testing.assert_array_equal(memory.shares, want)
    np.testing.assert_array_equal(memory.x, SPARSE.x.numpy()[SPARSE.rows(kept)])
    assert memory.groups == (1, 3)


def test_groups_that_answered_nothing_are_refused():
    data = hide(DATA, 0, ALL[:4])
    with pytest.raises(ConfigError, match="answered none of the training questions"):
        GroupPrior.from_groups(data, (0,), ALL[:4])


def test_questions_are_found_by_key_and_size():
    memory, _ = GroupPrior.from_groups(DATA, GROUPS, ALL[:3])
    known = KeyedGroupPrior(memory, {"a": 0, "b": 1, "c": 2})
    sizes = [SIZES[2], SIZES[0], SIZES[1], SIZES[0], SIZES[0] + 1]
    assert known.question_index(["c", None, "b", "x", "a"], sizes).tolist() == [2, -1, 1, -1, -1]


def test_prior_of_tasks_is_the_log_posterior_without_the_group_and_what_is_hidden():
    v, t = view(), Task(2, ALL[:4], ALL[4:7], np.asarray([5]))
    log, known = make_task_prior(v, DATA)(t)
    want = ask(v, group=2, leave_out=2, masked=np.asarray([5]))
    np.testing.assert_array_equal(log, np.log(want.shares))
    np.testing.assert_array_equal(known, want.seen)


def test_episode_marks_what_is_seen_in_padded_groups():
    tasks = [Task(5, ALL[:4], ALL[4:7], ALL[5:6]), Task(6, ALL[:2], ALL[7:9])]
    prior = make_task_prior(view(), DATA)
    target = build_episode(DATA, tasks, task_prior=prior).target
    place = build_episode(DATA, tasks, task_prior=prior).position
    seen = target.seen.flatten()
    np.testing.assert_array_equal(seen[place], np.repeat([True, False, True, True, True], SIZES[4:9]))
    assert not seen[np.setdiff1d(np.arange(len(seen)), place)].any()
    want = np.concatenate([prior(t)[0] for t in tasks])
    np.testing.assert_allclose(target.prior_log_share.flatten()[place], want, atol=1e-6)


@pytest.mark.parametrize("group", [0, 6])
def test_a_single_group_to_learn_from(group):
    v = fit_prior(DATA, [0], ALL, 3)
    found = make_task_prior(v, DATA)(Task(group, ALL[:3], ALL[3:6], ALL[3:4]))
    assert np.isfinite(found[0]).all()
    assert found[1].any() == (group == 6)


@pytest.mark.parametrize(
    "scales", [PriorScales(), PriorScales(outputscale=0), PriorScales(soft_threshold=1.0)]
)
@pytest.mark.parametrize(("context", "target"), [([0, 1], [2, 3]), ([1, 13, 12], [3, 14, 15]), ([12], [13])])
def test_questions_prepared_one_by_one_give_the_same_posterior(scales, context, target):
    memory, _ = GroupPrior.from_groups(SPARSE, GROUPS, np.arange(12))
    known = KeyedGroupPrior(replace(memory, scales=scales), {str(q): q for q in range(12)})
    x, sizes = np.split(SPARSE.x.numpy(), SPARSE.offsets[1:-1]), np.diff(SPARSE.offsets)
    y = np.concatenate([np.random.default_rng(q).dirichlet(np.ones(sizes[q])) for q in context])
    index = known.question_index([str(q) for q in range(16)], sizes)
    view = PriorAtQuestions.of(known.prior, SPARSE.x.numpy(), sizes, index)
    want = view.posterior(np.asarray(context), y, np.asarray(target))

    def alone(questions):
        return [known.inputs(x[q], [sizes[q]], [str(q)])[0] for q in questions]

    got = known.condition_on(alone(context), y).posterior(PriorInputs.joined(alone(target)))
    np.testing.assert_allclose(got.shares, want.shares, atol=1e-6)
    np.testing.assert_allclose(got.sd, want.sd, atol=1e-6)
    np.testing.assert_array_equal(got.seen, want.seen)


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
    chosen = group_prior._within(np.arange(12), SIZES[:12], 20)
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


def test_similarities_are_computed_once_where_they_fit_and_predictions_are_the_same(monkeypatch):
    found = fit_prior(DATA, [0, 1, 2, 3], ALL[:8], 3)
    y = DATA.shares_of(5, ALL[:3])
    asked = (ALL[:3], y, ALL[5:], None, ALL[6:8])
    kept = found.posterior(*asked)
    table = found.pairs.similarity
    assert table is found.pairs.similarity
    assert "similarity" not in vars(pickle.loads(pickle.dumps(found)).pairs)
    monkeypatch.setattr(at_questions, "TABLE_BYTES", 0)
    anew = fit_prior(DATA, [0, 1, 2, 3], ALL[:8], 3)
    assert anew.pairs.similarity is None
    again = anew.posterior(*asked)
    np.testing.assert_allclose(kept.shares, again.shares, atol=1e-7)
    np.testing.assert_allclose(kept.sd, again.sd, atol=1e-7)
