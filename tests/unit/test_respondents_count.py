"""The number of people behind an answer: sampling variance adds to the prior's noise."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from prior_views import DATA, view
from scipy.linalg import cho_solve
from serving_backend import write_service_bundle
from survey_sources import DATA as PUBLISHED
from synthetic import arrays, survey

import gpo_ray
from gpo_ray import Answer, DataError, Question
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.dataset import Question as Asked
from gpo_ray.preferences.readers import ReadOptions, read_survey
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.covariance import CrossCovariance
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.posterior import sampling_variances
from gpo_ray.prior.scales import PriorScales

CONTEXT, TARGET, GROUP = np.arange(4), np.arange(4, 9), 6
SIZES = np.diff(DATA.offsets)


def test_the_formula_by_hand():
    v = view()
    y, sampling = DATA.shares_of(GROUP, CONTEXT), np.repeat([0.1, 0.0, 0.5, 0.02], SIZES[CONTEXT])
    given, asked = v.joint_inputs(CONTEXT, TARGET)
    plain = v.prior.condition_on(given, y)
    found = v.prior.condition_on(given, y, sampling)
    shared = plain.context_covariance.covariance(given, given, v.prior.scales)
    noise = (v.prior.scales.noise + sampling) * given.mean * (1 - given.mean)
    factor = np.linalg.cholesky(shared + given.idiosyncratic_covariance() + np.diag(noise))
    between = CrossCovariance.of(asked, given, v.prior.scales, v.prior.kernel)
    gain = cho_solve((factor, True), between.covariance(asked, given, v.prior.scales).T).T
    want = asked.mean + gain @ (y - given.mean)
    np.testing.assert_allclose(found.posterior(asked).mean, want, atol=1e-9)


def test_unknown_numbers_change_nothing():
    v, y = view(), DATA.shares_of(GROUP, CONTEXT)
    none = np.zeros(len(y))
    one, other = v.posterior(CONTEXT, y, TARGET), v.posterior(CONTEXT, y, TARGET, sampling=none)
    np.testing.assert_array_equal(one.shares, other.shares)


def test_the_fewer_people_the_less_an_answer_moves():
    v, y = view(), DATA.shares_of(GROUP, CONTEXT)
    moved = []
    for n in (1, 10, 100, 1e9):
        found = v.posterior(CONTEXT, y, TARGET, sampling=np.full(len(y), 1 / n))
        prior_mean = v.joint_inputs(CONTEXT, TARGET)[1].mean
        moved.append(np.abs(found.mean - prior_mean).sum())
        assert (found.sd >= v.posterior(CONTEXT, y, TARGET).sd - 1e-12).all()
    assert moved == sorted(moved)
    assert moved[0] < 0.9 * moved[-1]


def dataset():
    asked = [Asked("a", "test", "A?", ("Yes", "No")), Asked("b", "test", "B?", ("Yes", "No", "Maybe"))]
    groups = [Group("g", "attribute"), Group("p", "individual"), Group("c", "country")]
    return PreferenceDataset.build(
        asked,
        groups,
        {
            "group_id": ["g", "g", "p", "p", "c"],
            "question_id": ["a", "b", "a", "b", "b"],
            "share": [[0.5, 0.5], [0.2, 0.3, 0.5], None, [0, 1, 0], [0.1, 0.2, 0.7]],
            "choice": [None, None, 1, None, None],
            "n": [20.0, None, 1.0, 1.0, 0.25],
        },
    )


def test_whose_answers_are_samples():
    np.testing.assert_array_equal(dataset().sampling_variance(), [1 / 20, 0, 0, 0, 1])


def test_arrays_lay_it_out_like_shares():
    found = arrays(dataset())
    np.testing.assert_array_equal(found.sampling_of(0, np.array([1, 0])), [0, 0, 0, 1 / 20, 1 / 20])
    np.testing.assert_array_equal(found.sampling_of(2, np.array([1])), [1, 1, 1])
    np.testing.assert_array_equal(replace(found, sampling=None).sampling_of(0, np.array([0])), [0, 0])


def test_numbers_that_cannot_be_are_refused():
    np.testing.assert_array_equal(sampling_variances([None, 4, 0.5], [2, 1, 3]), [0, 0, 0.25, 1, 1, 1])
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(DataError, match="context question 1: the number of respondents must be above 0"):
            sampling_variances([1, bad], [2, 2])
    with pytest.raises(DataError, match="1 numbers of respondents for 2 questions"):
        sampling_variances([1], [2, 2])


def sampled(rng, data, n):
    """The groups' shares as ``n`` of their people would give them."""
    shares = []
    for g, mine in enumerate(data.shares):
        sizes = np.diff(data.offsets)[data.answered[g]]
        parts = np.split(mine, np.cumsum(sizes)[:-1])
        shares.append(np.concatenate([rng.multinomial(n, p / p.sum()) / n for p in parts]))
    return shares


