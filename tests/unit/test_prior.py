"""A model that starts from the prior: prediction, bundle, estimator and training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from synthetic import TINY_MODEL, arrays, bundle_config, flip_byte, survey, tiny_config
from test_bundle import rewrite
from test_loop import StoppedError, assert_same_weights, engine, run

from gpo_ray.config import EpisodeConfig
from gpo_ray.errors import BundleError, DataError
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.engine import new_model
from gpo_ray.meta_training.progress import Progress
from gpo_ray.model import GroupPreferenceModel
from gpo_ray.model.bundle import Bundle, read_bundle, write_bundle
from gpo_ray.model.episodes import Task, draw_tasks, make_task_prior
from gpo_ray.model.predict import predict_tasks
from gpo_ray.preferences.splits import draw_split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.prior.keyed import KeyedGroupPrior
from gpo_ray.prior.response_model import NominalResponseModel

SURVEY = survey(groups=8, count=16)
DATA = arrays(SURVEY)
KEYS = [q.key for q in SURVEY.iter_questions()]
X = np.split(DATA.x.numpy(), DATA.offsets[1:-1])
MODEL = {
    **TINY_MODEL,
    "likelihood": "cross_entropy",
    "prior": "memory",
}
CONFIG = tiny_config(model=MODEL)
VIEW = fit_prior(DATA, range(5), np.arange(12), 4)
MEMORY = KeyedGroupPrior(VIEW.prior, {KEYS[q]: q for q in range(12)})
KNOWN, NEW = (
    Task(6, np.asarray([0, 1, 13]), np.asarray([4, 5])),
    Task(6, np.asarray([0, 1, 13]), np.asarray([14])),
)
BOTH = Task(6, np.asarray([0, 1, 13]), np.asarray([4, 14, 5]))


def gated_model(answered=0.0, new=0.0):
    model = new_model(6, CONFIG).eval()
    with torch.no_grad():
        model.prior_gate.copy_(torch.tensor([answered, new]))
    return model


def estimator(answered=0.3, new=0.6):
    return GroupPreferenceModel(Bundle(gated_model(answered, new), bundle_config(CONFIG), {}, MEMORY))


def adapted(model, task=BOTH, keys=KEYS):
    context = [(X[q], DATA.shares_of(task.group, np.asarray([q]))) for q in task.context]
    return model.adapt(context, keys and [keys[q] for q in task.context])


def asked(task=BOTH, keys=KEYS):
    return [X[q] for q in task.target], keys and [keys[q] for q in task.target]


def from_arrays(model, task, view=VIEW):
    return predict_tasks(model, DATA, [task], task_prior=make_task_prior(view, DATA))[0]


def test_model_starts_as_the_prior_itself():
    want = VIEW.posterior(BOTH.context, DATA.shares_of(6, BOTH.context), BOTH.target).shares
    np.testing.assert_allclose(from_arrays(gated_model(), BOTH), want, atol=1e-6)


@pytest.mark.parametrize(("gates", "moved"), [((0.5, 0), KNOWN), ((0, 0.5), NEW)])
def test_each_gate_moves_its_own_questions(gates, moved):
    for task in (KNOWN, NEW):
        closed, opened = from_arrays(gated_model(), task), from_arrays(gated_model(*gates), task)
        assert (abs(closed - opened).max() > 1e-3) == (task is moved)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (1.0, 1, 1), (0.5, 0.3, 0.7)])
def test_share_of_hidden_targets(share, least, most):
    config = EpisodeConfig(context_questions=(4, 4), target_questions=(8, 8), masked_fraction=share)
    drawn = [t for s in range(20) for t in draw_tasks(DATA, range(5), np.arange(16), config, (0, s))]
    assert least <= np.mean([len(t.masked) / len(t.target) for t in drawn]) <= most
    assert all(set(t.masked) <= set(t.target) for t in drawn)


@pytest.mark.parametrize("saved", [False, True])
def test_estimator_with_keys_equals_prediction_from_arrays(tmp_path, saved):
    model = estimator()
    if saved:
        write_bundle(tmp_path / "b", gated_model(0.3, 0.6).state_dict(), bundle_config(CONFIG), {}, MEMORY)
        model = GroupPreferenceModel.load(tmp_path / "b")
    got = adapted(model).predict(*asked())
    np.testing.assert_allclose(np.concatenate(got), from_arrays(gated_model(0.3, 0.6), BOTH), atol=1e-5)


def test_estimator_leaves_the_transformer_out_where_its_gates_are_shut():
    group = adapted(estimator(0, 0))
    assert group.cache is None
    got = np.concatenate(group.predict(*asked()))
    np.testing.assert_allclose(got, from_arrays(gated_model(0, 0), BOTH), atol=1e-6)
    assert adapted(estimator(0, 0.1)).cache is not None


def test_estimator_without_keys_takes_everything_as_new():
    got = adapted(estimator(), keys=None).predict(*asked(keys=None))
    view = PriorAtQuestions.of(VIEW.prior, DATA.x.numpy(), np.diff(DATA.offsets), np.full(16, -1))
    want = from_arrays(gated_model(0.3, 0.6), BOTH, view)
    np.testing.assert_allclose(np.concatenate(got), want, atol=1e-5)
    assert abs(want - from_arrays(gated_model(0.3, 0.6), BOTH)).max() > 1e-3
    unknown = adapted(estimator(), keys=[None] * 16).predict(*asked(keys=["x"] * 16))
    np.testing.assert_array_equal(np.concatenate(unknown), np.concatenate(got))


def test_intervals_are_the_predictions_and_the_half_widths_within_0_and_1():
    group, half = (
        adapted(estimator()),
        VIEW.posterior(BOTH.context, DATA.shares_of(6, BOTH.context), BOTH.target),
    )
    shares, ends = np.concatenate(group.predict(*asked())), np.concatenate(group.intervals(*asked()))
    want = np.stack([shares - half.half_width, shares + half.half_width], 1).clip(0, 1)
    np.testing.assert_allclose(ends, want, atol=1e-6)
    assert ((ends[:, 0] <= shares) & (shares <= ends[:, 1])).all()
    assert (ends[:, 0] < ends[:, 1]).all()
    assert [e.shape for e in group.intervals(*asked())] == [(len(X[q]), 2) for q in BOTH.target]
    assert group.intervals([]) == []


def test_a_model_without_a_prior_gives_no_intervals():
    config = tiny_config()
    plain = GroupPreferenceModel(Bundle(new_model(6, config).eval(), bundle_config(config), {}))
    with pytest.raises(DataError, match="no prior and gives no intervals"):
        adapted(plain).intervals(*asked())
    keyed, bare = adapted(plain).predict(*asked()), adapted(plain, keys=None).predict(*asked(keys=None))
    np.testing.assert_array_equal(np.concatenate(keyed), np.concatenate(bare))


@pytest.mark.parametrize(
    "model",
    [
        estimator(),
        GroupPreferenceModel(Bundle(new_model(6, tiny_config()), bundle_config(tiny_config()), {})),
    ],
)
def test_keys_of_another_number_are_refused(model):
    context = [(X[0], np.full(len(X[0]), 1 / len(X[0])))]
    with pytest.raises(DataError, match="context: 2 keys for 1 questions"):
        model.adapt(context, ["a", "b"])
    for method in (model.adapt(context).predict, model.adapt(context).intervals):
        with pytest.raises(DataError, match="questions: 0 keys for 1 questions"):
            method([X[0]], [])


@pytest.fixture
def bundle(tmp_path):
    write_bundle(tmp_path / "bundle", gated_model().state_dict(), bundle_config(CONFIG), {}, MEMORY)
    return tmp_path / "bundle"


def test_memory_round_trip(bundle):
    got = read_bundle(bundle).prior
    assert got.question_numbers == MEMORY.question_numbers
    assert got.prior.scales == VIEW.prior.scales
    assert got.prior.groups == ()
    np.testing.assert_array_equal(got.prior.sizes, VIEW.prior.sizes)
    np.testing.assert_array_equal(got.prior.x, VIEW.prior.x)
    np.testing.assert_allclose(got.prior.shares, VIEW.prior.shares, atol=1e-7)


def test_missing_answers_survive_the_round_trip(tmp_path):
    shares = VIEW.prior.shares.copy()
    shares[1, : DATA.offsets[3]] = np.nan
    known = replace(MEMORY, prior=replace(VIEW.prior, shares=shares))
    write_bundle(tmp_path, gated_model().state_dict(), bundle_config(CONFIG), {}, known)
    np.testing.assert_allclose(read_bundle(tmp_path).prior.prior.shares, shares, atol=1e-7)


def test_question_that_was_asked_twice_is_remembered_once(tmp_path):
    twice = [KEYS[0], KEYS[1], KEYS[0], *KEYS[3:12]]
    known = KeyedGroupPrior.keyed(with_traits().prior, twice)
    write_bundle(tmp_path, gated_model().state_dict(), bundle_config(CONFIG), {}, known)
    got = read_bundle(tmp_path).prior
    rows = np.delete(np.arange(DATA.offsets[12]), np.arange(DATA.offsets[2], DATA.offsets[3]))
    assert list(got.question_numbers) == [KEYS[0], KEYS[1], *KEYS[3:12]]
    np.testing.assert_allclose(got.prior.shares, VIEW.prior.shares[:, rows], atol=1e-7)
    np.testing.assert_allclose(got.prior.expected, VIEW.prior.expected[rows], atol=1e-7)
    np.testing.assert_allclose(
        got.prior.response_model.base, with_traits().prior.response_model.base[rows], atol=1e-6
    )
    assert got.question_index([KEYS[3]], [int(DATA.offsets[4] - DATA.offsets[3])]).tolist() == [2]


def with_traits(weight=0.3):
    model = NominalResponseModel.fit(VIEW.prior.shares, VIEW.prior.sizes)
    scales = replace(VIEW.prior.scales, response_model_weight=weight)
    return replace(MEMORY, prior=replace(VIEW.prior, response_model=model, scales=scales))


def test_traits_survive_the_round_trip(tmp_path):
    known = with_traits()
    write_bundle(tmp_path, gated_model().state_dict(), bundle_config(CONFIG), {}, known)
    got, want = read_bundle(tmp_path).prior.prior.response_model, known.prior.response_model
    np.testing.assert_allclose(got.loading, want.loading, atol=1e-6)
    np.testing.assert_allclose(got.base, want.base, atol=1e-6)
    np.testing.assert_array_equal(got.sizes, want.sizes)


@pytest.mark.parametrize("name", ["trait_loading", "trait_base"])
def test_traits_that_are_missing_or_cut_are_named(tmp_path, name):
    folder = tmp_path / "bundle"
    write_bundle(folder, gated_model().state_dict(), bundle_config(CONFIG), {}, with_traits())
    tensors = load_file(folder / "memory.safetensors")
    for damaged in (
        {k: v for k, v in tensors.items() if k != name},
        tensors | {name: tensors[name][:-1].contiguous()},
    ):
        rewrite(folder, "memory.safetensors", save(damaged))
        with pytest.raises(BundleError, match=r"/bundle/.*memory\.safetensors"):
            read_bundle(folder)


def test_order_of_the_keys_does_not_matter(tmp_path):
    turned = replace(MEMORY, question_numbers=dict(reversed(MEMORY.question_numbers.items())))
    write_bundle(tmp_path, gated_model().state_dict(), bundle_config(CONFIG), {}, turned)
    assert read_bundle(tmp_path).prior.question_numbers == MEMORY.question_numbers
    np.testing.assert_array_equal(read_bundle(tmp_path).prior.prior.sizes, VIEW.prior.sizes)


@pytest.mark.parametrize("file", ["memory.safetensors", "memory.json"])
def test_damaged_or_missing_memory_is_named(bundle, file):
    flip_byte(bundle / file)
    with pytest.raises(BundleError, match=f"{file}: does not match its manifest"):
        read_bundle(bundle)
    (bundle / file).unlink()
    with pytest.raises(BundleError, match=f"{file}: no such file"):
        read_bundle(bundle)


MISFITS = {
    "no scales": lambda v: {"sizes": v["sizes"]},
    "no sizes": lambda v: {"scales": v["scales"]},
    "a list": lambda _: [],
    "one width": lambda v: v | {"scales": v["scales"] | {"widths": [1.0]}},
    "unknown scale": lambda v: v | {"scales": v["scales"] | {"bias": 1.0}},
    "noise is text": lambda v: v | {"scales": v["scales"] | {"noise": "much"}},
    "noise is zero": lambda v: v | {"scales": v["scales"] | {"noise": 0.0}},
    "a question less": lambda v: v | {"sizes": dict(list(v["sizes"].items())[1:])},
    "a size of 0": lambda v: v | {"sizes": v["sizes"] | {"no such question": 0}},
}


@pytest.mark.parametrize("change", MISFITS.values(), ids=MISFITS)
def test_memory_questions_that_do_not_fit_are_named(bundle, change):
    values = json.loads((bundle / "memory.json").read_text())
    rewrite(bundle, "memory.json", json.dumps(change(values)).encode())
    with pytest.raises(BundleError, match=r"/bundle/.*memory\.json"):
        read_bundle(bundle)


TENSORS = {
    "no x": lambda t: {"shares": t["shares"]},
    "x of another width": lambda t: t | {"x": t["x"][:, :-1].contiguous()},
    "a row less": lambda t: t | {"x": t["x"][:-1].contiguous()},
    "a response_index less": lambda t: t | {"shares": t["shares"][:, :-1].contiguous()},
    "one axis": lambda t: t | {"shares": t["shares"][0].contiguous()},
    "nobody": lambda t: t | {"shares": t["shares"][:0].contiguous()},
    "a question without an answer": lambda t: (
        t | {"shares": t["shares"].index_fill(1, torch.tensor([0]), np.nan)}
    ),
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_memory_tensors_that_do_not_fit_are_named(bundle, change):
    rewrite(bundle, "memory.safetensors", save(change(load_file(bundle / "memory.safetensors"))))
    with pytest.raises(BundleError, match=r"/bundle/.*memory\.safetensors"):
        read_bundle(bundle)


LOOP_DATASET = survey(8, 14, seed=1, answered=0.8)
LOOP_SPLIT = draw_split(LOOP_DATASET, 0.8, 0)


def loop(**changes):
    """Data and settings of a run with a prior."""
    validation = {"context_questions": 2, "every": 4, "question_fraction": 0.2, "confidence": 0}
    validation |= {"patience": 10, "prior_patience": 10}
    config = tiny_config(model=MODEL, validation=validation | changes.pop("validation", {}), **changes)
    return MetaTrainingData.build(arrays(LOOP_DATASET), LOOP_SPLIT, config), config


def test_the_prior_itself_is_the_best_step_when_training_does_not_gain_enough():
    data, config = loop(validation={"min_gain": 1.0, "prior_patience": 2}, steps=40)
    worker, progress, reported = run(config, data)
    assert (progress.best_step, progress.stale, progress.step) == (0, 2, 8)
    assert [m["best_step"] for m in reported] == [0, 0]
    assert_same_weights(progress.best_weights, engine(config).weights())
    assert not progress.best_weights["prior_gate"].any()
    assert worker.weights()["prior_gate"].all()


def test_any_gain_is_enough_without_a_least_one():
    data, config = loop(steps=40, validation={"patience": 99, "prior_patience": 99}, learning_rate=1e-2)
    _, progress, reported = run(config, data)
    best = max(m["validation_alignment"] for m in reported)
    prior = run(config.model_copy(update={"learning_rate": 1e-30, "steps": 4}), data)[1].best_alignment
    assert best > prior, "no step beats the prior; the test would prove nothing"
    assert progress.best_alignment == best
    assert progress.best_step > 0


def test_a_gain_that_may_be_chance_does_not_take_the_priors_place():
    # one validation group alone cannot tell
    data, config = loop(steps=40, validation={"prior_patience": 99, "confidence": 0.5}, learning_rate=1e-2)
    _, progress, reported = run(config, data)
    assert len(data.validation_groups) == 1
    assert max(m["gain"] for m in reported) > 0, "no step beats the prior; the test would prove nothing"
    assert (progress.best_step, progress.step) == (0, 40)
    assert progress.best_alignment == progress.prior_alignment
    assert not progress.best_weights["prior_gate"].any()
    assert not [m for m in reported if "gain_error" in m]


def test_training_stops_early_only_while_the_prior_stands():
    data, config = loop(steps=60, validation={"prior_patience": 1, "patience": 5, "min_gain": 1.0})
    assert run(config, data)[1].step == 4
    data, config = loop(
        steps=60, validation={"prior_patience": 3, "patience": 5}, learning_rate=1e-2, clip_norm=1.0
    )
    _, progress, _ = run(config, data)
    assert progress.best_step > 0
    assert progress.step == min(60, progress.best_step + 5 * 4)


def test_gains_are_over_the_prior_alone():
    data, config = loop(steps=8)
    _, progress, reported = run(config, data)
    for metrics in reported:
        gain = metrics["validation_alignment"] - progress.prior_alignment
        assert metrics["gain"] == pytest.approx(gain, abs=1e-12)


def test_without_a_prior_the_untrained_model_is_no_candidate():
    config = tiny_config(validation={"context_questions": 2, "every": 4, "min_gain": 1.0}, steps=8)
    data = MetaTrainingData.build(arrays(LOOP_DATASET), LOOP_SPLIT, config)
    assert run(config, data)[1].best_step == 4


@pytest.mark.parametrize("min_gain", [0.0, 1.0])
@pytest.mark.parametrize("stop", [4, 8])
def test_resumed_run_equals_an_undisturbed_one_bit_for_bit(tmp_path, stop, min_gain):
    data, config = loop(validation={"min_gain": min_gain})
    whole, whole_progress, whole_reported = run(config, data)

    def die(metrics, save, _):
        if metrics["step"] == stop:
            save(tmp_path)
            raise StoppedError

    with pytest.raises(StoppedError):
        run(config, data, die)
    worker, progress = engine(config), Progress.load(tmp_path)
    worker.load(tmp_path)
    resumed, resumed_progress, reported = run(config, data, progress=progress, worker=worker)
    assert_same_weights(resumed.weights(), whole.weights())
    assert_same_weights(resumed_progress.best_weights, whole_progress.best_weights)
    assert reported == whole_reported[stop // 4 :]
    for name in ("best_step", "best_score", "best_alignment", "stale", "step"):
        assert getattr(resumed_progress, name) == getattr(whole_progress, name)


def test_held_out_questions_are_never_trained_on_and_their_answers_do_not_reach_their_prior():
    data, _ = loop()
    assert len(data.held_out) == 2
    assert not set(data.held_out) & set(data.questions)
    g = data.validation_groups[0]
    held = np.intersect1d(data.held_out, data.arrays.answered[g])
    context = np.intersect1d(data.questions, data.arrays.answered[g])[:2]
    assert not data.task_prior(Task(g, context, held, held))[1].any()
