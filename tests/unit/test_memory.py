"""The prior from the meta-train groups' answers, and a model that starts from it."""

import numpy as np
import pytest
import torch
from synthetic import arrays, bundle_config, flip_byte, survey, tiny_config

from gpo_ray.config import EpisodeConfig
from gpo_ray.errors import BundleError, DataError
from gpo_ray.model import GroupPreferenceModel
from gpo_ray.model.bundle import read_bundle, write_bundle
from gpo_ray.model.episodes import Task, build_episode, draw_tasks
from gpo_ray.model.memory import GroupMemory, QuestionMemory, normalized, task_prior
from gpo_ray.model.predict import predict_tasks
from gpo_ray.training.engine import new_model

SURVEY = survey(groups=7, count=14)
DATA = arrays(SURVEY)
QUESTIONS = np.arange(14)
SIZES = np.diff(DATA.offsets)
CONFIG = tiny_config(
    model={
        "width": 16,
        "layers": 2,
        "heads": 2,
        "feedforward": 16,
        "likelihood": "cross_entropy",
        "prior": "mix",
    }
)


def memory(groups=(0, 1, 2, 3, 4), questions=QUESTIONS):
    return GroupMemory.build(DATA, list(groups), np.asarray(questions))


def gated_model(gate=0.0):
    model = new_model(6, CONFIG).eval()
    with torch.no_grad():
        model.prior_gate.fill_(gate)
    return model


def task(group=5, context=(0, 1, 2, 3), target=(4, 5, 6), hidden=()):
    return Task(group, np.asarray(context), np.asarray(target), np.asarray(hidden, np.int64))


def prior_scores(m, t, **kwargs):
    y = DATA.shares_of(t.group, t.context)
    return m.prior(DATA.rows(t.context), y, DATA.rows(t.target), **kwargs)


def test_prior_equals_ridge_regression_by_hand():
    t = task()
    shares = np.stack([DATA.shares_of(g, QUESTIONS) for g in range(5)])
    near, far = DATA.rows(t.context), DATA.rows(t.target)
    mean = shares.mean(0)
    residual = shares - mean
    a, b = residual[:, near].T, DATA.shares_of(5, t.context) - mean[near]
    stacked = np.vstack([a, np.sqrt(0.3) * np.eye(5)])
    weights = np.linalg.lstsq(stacked, np.concatenate([b, np.zeros(5)]), rcond=None)[0]
    want = mean[far] + weights @ residual[:, far]
    np.testing.assert_allclose(prior_scores(memory(), t, penalty=0.3), want, atol=1e-10)


def test_prior_of_a_group_left_out_does_not_see_its_answers():
    t = task(group=2)
    with_it, without = memory(), memory(groups=(0, 1, 3, 4))
    np.testing.assert_array_equal(prior_scores(with_it, t, without=2), prior_scores(without, t))
    assert abs(prior_scores(with_it, t) - prior_scores(without, t)).max() > 1e-3


def test_prior_recovers_a_mix_of_the_groups():
    shares = np.stack([DATA.shares_of(g, QUESTIONS) for g in range(5)])
    mixed = np.asarray([0.6, 0.4, 0, 0, 0]) @ shares
    near, far = DATA.rows(np.arange(10)), DATA.rows(np.arange(10, 14))
    got = memory().prior(near, mixed[near], far, penalty=1e-9)
    np.testing.assert_allclose(got, mixed[far], atol=1e-4)


def test_question_that_nobody_answered_has_no_prior():
    scores = prior_scores(memory(questions=[0, 1, 2, 3, 4]), task(target=(4, 5)))
    known = np.arange(len(scores)) < SIZES[4]
    assert np.isfinite(scores[known]).all()
    assert np.isnan(scores[~known]).all()


def test_context_that_nobody_answered_gives_the_mean():
    m = memory(questions=[4, 5])
    t = task(target=(4, 5))
    want = np.mean([DATA.shares_of(g, np.asarray([4, 5])) for g in range(5)], 0)
    np.testing.assert_allclose(prior_scores(m, t), want)


def test_normalized_sums_to_one_and_keeps_nan():
    sizes = np.asarray([2, 3, 2])
    got = normalized(np.asarray([0.5, -1.0, 1.0, 1.0, 2.0, np.nan, np.nan]), sizes)
    assert got[:2].sum() == pytest.approx(1)
    assert got[1] > 0
    np.testing.assert_allclose(got[2:5], [0.25, 0.25, 0.5])
    assert np.isnan(got[5:]).all()


