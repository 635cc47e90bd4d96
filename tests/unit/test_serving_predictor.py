"""Requests predicted together: each as the estimator predicts it alone, whatever else is in the batch."""

import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import TINY_MODEL, arrays, bundle_config, flip_byte, survey, tiny_config, truncate

from gpo_ray.errors import BundleError, DataError, GPOError
from gpo_ray.meta_training.engine import new_model
from gpo_ray.model import GroupPreferenceModel
from gpo_ray.model.bundle import Bundle, write_bundle
from gpo_ray.model.transformer import GPOTransformer
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.keyed import KeyedGroupPrior
from gpo_ray.prior.response_model import NominalResponseModel
from gpo_ray.prior.scales import PriorScales
from gpo_ray.serving.inference import prediction_job as job_module
from gpo_ray.serving.inference import predictor as predictor_module
from gpo_ray.serving.inference.encoding import EncodedSlate
from gpo_ray.serving.inference.prediction_job import EncodedRequest, context_id
from gpo_ray.serving.inference.predictor import BatchPredictor

SURVEY = survey(groups=8, count=16, answered=0.8)
DATA = arrays(SURVEY)
KEYS = [q.slate_key for q in SURVEY.iter_questions()]
X = np.split(DATA.x.numpy(), DATA.offsets[1:-1])
SIZES = np.diff(DATA.offsets)
LETTERS = [np.random.default_rng([q, 5]).normal(size=n).astype(np.float32) for q, n in enumerate(SIZES)]
SLATES = [EncodedSlate(k, x, letters) for k, x, letters in zip(KEYS, X, LETTERS, strict=True)]
KINDS = ("none", "memory", "prior alone", "answers alone", "people")


def config(prior, **changes):
    return tiny_config(model={**TINY_MODEL, "likelihood": "cross_entropy", "prior": prior, **changes})


def memory(scales):
    known, question_index = GroupPrior.from_groups(DATA, range(5), np.arange(12))
    fitted = scales.response_model_weight > 0
    response_model = NominalResponseModel.fit(known.shares, known.sizes) if fitted else None
    known = replace(known, scales=scales, response_model=response_model, groups=())
    return KeyedGroupPrior(known, {KEYS[q]: int(n) for q, n in enumerate(question_index) if n >= 0})


def bundle(kind, seed=0):
    settings = config("none" if kind == "none" else "memory")
    model = new_model(6, settings.model_copy(update={"seed": seed})).eval()
    if kind == "none":
        return Bundle(model, bundle_config(settings), {})
    if kind != "prior alone":
        with torch.no_grad():
            model.prior_gate.copy_(torch.tensor([0.3, 0.6]))
    scales = {
        "prior alone": PriorScales(),
        "memory": PriorScales(),
        "answers alone": PriorScales(outputscale=0, unseen_noise=0.1, unseen_outputscale=0.3),
        "people": PriorScales(soft_threshold=1.0, pseudo_count=1.0, response_model_weight=0.3),
    }[kind]
    return Bundle(model, bundle_config(settings), {}, memory(scales))


def saved(folder, kind="memory", seed=0, **changes):
    made = bundle(kind, seed)
    write_bundle(
        folder, made.model.state_dict(), made.config.model_copy(update=changes), {"seed": seed}, made.prior
    )
    return folder


BUNDLES = {kind: bundle(kind) for kind in KINDS}
ESTIMATORS = {kind: GroupPreferenceModel(b) for kind, b in BUNDLES.items()}
# these live through all examples, so that most contexts and questions have been met before
LASTING = {kind: BatchPredictor(b) for kind, b in BUNDLES.items()}


@dataclass(frozen=True)
class Case:
    """A group by the seed of its answers, the questions it answered, and those asked."""

    seed: int
    context: list[int]
    targets: list[int]

    def answers(self):
        rng = np.random.default_rng(self.seed)
        return [rng.dirichlet(np.ones(SIZES[q])) for q in self.context]

    def request(self):
        pairs = zip(self.context, self.answers(), strict=True)
        return EncodedRequest([(SLATES[q], y) for q, y in pairs], [SLATES[q] for q in self.targets])

    def alone(self, estimator):
        known = [(X[q], y) for q, y in zip(self.context, self.answers(), strict=True)]
        group = estimator.adapt(known, [KEYS[q] for q in self.context])
        asked = [X[q] for q in self.targets], [KEYS[q] for q in self.targets]
        has_prior = estimator.config.model.prior != "none"
        return group.predict(*asked), group.intervals(*asked) if has_prior else None