@pytest.mark.parametrize(("n", "at_most"), [(5, 0.9), (20, 0.98), (10_000, 1.001)])
def test_small_groups_are_predicted_better_and_large_ones_no_worse(n, at_most):
    """Squared errors over many groups, contexts and samples, with and without the numbers of people."""
    v = view()
    errors = {True: 0.0, False: 0.0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shares = sampled(rng, DATA, n)
        for g in (5, 6, 7):
            order = rng.permutation(16)
            context, target = np.sort(order[:6]), np.sort(order[6:])
            rows = np.concatenate([np.arange(DATA.offsets[q], DATA.offsets[q + 1]) for q in context])
            y, truth = shares[g][rows], DATA.shares_of(g, target)
            for known in errors:
                sampling = np.full(len(y), 1 / n if known else 0.0)
                found = v.posterior(context, y, target, sampling=sampling).shares
                errors[known] += ((found - truth) ** 2).sum()
    assert errors[True] <= at_most * errors[False]


@pytest.mark.skipif(not (PUBLISHED / "opinionqa").is_dir(), reason="OpinionQA is not on this machine")
def test_opinionqa_is_no_worse_and_few_respondents_are_better():
    """Seen questions of OpinionQA, with the numbers of respondents that the survey has, and with ten."""
    data = arrays(read_survey("opinionqa", PUBLISHED / "opinionqa", ReadOptions(groups="paper")))
    few, errors = 10, dict.fromkeys(["all", "all, n known", "few", "few, n known"], 0.0)
    rng, sizes, everything = np.random.default_rng(0), np.diff(data.offsets), np.arange(len(data.offsets) - 1)
    train, test = np.split(rng.permutation(len(data.group_ids)), [10])
    prior, index = GroupPrior.from_groups(data, train.tolist(), everything)
    prior = replace(prior, scales=PriorScales(noise=0.003, outputscale=0.0))
    v = PriorAtQuestions.of(prior, data.x.numpy(), sizes, index, False)
    for g in test.tolist():
        for _ in range(4):
            asked = rng.permutation(data.answered[g][index[data.answered[g]] >= 0])
            context, target = np.sort(asked[:20]), np.sort(asked[20:120])
            y, truth = data.shares_of(g, context), data.shares_of(g, target)
            parts = np.split(y, np.cumsum(sizes[context])[:-1])
            y_few = np.concatenate([rng.multinomial(few, p / p.sum()) / few for p in parts])
            for name, shares, sampling in (
                ("all", y, None),
                ("all, n known", y, data.sampling_of(g, context)),
                ("few", y_few, None),
                ("few, n known", y_few, np.full(len(y), 1 / few)),
            ):
                found = v.posterior(context, shares, target, sampling=sampling).shares
                errors[name] += float(((found - truth) ** 2).sum())
    assert errors["all, n known"] <= 1.005 * errors["all"]
    assert errors["few, n known"] <= 0.7 * errors["few"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_language_model):
    return write_service_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tiny_language_model)


def test_n_counts_in_predictions_by_text(bundle):
    seen = [*survey(groups=8, count=12).iter_questions()]
    model = gpo_ray.load(bundle, model="/no/language/model")
    share = np.eye(len(seen[0].responses))[0]

    def predicted(**given):
        group = model.adapt([Answer(seen[0].prompt, seen[0].responses, share=share, **given)])
        return group.predict([Question(seen[1].prompt, seen[1].responses)])[0].share

    known, few, many = predicted(), predicted(n=2), predicted(n=10**9)
    np.testing.assert_allclose(many, known, atol=1e-6)
    assert max(np.abs(np.subtract(few, known))) > 1e-3
    with pytest.raises(DataError, match="n"):
        predicted(n=0)
    with pytest.raises(DataError, match="a choice is one person's"):
        model.adapt([Answer(seen[0].prompt, seen[0].responses, choice=0, n=3)])


def test_stored_numbers_are_read_in_batches_too():
    table = dataset().preferences
    part = PreferenceDataset(dataset().questions, dataset().groups, table.slice(2), pa.table({}))
    np.testing.assert_array_equal(part.sampling_variance(), [0, 0, 1])