def test_model_starts_as_the_prior_itself():
    t = task()
    (got,) = predict_tasks(gated_model(), DATA, [t], prior=task_prior(memory(), DATA))
    np.testing.assert_allclose(got, normalized(prior_scores(memory(), t), SIZES[t.target]), atol=1e-6)


def test_hidden_prior_leaves_the_transformer_alone():
    hidden = task(hidden=(4, 5, 6))
    (got,) = predict_tasks(gated_model(0.7), DATA, [hidden], prior=task_prior(memory(), DATA))
    (alone,) = predict_tasks(gated_model(0.7), DATA, [hidden])
    np.testing.assert_allclose(got, alone, atol=1e-7)


def test_gate_moves_the_prediction_from_the_prior():
    prior = task_prior(memory(), DATA)
    (closed,), (opened,) = (predict_tasks(gated_model(g), DATA, [task()], prior=prior) for g in (0.0, 0.5))
    assert abs(closed - opened).max() > 1e-3


def test_episode_marks_what_is_known_in_padded_groups():
    tasks = [task(5, target=(4, 5, 6), hidden=(5,)), task(6, context=(0, 1), target=(7, 8))]
    episode = build_episode(DATA, tasks, prior=task_prior(memory(), DATA))
    known = episode.target.known.flatten()[episode.place]
    want = np.repeat([True, False, True, True, True], SIZES[[4, 5, 6, 7, 8]])
    np.testing.assert_array_equal(known.numpy(), want)
    assert not episode.target.known.flatten()[np.setdiff1d(np.arange(known.numel()), episode.place)].any()
    assert torch.isfinite(episode.target.prior).all()


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (1.0, 1, 1), (0.5, 0.2, 0.8)])
def test_share_of_hidden_targets(share, least, most):
    config = EpisodeConfig(context_questions=(4, 4), target_questions=(8, 8), hidden_prior=share)
    hidden = [
        np.mean(
            [len(t.hidden) / len(t.target) for t in draw_tasks(DATA, range(5), QUESTIONS, config, (0, s))]
        )
        for s in range(20)
    ]
    assert least <= np.mean(hidden) <= most


@pytest.fixture
def bundle(tmp_path):
    """A bundle whose memory knows all questions but the last two."""
    questions = list(SURVEY.iter_questions())[:12]
    offsets = DATA.offsets[:13]
    known = QuestionMemory.build(
        GroupMemory(memory().shares[:, : offsets[-1]]), offsets, [q.key for q in questions]
    )
    config = bundle_config(CONFIG)
    write_bundle(tmp_path / "bundle", gated_model(0.3).state_dict(), config, {}, known)
    return tmp_path / "bundle"


def test_estimator_with_keys_equals_prediction_from_arrays(bundle):
    model = GroupPreferenceModel.load(bundle)
    keys = [q.key for q in SURVEY.iter_questions()]
    x = np.split(DATA.x.numpy(), DATA.offsets[1:-1])
    t = task(context=(0, 1, 12), target=(4, 13, 5))
    context = [(x[q], DATA.shares_of(5, np.asarray([q]))) for q in t.context]
    group = model.adapt(context, [keys[q] for q in t.context])
    got = group.predict([x[q] for q in t.target], [keys[q] for q in t.target])
    prior = task_prior(memory(questions=range(12)), DATA)
    (want,) = predict_tasks(gated_model(0.3), DATA, [t], prior=prior)
    np.testing.assert_allclose(np.concatenate(got), want, atol=1e-5)
    without = model.adapt(context).predict([x[q] for q in t.target])
    assert abs(np.concatenate(without) - want).max() > 1e-3
    np.testing.assert_allclose(without[1], got[1], atol=1e-6)


def test_keys_of_another_number_are_refused(bundle):
    model = GroupPreferenceModel.load(bundle)
    x = DATA.x[: DATA.offsets[1]].numpy()
    context = [(x, np.full(len(x), 1 / len(x)))]
    with pytest.raises(DataError, match="2 keys for 1 questions"):
        model.adapt(context, ["a", "b"])
    with pytest.raises(DataError, match="0 keys for 1 questions"):
        model.adapt(context).predict([x], [])


@pytest.mark.parametrize("file", ["memory.safetensors", "memory.json"])
def test_damaged_memory_is_named(bundle, file):
    flip_byte(bundle / file)
    with pytest.raises(BundleError, match=file):
        read_bundle(bundle)
