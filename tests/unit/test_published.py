"""Training and prediction against the published recipe as the benchmarks write it plainly."""

import dataclasses

import numpy as np
import torch
from published import Published, published_loss, published_prediction, published_step
from synthetic import arrays, bundle_config, survey

from gpo_ray.config import TrainConfig
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.model.bundle import Bundle
from gpo_ray.model.episodes import Task, build_episode
from gpo_ray.model.estimator import GroupPreferenceModel
from gpo_ray.model.predict import episode_loss

CONFIG = TrainConfig(learning_rate=1e-3)
WIDTH = 6


def pair():
    ours, theirs = new_model(WIDTH, CONFIG), Published(WIDTH)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def episodes(groups, questions, steps):
    """Groups that share their questions, as where everybody answered everything."""
    for step in range(steps):
        order = np.random.default_rng(step).permutation(questions)
        yield [Task(g, order[: questions // 2], order[questions // 2 :]) for g in range(groups)]


def test_losses_are_the_published_ones_at_every_step():
    data = arrays(survey(4, 12), WIDTH).standardized(np.arange(12))[0]
    ours, theirs = pair()
    engine = LocalEngine(ours, CONFIG)
    adam = torch.optim.Adam(theirs.parameters(), lr=CONFIG.learning_rate)
    got, want = [], []
    for tasks in episodes(4, 12, 8):
        got.append(engine.step(build_episode(data, tasks), CONFIG.learning_rate)[0])
        want.append(published_step(theirs, adam, data, tasks))
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)
    assert abs(got[-1] - got[0]) > 1e-2  # they did learn


def test_loss_in_double_precision_is_the_published_one():
    data = arrays(survey(3, 10), WIDTH).standardized(np.arange(10))[0]
    ours, theirs = pair()
    ours, theirs, data = ours.double(), theirs.double(), dataclasses.replace(data, x=data.x.double())
    for tasks in episodes(3, 10, 2):
        got = episode_loss(ours, build_episode(data, tasks), "gaussian")[0]
        torch.testing.assert_close(got, published_loss(theirs, data, tasks), rtol=1e-12, atol=1e-12)


def test_predictions_are_those_of_one_option_at_a_time():
    data = arrays(survey(1, 9), WIDTH)
    ours, theirs = pair()
    model = GroupPreferenceModel(Bundle(ours, bundle_config(CONFIG, WIDTH), {}))
    slates = [data.x[data.rows(np.array([q]))] for q in range(9)]
    answers = [(slates[q], data.shares_of(0, np.array([q]))) for q in range(4)]
    found = model.adapt([(x.numpy(), y) for x, y in answers]).predict([x.numpy() for x in slates[4:]])
    context = [(x, torch.from_numpy(y).float()) for x, y in answers]
    for shares, x in zip(found, slates[4:], strict=True):
        np.testing.assert_allclose(shares, published_prediction(theirs, context, x), atol=1e-6)