QUESTIONS = st.lists(st.integers(0, 15), min_size=1, max_size=6)
CASES = st.builds(Case, st.integers(0, 5), QUESTIONS, QUESTIONS)
BATCHES = st.lists(CASES, min_size=1, max_size=6)


def assert_as_alone(results, cases, estimator):
    assert len(results) == len(cases)
    for found, case in zip(results, cases, strict=True):
        shares, intervals = case.alone(estimator)
        assert len(found.predictions) == len(case.targets)
        for i, p in enumerate(found.predictions):
            np.testing.assert_allclose(p.share, shares[i], atol=2e-6)
            if intervals is None:
                assert p.interval is None
            else:
                np.testing.assert_allclose(p.interval, intervals[i], atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(cases=BATCHES)
def test_every_request_of_a_batch_is_predicted_as_by_the_estimator_alone(kind, cases):
    estimator = ESTIMATORS[kind]
    for predictor in (BatchPredictor(BUNDLES[kind]), LASTING[kind]):
        assert_as_alone(predictor.predict([c.request() for c in cases]), cases, estimator)


def serving_of(predictor):
    """The bundle that is served, with its caches."""
    return predictor.start(Case(0, [0], [1]).request()).serving


MINUTES = pytest.mark.minutes


@pytest.mark.parametrize(
    "limits",
    [(1, 1, 1 << 30), pytest.param((2, 3, 1 << 30), marks=MINUTES), pytest.param((5, 5, 1), marks=MINUTES)],
)
@given(batches=st.lists(BATCHES, min_size=1, max_size=3))
def test_eviction_changes_nothing(limits, batches):
    predictor = BatchPredictor(BUNDLES["memory"], *limits)
    for cases in batches:
        assert_as_alone(predictor.predict([c.request() for c in cases]), cases, ESTIMATORS["memory"])
    serving = serving_of(predictor)
    groups, questions = serving._groups, serving._questions  # noqa: SLF001 -- what it keeps is its own affair
    assert len(groups) <= limits[0]
    assert len(questions) <= limits[1]
    assert sum(g.nbytes for g in groups.values()) <= limits[2]


@given(cases=BATCHES, most=st.integers(1, 60))
def test_a_batch_too_large_for_one_pass_is_split(cases, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor_module, "MAX_POINTS", most)
        results = LASTING["memory"].predict([c.request() for c in cases])
    assert_as_alone(results, cases, ESTIMATORS["memory"])


def test_a_group_is_adapted_once_and_its_questions_are_prepared_once(monkeypatch):
    calls = {"encode_context": 0, "inputs": 0}

    def counted(name, original):
        def call(*args):
            calls[name] += 1
            return original(*args)

        return call

    for owner, name in ((GPOTransformer, "encode_context"), (KeyedGroupPrior, "inputs")):
        monkeypatch.setattr(owner, name, counted(name, getattr(owner, name)))
    predictor = BatchPredictor(BUNDLES["memory"])
    before = dict(calls)
    case = Case(0, [0, 1, 13], [4, 14])
    first = predictor.predict([case.request(), case.request()])
    again = predictor.predict([case.request()])
    assert {name: calls[name] - before[name] for name in calls} == {"encode_context": 1, "inputs": 1}
    np.testing.assert_allclose(again[0].predictions[1].share, first[0].predictions[1].share, atol=1e-6)


def broken(fault):
    good = Case(3, [0, 1], [4]).request()
    slate, share = good.context[0]
    odd = {
        "too wide": np.ones((2, 7), np.float32),
        "not finite": np.full((2, 6), np.nan, np.float32),
    }
    match fault:
        case "no context":
            return EncodedRequest([], good.targets)
        case "no target":
            return EncodedRequest(good.context, [])
        case "shares do not sum to 1":
            return EncodedRequest([(slate, share / 2)], good.targets)
        case "too few shares":
            return EncodedRequest([(slate, share[:-1])], good.targets)
        case "bad target":
            return EncodedRequest(good.context, [EncodedSlate("odd", odd["too wide"], LETTERS[0])])
        case "bad context":
            return EncodedRequest([(EncodedSlate("odd", odd["not finite"], LETTERS[0]), share)], good.targets)


FAULTS = ("no context", "no target", "shares do not sum to 1", "too few shares", "bad target", "bad context")


@pytest.mark.parametrize("kind", ["none", "memory"])
@given(mixed=st.lists(CASES | st.sampled_from(FAULTS), min_size=1, max_size=6))
def test_a_request_that_fails_gets_its_error_and_the_others_their_predictions(kind, mixed):
    requests = [c.request() if isinstance(c, Case) else broken(c) for c in mixed]
    for predictor in (BatchPredictor(BUNDLES[kind]), LASTING[kind]):
        results = predictor.predict(requests)
        assert [isinstance(r, DataError) for r in results] == [not isinstance(c, Case) for c in mixed]
        good = [(r, c) for r, c in zip(results, mixed, strict=True) if isinstance(c, Case)]
        assert_as_alone([r for r, _ in good], [c for _, c in good], ESTIMATORS[kind])


def test_neither_ray_nor_a_language_model_is_loaded():
    code = (
        "import sys, gpo_ray.serving.inference.predictor; print({'ray', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_request_gives_no_result():
    assert LASTING["memory"].predict([]) == []


def test_language_models_own_shares():
    case = Case(0, [0], [3, 4])
    for p, q in zip(LASTING["none"].predict([case.request()])[0].predictions, case.targets, strict=True):
        np.testing.assert_allclose(p.language_model, np.exp(LETTERS[q]) / np.exp(LETTERS[q]).sum(), rtol=1e-5)


ANSWERS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ab"]), st.lists(st.floats(0, 1), max_size=3)), max_size=3
)


@given(first=ANSWERS, second=ANSWERS)
def test_context_id_tells_contents_apart(first, second):
    assert context_id(iter(first)) == context_id([(k, np.asarray(y)) for k, y in first])
    positive = [[(k, [v + 0.0 for v in y]) for k, y in some] for some in (first, second)]
    assert (context_id(positive[0]) == context_id(positive[1])) == (positive[0] == positive[1])


def test_bundle_id_is_of_the_contents(tmp_path):
    one, same, other = (saved(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    ids = [BatchPredictor(folder).bundle_id for folder in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]
    assert all(len(i) == 12 for i in ids)


def test_another_bundle_is_served_without_the_groups_of_the_old(tmp_path):
    old, new = saved(tmp_path / "old"), saved(tmp_path / "new", seed=1)
    cases = [Case(0, [0, 1, 13], [4, 14]), Case(1, [2], [4])]
    predictor = BatchPredictor(old)
    before, first = predictor.predict([c.request() for c in cases]), predictor.bundle_id
    assert {p.bundle for p in before} == {first}
    assert predictor.swap(new) == predictor.bundle_id != first
    after = predictor.predict([c.request() for c in cases])
    assert {p.bundle for p in after} == {predictor.bundle_id}
    assert_as_alone(after, cases, GroupPreferenceModel.load(new))
    assert before != after
    assert predictor.swap(old) == first
    assert predictor.predict([c.request() for c in cases]) == before


def test_swapping_to_the_same_contents_keeps_what_is_known(tmp_path):
    predictor = BatchPredictor(saved(tmp_path / "a"))
    predictor.predict([replace(Case(0, [0], [1]).request(), id="known")])
    serving, group = predictor.serving, predictor.serving.group("known")
    predictor.swap(saved(tmp_path / "b"))
    assert predictor.serving is serving
    assert serving.group("known") is group


def not_a_number(folder):
    made = bundle("memory", 1)
    weights = {k: torch.full_like(v, torch.nan) for k, v in made.model.state_dict().items()}
    write_bundle(folder, weights, made.config, {}, made.prior)


UNFIT = {
    "changed weights": (lambda f: flip_byte(saved(f, seed=1) / "model.safetensors"), "does not match"),
    "cut memory": (lambda f: truncate(saved(f, seed=1) / "memory.safetensors"), "does not match"),
    "no manifest": (lambda f: (saved(f, seed=1) / "manifest.json").unlink(), "no manifest.json"),
    "nothing": (lambda f: None, "no such folder"),
    "nan": (not_a_number, "not finite"),
    "language model": (lambda f: saved(f, seed=1, embedding_fingerprint="x@1/float32"), "language model x@1"),
    "template": (lambda f: saved(f, seed=1, embedding_template="other"), "template other"),
    "pooling": (
        lambda f: saved(f, seed=1, model=config("memory", pooling="last").model),
        "pooling last, but this service was started with mean",
    ),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_bundle_that_does_not_fit_is_refused_and_the_old_one_serves_on(tmp_path, unfit):
    make, words = UNFIT[unfit]
    predictor, case = BatchPredictor(saved(tmp_path / "old")), Case(0, [0, 1, 13], [4, 14])
    before, first = predictor.predict([case.request()]), predictor.bundle_id
    make(tmp_path / "new")
    with pytest.raises(BundleError, match=words):
        predictor.swap(tmp_path / "new")
    assert predictor.bundle_id == first
    assert predictor.predict([case.request()]) == before


def test_a_damaged_bundle_is_not_started_with(tmp_path):
    flip_byte(saved(tmp_path) / "model.safetensors")
    with pytest.raises(GPOError, match="does not match its manifest"):
        BatchPredictor(tmp_path)


def test_a_large_request_is_done_in_pieces_between_which_others_are_done(monkeypatch):
    monkeypatch.setattr(job_module, "MAX_NEW", 12)
    monkeypatch.setattr(job_module, "TARGETS_COST", 2.0)
    large, small = Case(1, list(range(12)), [*range(16), *range(16)]), Case(2, [3], [4])
    predictor = BatchPredictor(BUNDLES["memory"])
    job = predictor.start(large.request())
    turns = 0
    while job.cost:
        predictor.turn([job])
        turns += 1
        if turns == 3:
            other = predictor.start(small.request())
            predictor.turn([other, job])
            assert_as_alone([other.outcome], [small], ESTIMATORS["memory"])
    assert turns > 6
    assert_as_alone([job.outcome], [large], ESTIMATORS["memory"])
    assert not job._prepared  # noqa: SLF001 -- it has let go of them


def test_a_request_that_was_begun_is_finished_by_its_bundle(tmp_path, monkeypatch):
    monkeypatch.setattr(job_module, "TARGETS_COST", 1.0)
    case = Case(1, [0, 1], list(range(16)))
    predictor = BatchPredictor(saved(tmp_path / "a"))
    first = predictor.bundle_id
    job = predictor.start(case.request())
    predictor.turn([job])
    assert job.cost
    predictor.swap(saved(tmp_path / "b", seed=1))
    fresh = predictor.start(case.request())
    while job.cost or fresh.cost:
        predictor.turn([j for j in (job, fresh) if j.cost])
    assert (job.outcome.bundle, fresh.outcome.bundle) == (first, predictor.bundle_id)
    assert_as_alone([job.outcome], [case], GroupPreferenceModel.load(tmp_path / "a"))
    assert_as_alone([fresh.outcome], [case], GroupPreferenceModel.load(tmp_path / "b"))


def test_an_adapted_group_needs_its_answers_no_more():
    predictor, case = BatchPredictor(BUNDLES["memory"]), Case(1, [0, 1], [5, 6])
    request = replace(case.request(), id="known")
    assert predictor.serving.group("known") is None
    predictor.predict([request])
    job = predictor.serving.start(replace(request, context=()), predictor.serving.group("known"))
    predictor.turn([job])
    assert_as_alone([job.outcome], [case], ESTIMATORS["memory"])


def test_predictions_are_kept_by_answers_question_and_bundle(tmp_path):
    old = saved(tmp_path / "old")
    predictor = BatchPredictor(old)
    case, other = Case(0, [0, 1, 13], [4, 14]), Case(1, [0, 1, 13], [4, 14])
    request = case.request()
    keys = [s.key for s in request.targets]
    assert predictor.serving.predicted(request.context_id, keys) is None
    (made,) = predictor.predict([request])
    assert predictor.serving.predicted(request.context_id, keys) == made
    assert predictor.serving.predicted(request.context_id, keys[::-1]).predictions == made.predictions[::-1]
    assert predictor.serving.predicted(request.context_id, [*keys, "another question"]) is None
    assert predictor.serving.predicted(other.request().context_id, keys) is None  # another group's answers
    for bundle in (saved(tmp_path / "new", seed=1), old):
        predictor.swap(bundle)
        assert predictor.serving.predicted(request.context_id, keys) is None


def test_kept_predictions_are_bounded(monkeypatch):
    monkeypatch.setattr(predictor_module, "MADE_BYTES", 3000)
    predictor = BatchPredictor(BUNDLES["memory"])
    for group in range(4):
        predictor.predict([Case(group, [0, 1], list(range(4, 9))).request()])
    kept = serving_of(predictor)._predictions  # noqa: SLF001 -- what it keeps is its own affair
    assert 0 < sum(m.nbytes for m in kept.values()) <= 3000
