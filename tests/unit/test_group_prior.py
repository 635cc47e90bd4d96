"""The Gaussian process over the meta-train groups' answers, against numpy written out by hand."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from prior_views import ALL, DATA, GROUPS, SIZES, SPARSE, ask, changed, differ, full, hide, rows, same, view

from gpo_ray.preferences.slates import normalized
from gpo_ray.prior import at_questions, group_prior
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.prior.extrapolation import KernelRidgeExtrapolator
from gpo_ray.prior.kernel import filled, scaled_by_shares
from gpo_ray.prior.scales import PriorScales


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


@pytest.mark.parametrize("questions", [ALL, ALL[:10], ALL[:4]])
@pytest.mark.parametrize("outputscale", [0.0, 0.3])
def test_more_context_never_makes_the_prior_less_sure(questions, outputscale):
    v = view(questions=questions, scales=PriorScales(0.03, outputscale))
    order = np.random.default_rng(0).permutation(ALL[:13])
    sds = np.stack([ask(v, order[:n], (13, 14, 15)).sd for n in range(1, 14)])
    assert (np.diff(sds, axis=0) <= 1e-9).all()
    assert (sds[-1] < 0.97 * sds[0]).any()


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
    solve = KernelRidgeExtrapolator._deviations  # noqa: SLF001 -- one of its ways is forced
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
