"""The meta-training loop with the single-process engine."""

import numpy as np
import pytest
import torch
from synthetic import arrays, survey, tiny_config

from gpo_ray.errors import ConfigError
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.engine import EagerAdamW, LocalEngine, new_model
from gpo_ray.meta_training.loop import _draw, _worker_episode, learning_rate, meta_train
from gpo_ray.meta_training.progress import Progress
from gpo_ray.meta_training.validation import validation_tasks
from gpo_ray.model.predict import fixed_context_tasks, predict_tasks, score
from gpo_ray.preferences.splits import draw_split

DATASET = survey(8, 10, seed=1, answered=0.8)
SPLIT = draw_split(DATASET, 0.8, 0)
DATA = MetaTrainingData.build(arrays(DATASET), SPLIT, tiny_config())
STEP_KEYS = {
    *("step", "loss", "losses", "learning_rate", "seconds"),
    *("validation_alignment", "validation_worst", "validation_score", "worst_group_loss"),
    *("best_alignment", "best_step"),
}


class StoppedError(Exception):
    """A process that dies."""


def engine(config):
    return LocalEngine(new_model(6, config), config)


def run(config, data=DATA, report=None, progress=None, worker=None):
    """Train; returns the engine, the progress and all reported metrics without their clock."""
    worker = worker or engine(config)
    reported = []

    def keep(metrics, save):
        reported.append({k: v for k, v in metrics.items() if k != "seconds"})
        if report:
            report(metrics, save, worker)

    return worker, meta_train(worker, data, config, keep, progress), reported


def assert_same_weights(a, b):
    assert sorted(a) == sorted(b)
    for name in a:
        assert torch.equal(a[name], b[name]), name


def weights_at_reports(config, data=DATA):
    seen = {}

    def keep(metrics, save, worker):
        seen[metrics["step"]] = worker.weights()

    _, progress, reported = run(config, data, keep)
    return seen, progress, reported


def test_split_is_looked_up_in_the_arrays():
    ids = DATA.arrays.group_ids
    assert [ids[g] for g in DATA.train_groups] == list(SPLIT.train_groups)
    assert [ids[g] for g in DATA.validation_groups] == list(SPLIT.validation_groups)
    assert [DATA.arrays.question_ids[q] for q in DATA.questions] == list(SPLIT.question_order)


@pytest.mark.parametrize(("likelihood", "fall"), [("gaussian", 1.0), ("cross_entropy", 0.05)])
def test_loss_falls_when_one_group_is_learnt_by_heart(likelihood, fall):
    data = MetaTrainingData(DATA.arrays, [0], [0], DATA.questions)
    model = tiny_config().model.model_dump() | {"likelihood": likelihood}
    config = tiny_config(model=model, steps=150, validation={"every": 150, "context_questions": 3})
    _, progress, reported = run(config, data)
    losses = reported[0]["losses"]
    assert len(losses) == progress.step == 150
    assert np.mean(losses[-20:]) < np.mean(losses[:5]) - fall


def test_learning_by_heart_raises_the_alignment():
    data = MetaTrainingData(DATA.arrays, [0], [0], DATA.questions)
    model = tiny_config().model.model_dump() | {"likelihood": "cross_entropy"}
    config = tiny_config(model=model, steps=200, validation={"every": 100, "context_questions": 3})
    untrained = alignment_of(engine(config).forward, data, 3)
    assert run(config, data)[1].best_alignment > untrained + 0.05


def alignment_of(forward, data, context):
    tasks = fixed_context_tasks(data.arrays, data.validation_groups, data.questions, context)
    predictions = predict_tasks(forward, data.arrays, tasks)
    means = [np.nanmean(score(data.arrays, t, p)) for t, p in zip(tasks, predictions, strict=True)]
    return np.mean(means)


def test_two_runs_are_equal_bit_for_bit():
    config = tiny_config()
    torch.manual_seed(1)
    first, progress, reported = run(config)
    torch.manual_seed(2)
    second, again, reported_again = run(config)
    assert_same_weights(first.weights(), second.weights())
    assert_same_weights(progress.best_weights, again.best_weights)
    assert reported == reported_again


def test_training_leaves_the_global_random_numbers_alone():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    want = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    run(tiny_config())
    assert (torch.rand(1), np.random.rand()) == want  # noqa: NPY002


