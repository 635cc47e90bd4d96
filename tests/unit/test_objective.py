"""Weights on the training groups: the update, the weighted loss, whole runs, several workers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from synthetic import arrays, questions, survey, tiny_config

from gpo_ray.config import EpisodeConfig, ObjectiveConfig
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.meta_training.loop import meta_train
from gpo_ray.meta_training.objective import GroupWeights, validation_scores
from gpo_ray.model.episodes import Task, build_episode, draw_tasks
from gpo_ray.model.predict import episode_loss
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.splits import draw_split

DATASET = survey(8, 10, seed=1, answered=0.8)
DATA = MetaTrainingData.build(arrays(DATASET), draw_split(DATASET, 0.8, 0), tiny_config())
ROBUST = ObjectiveConfig(kind="robust", step_size=0.5)
AVERAGE = ObjectiveConfig()


def weights(config=ROBUST, log_weights=(), data=DATA):
    return GroupWeights(data.arrays, data.train_groups, data.questions, config, log_weights)


def tasks_of(groups):
    return [Task(g, np.asarray([0]), np.asarray([1])) for g in groups]


def answers(group):
    return np.isin(DATA.questions, DATA.arrays.answered[group]).sum()


def robust(step_size=0.5, **changes):
    return tiny_config(objective={"kind": "robust", "step_size": step_size}, **changes)


def run(config, data=DATA):
    worker = LocalEngine(new_model(6, config), config)
    reported = []
    progress = meta_train(worker, data, config, lambda m, _: reported.append(m))
    return worker.weights(), progress, reported


def test_the_update_is_the_papers():
    groups = DATA.train_groups
    assert len({answers(g) for g in groups}) > 1, "equal corrections; the test would prove nothing"
    ours, alpha = weights(), np.full(len(groups), 1 / len(groups))
    inverse = np.asarray([1 / answers(g) for g in groups])
    rng = np.random.default_rng(0)
    for _ in range(5):
        excess = rng.random(len(groups))
        ours.update(tasks_of(groups), excess)
        alpha = alpha * np.exp(0.5 * excess * inverse / inverse.mean())
        alpha = alpha / alpha.sum()
        np.testing.assert_allclose(ours.alpha, alpha, rtol=1e-12)
        assert ours.alpha.sum() == pytest.approx(1)


def test_groups_that_were_not_drawn_keep_their_proportions():
    groups = DATA.train_groups
    ours = weights()
    ours.update(tasks_of(groups), np.linspace(0.1, 0.9, len(groups)))
    before = ours.alpha
    drawn = [groups[3], groups[1]]
    ours.update(tasks_of(drawn), np.asarray([2.0, 0.0]))
    inverse = np.asarray([1 / answers(g) for g in groups])
    want = before.copy()
    want[3] *= np.exp(0.5 * 2.0 * inverse[3] / inverse.mean())
    np.testing.assert_allclose(ours.alpha, want / want.sum(), rtol=1e-12)


def test_tasks_carry_their_groups_weights_whatever_the_order():
    groups = DATA.train_groups
    ours = weights()
    ours.update(tasks_of(groups), np.linspace(0, 1, len(groups)))
    drawn = [groups[4], groups[0]]
    got = [t.weight for t in ours.weighted(tasks_of(drawn))]
    np.testing.assert_allclose(got, len(groups) * ours.alpha[[4, 0]])


def test_huge_losses_leave_finite_weights_that_can_grow_again():
    groups = DATA.train_groups
    ours = weights()
    ours.update(tasks_of(groups), np.asarray([1e5] + [0.0] * (len(groups) - 1)))
    assert ours.alpha[0] == pytest.approx(1)
    ours.update(tasks_of(groups[1:]), np.full(len(groups) - 1, 1e6))
    assert np.isfinite(ours.alpha).all()
    assert ours.alpha[0] == 0


def test_average_keeps_all_weights_at_exactly_one():
    ours = weights(AVERAGE)
    ours.update(tasks_of(DATA.train_groups), np.linspace(0, 1, len(DATA.train_groups)))
    assert {t.weight for t in ours.weighted(tasks_of(DATA.train_groups))} == {1.0}
    assert set(ours.metrics()) == {"worst_group_loss"}


def test_groups_with_too_few_answers_to_be_drawn_have_no_weight():
    one = DATA.questions[np.isin(DATA.questions, DATA.arrays.answered[1])][:1]
    data = MetaTrainingData(DATA.arrays, [1, 2], [0], one)
    assert len(weights(data=data).alpha) == 0


def test_worst_group_loss_is_the_highest_mean_since_the_last_report():
    ours, (a, b, *_) = weights(), DATA.train_groups
    ours.update(tasks_of([a, b]), np.asarray([1.0, 0.0]))
    ours.update(tasks_of([a, b]), np.asarray([0.0, 0.8]))
    ours.update(tasks_of([b]), np.asarray([0.4]))
    metrics = ours.metrics()
    assert metrics["worst_group_loss"] == 0.5
    assert set(metrics["group_weights"]) == {DATA.arrays.group_ids[g] for g in DATA.train_groups}
    assert sum(metrics["group_weights"].values()) == pytest.approx(1)
    ours.update(tasks_of([b]), np.asarray([0.3]))
    assert ours.metrics()["worst_group_loss"] == 0.3


def drawn():
    config = EpisodeConfig(groups=5, context_questions=(2, 4), target_questions=(3, 6))
    return draw_tasks(DATA.arrays, range(8), np.arange(10), config, (0,))


@pytest.mark.parametrize("likelihood", ["gaussian", "cross_entropy"])
def test_a_group_of_weight_two_counts_as_if_it_were_there_twice(likelihood):
    network, tasks = new_model(6, tiny_config()), drawn()
    heavy = [*tasks[:-1], Task(tasks[-1].group, tasks[-1].context, tasks[-1].target, weight=2.0)]
    got = episode_loss(network, build_episode(DATA.arrays, heavy), likelihood)[0]
    twice = build_episode(DATA.arrays, [*tasks, tasks[-1]])
    whole = build_episode(DATA.arrays, tasks)
    more = (
        twice.total_points / whole.total_points
        if likelihood == "gaussian"
        else twice.total_slates / whole.total_slates
    )
    torch.testing.assert_close(got, episode_loss(network, twice, likelihood)[0] * more)


@pytest.mark.parametrize("likelihood", ["gaussian", "cross_entropy"])
def test_excess_is_the_cross_entropy_less_the_groups_own_entropy(likelihood):
    network, tasks = new_model(6, tiny_config()), drawn()
    _, excess = episode_loss(network, build_episode(DATA.arrays, tasks), likelihood)
    assert not excess.requires_grad
    for task, value in zip(tasks, excess, strict=True):
        alone = build_episode(DATA.arrays, [task])
        total = episode_loss(network, alone, "cross_entropy")[0].item()
        y = alone.y.double().numpy()
        assert value.item() == pytest.approx(total + (y * np.log(y)).sum() / len(task.target), abs=1e-5)
        assert value.item() >= 0


@pytest.mark.parametrize("likelihood", ["gaussian", "cross_entropy"])
def test_equal_weights_take_the_very_steps_of_the_average_objective(likelihood):
    model = tiny_config().model.model_dump() | {"likelihood": likelihood}
    average, _, reported = run(tiny_config(model=model))
    same, progress, reported_robust = run(robust(1e-300, model=model))
    assert all(torch.equal(same[k], average[k]) for k in average)
    assert [m["losses"] for m in reported_robust] == [m["losses"] for m in reported]
    assert max(np.abs(progress.log_weights)) < 1e-290


def hard_group():
    """Five groups agree on everything; the sixth answers as nobody else does, and has two questions less."""
    rng = np.random.default_rng(3)
    asked = questions(12, 3)
    common = [rng.dirichlet(np.ones(len(q.responses))) for q in asked]
    rows = {"group_id": [], "question_id": [], "share": []}
    for g in range(6):
        for i, q in enumerate(asked[: 10 if g == 5 else 12]):
            rows["group_id"].append(f"g{g}")
            rows["question_id"].append(q.question_id)
            rows["share"].append(
                (rng.dirichlet(np.full(len(q.responses), 0.3)) if g == 5 else common[i]).tolist()
            )
    dataset = PreferenceDataset.build(asked, [Group(f"g{g}", "attribute") for g in range(6)], rows)
    return MetaTrainingData(arrays(dataset), [1, 2, 3, 4, 5], [0], np.arange(12))


@pytest.mark.parametrize("groups", [3, 5])
def test_weight_moves_to_the_group_that_is_hard(groups):
    model = tiny_config().model.model_dump() | {"likelihood": "cross_entropy"}
    episodes = {"groups": groups, "context_questions": [2, 4], "target_questions": [4, 6]}
    steps = {"steps": 80, "validation": {"every": 40, "context_questions": 3}}
    data = hard_group()
    _, _, average = run(tiny_config(model=model, episodes=episodes, **steps), data)
    _, _, reported = run(robust(0.3, model=model, episodes=episodes, **steps), data)
    for metrics in reported:
        assert sum(metrics["group_weights"].values()) == pytest.approx(1)
        assert max(metrics["group_weights"], key=metrics["group_weights"].get) == "g5"
    assert reported[-1]["group_weights"]["g5"] > 2 / 5
    assert reported[-1]["worst_group_loss"] < average[-1]["worst_group_loss"]


class PairEngine(LocalEngine):
    """One of two workers in threads that share gradients and losses, as the distributed engine does."""

    workers = 2
    barrier = threading.Barrier(2, timeout=60)
    board = [None, None]  # noqa: RUF012

    def __init__(self, rank, config):
        super().__init__(new_model(6, config), config)
        self.rank = rank

    def exchange(self, value):
        self.board[self.rank] = value
        self.barrier.wait()
        both = list(self.board)
        self.barrier.wait()
        return both

    def step(self, episode, learning_rate):
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        loss, excess = episode_loss(self._model, episode, self._config.model.likelihood, self.workers)
        self._optimizer.zero_grad()
        loss.backward()
        both = self.exchange((loss.item(), [p.grad.clone() for p in self._model.parameters()], excess))
        for i, p in enumerate(self._model.parameters()):
            p.grad = (both[0][1][i] + both[1][1][i]) / 2
        self._optimizer.step()
        merged = np.zeros(episode.total_groups)
        merged[0::2], merged[1::2] = both[0][2], both[1][2]
        return (both[0][0] + both[1][0]) / 2, merged

    def agree(self, value):
        return self.exchange(value)[0]


def test_two_workers_end_with_the_same_weights_as_one():
    config = robust(2.0, learning_rate=1e-3)

    def work(engine):
        seen = []
        progress = meta_train(engine, DATA, config, lambda m, _: seen.append(m))
        return progress, seen

    engines = [PairEngine(rank, config) for rank in range(2)]  # here: threads share torch's random numbers
    with ThreadPoolExecutor(2) as pool:
        (first, reported), (second, _) = pool.map(work, engines)
    _, alone, reported_alone = run(config)
    assert first.log_weights == second.log_weights
    assert np.ptp(alone.log_weights) > 0.1
    np.testing.assert_allclose(first.log_weights, alone.log_weights, atol=1e-4)
    for got, want in zip(reported, reported_alone, strict=True):
        np.testing.assert_allclose(got["losses"], want["losses"], atol=1e-4)
        assert got["worst_group_loss"] == pytest.approx(want["worst_group_loss"], abs=1e-4)
        assert got["group_weights"] == pytest.approx(want["group_weights"], abs=1e-4)


def test_validation_scores():
    groups, values = [4, 7, 9, 2, 4], [0.9, 0.8, 0.5, 0.6, 0.7]
    average = validation_scores(groups, values, AVERAGE)
    assert average == pytest.approx(
        {"validation_alignment": 0.7, "validation_worst": 0.5, "validation_score": 0.7}
    )
    # four groups, of 0.8, 0.8, 0.5 and 0.6: the worst third are two
    assert validation_scores(groups, values, ROBUST)["validation_score"] == pytest.approx((0.7 + 0.55) / 2)
    one = validation_scores([3], [0.4], ROBUST)
    assert set(one.values()) == {0.4}


def test_the_best_step_maximises_the_score():
    _, progress, reported = run(robust(steps=40, learning_rate=0.05))
    best = max(reported, key=lambda m: m["validation_score"])
    assert progress.best_step == best["step"]
    assert progress.best_alignment == best["validation_alignment"]
    assert progress.best_score == best["validation_score"]