def test_another_seed_is_another_run():
    first, second = run(tiny_config())[2], run(tiny_config(seed=1))[2]
    assert first[0]["losses"] != second[0]["losses"]


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"weight_decay": 0.1, "clip_norm": 0.5, "warmup_steps": 3},
        {"objective": {"kind": "robust", "step_size": 2.0}},
    ],
)
@pytest.mark.parametrize("stop", [4, 8])
def test_resumed_run_equals_an_undisturbed_one_bit_for_bit(tmp_path, stop, extra):
    config = tiny_config(**extra)
    whole, whole_progress, whole_reported = run(config)

    def die(metrics, save, _):
        if metrics["step"] == stop:
            save(tmp_path)
            raise StoppedError

    with pytest.raises(StoppedError):
        run(config, report=die)
    worker = engine(tiny_config(seed=9))  # its weights must all come from the checkpoint
    worker = LocalEngine(worker.forward, config)
    worker.load(tmp_path)
    progress = Progress.load(tmp_path)
    assert progress.step == stop
    resumed, resumed_progress, reported = run(config, progress=progress, worker=worker)
    assert_same_weights(resumed.weights(), whole.weights())
    assert_same_weights(resumed_progress.best_weights, whole_progress.best_weights)
    assert reported == whole_reported[stop // 4 :]
    history = [{k: v for k, v in m.items() if k != "seconds"} for m in resumed_progress.history]
    assert history == whole_reported
    assert resumed_progress.log_weights == whole_progress.log_weights
    assert any(whole_progress.log_weights) == ("objective" in extra)


def test_best_weights_are_those_of_the_best_validation():
    config = tiny_config(steps=40, learning_rate=0.05)
    seen, progress, reported = weights_at_reports(config)
    values = [m["validation_alignment"] for m in reported]
    best = int(np.argmax(values))
    assert best < len(values) - 1, "the last validation is the best; the test would prove nothing"
    assert progress.best_step == reported[best]["step"]
    assert progress.best_alignment == values[best]
    assert_same_weights(progress.best_weights, seen[progress.best_step])
    model = new_model(6, config)
    model.load_state_dict(progress.best_weights)
    assert alignment_of(model, DATA, 2) == pytest.approx(values[best], abs=1e-7)


def test_patience_stops_after_so_many_validations_without_a_better_one():
    config = tiny_config(
        steps=100, learning_rate=1e-30, validation={"every": 3, "patience": 4, "context_questions": 2}
    )
    _, progress, reported = run(config)
    assert progress.step == 3 * (1 + 4)
    assert (progress.best_step, progress.stale) == (3, 4)
    assert len(reported) == 5


def test_a_stopped_run_stays_stopped(tmp_path):
    config = tiny_config(
        steps=100, learning_rate=1e-30, validation={"every": 3, "patience": 1, "context_questions": 2}
    )
    _, progress, _ = run(config, report=lambda _, save, __: save(tmp_path))
    _, again, reported = run(config, progress=Progress.load(tmp_path))
    assert (again.step, reported) == (progress.step, [])


def test_reports_come_every_so_many_steps_and_at_the_end():
    config = tiny_config(steps=10)
    ticks = []
    reported = []
    meta_train(engine(config), DATA, config, lambda m, _: reported.append(m), None, ticks.append)
    assert [m["step"] for m in reported] == [4, 8, 10]
    assert [len(m["losses"]) for m in reported] == [4, 4, 2]
    assert all(m["loss"] == pytest.approx(np.mean(m["losses"])) for m in reported)
    assert all(set(m) == STEP_KEYS for m in reported)
    assert ticks == list(range(1, 11))


def test_learning_rate_rises_linearly_then_falls_along_a_cosine_to_zero():
    config = tiny_config(steps=100, warmup_steps=10)
    rates = np.asarray([learning_rate(config, s) for s in range(101)])
    cosine = config.learning_rate * 0.5 * (1 + np.cos(np.pi * np.arange(101) / 100))
    np.testing.assert_allclose(rates, cosine * np.minimum(1, np.arange(1, 102) / 10))
    assert rates[-1] == pytest.approx(0)
    assert (np.diff(rates[10:]) < 0).all()
    assert learning_rate(tiny_config(), 0) == tiny_config().learning_rate


def test_the_learning_rate_of_each_step_is_used():
    config = tiny_config()
    worker = engine(config)
    before = worker.weights()
    worker.step(_worker_episode(worker, DATA, _draw(DATA, config, 0)), 0.0)
    assert_same_weights(worker.weights(), before)


def test_clipping_bounds_the_gradient(monkeypatch):
    config = tiny_config(clip_norm=1e-3)
    worker = engine(config)
    norms = []
    step = EagerAdamW.step

    def record(optimizer):
        parts = [p.grad.norm() for p in worker.forward.parameters()]
        norms.append(float(torch.stack(parts).norm()))
        step(optimizer)

    monkeypatch.setattr(EagerAdamW, "step", record)
    run(config, worker=worker)
    assert max(norms) <= 1e-3 * (1 + 1e-4)


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_a_step_without_overlap(workers):
    config = tiny_config()
    whole = _worker_episode(engine(config), DATA, _draw(DATA, config, 5))
    parts = []
    for rank in range(workers):
        worker = engine(config)
        worker.rank, worker.workers = rank, workers
        parts.append(_worker_episode(worker, DATA, _draw(DATA, config, 5)))
    assert sum(p.slates for p in parts) == whole.slates
    assert sum(len(p.y) for p in parts) == len(whole.y)
    assert {p.total_points for p in parts} == {whole.total_points}
    torch.testing.assert_close(torch.cat([p.y for p in parts]).sort()[0], whole.y.sort()[0])


def test_more_workers_than_groups_are_refused():
    config = tiny_config()
    worker = engine(config)
    worker.rank, worker.workers = 3, 4
    with pytest.raises(ConfigError, match="4 workers for 3 groups a step"):
        run(config, worker=worker)


def test_validation_group_without_two_answers_is_refused():
    one = DATA.questions[np.isin(DATA.questions, DATA.arrays.answered[0])][:1]
    with pytest.raises(ConfigError, match="no validation group answered two"):
        run(tiny_config(), MetaTrainingData(DATA.arrays, [1, 2], [0], one))


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    first = new_model(6, tiny_config()).state_dict()
    torch.manual_seed(6)
    assert_same_weights(new_model(6, tiny_config()).state_dict(), first)
    other = new_model(6, tiny_config(seed=1)).state_dict()
    assert not torch.equal(other["embedder.0.weight"], first["embedder.0.weight"])


def test_validation_scores_some_groups_where_there_are_many():
    data = arrays(survey(20, 8))
    split = draw_split(survey(20, 8), 1.0, 0, validation_fraction=0.5)
    tasks = {
        most: validation_tasks(MetaTrainingData.build(data, split, config), config)
        for most, config in (
            (n, tiny_config(validation={"context_questions": 2, "max_groups": n})) for n in (4, 10, 99)
        )
    }
    assert [len(t) for t in tasks.values()] == [4, 10, 10]
    chosen = [t.group for t in tasks[4]]
    assert set(chosen) < {t.group for t in tasks[10]}
    assert len(set(chosen)) == 4
