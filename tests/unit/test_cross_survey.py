"""Groups that answer questions of another survey alone: predicted from the published prompt's columns."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from synthetic import arrays, bundle_config, embeddings, survey, tiny_config
from test_bundle import rewrite

from gpo_ray.embedding.features import FeatureBlock
from gpo_ray.errors import BundleError
from gpo_ray.meta_training.engine import new_model
from gpo_ray.model import GroupPreferenceModel
from gpo_ray.model.bundle import Bundle, read_bundle, write_bundle
from gpo_ray.prior import calibration
from gpo_ray.prior.calibration import collect_prior, fit_prior
from gpo_ray.prior.keyed import KeyedGroupPrior, PriorState
from gpo_ray.prior.response_model import NominalResponseModel

SURVEY = survey(groups=8, count=16)
KEYS = [q.key for q in SURVEY.iter_questions()]
PUBLISHED = 3
BLOCK = FeatureBlock("published", 0, PUBLISHED)
DATA = replace(arrays(SURVEY), published=BLOCK)
ALONE = replace(DATA, x=DATA.x[:, :PUBLISHED], published=None)
GROUPS, TRAINING, GROUP = range(5), np.arange(10), 6
HERE = fit_prior(DATA, GROUPS, TRAINING, 4)
THERE = fit_prior(ALONE, GROUPS, TRAINING, 4)
VIEW = fit_prior(DATA, GROUPS, TRAINING, 4, with_cross_survey=True)
MEMORY = KeyedGroupPrior.keyed(VIEW.prior, KEYS[:10])
FOREIGN, MIXED = np.asarray([10, 11, 12]), np.asarray([10, 11, 3])
TARGET = np.asarray([2, 13, 14])
CONFIG = tiny_config(model={"prior": "memory", "likelihood": "cross_entropy", "width": 16, "heads": 2})


def posterior(view, context):
    return view.posterior(context, DATA.shares_of(GROUP, context), TARGET)


@pytest.mark.parametrize(("context", "want"), [(FOREIGN, THERE), (MIXED, HERE)])
def test_readings_count_only_where_the_context_has_a_question_in_memory(context, want):
    got, want = posterior(VIEW, context), posterior(want, context)
    for name in ("shares", "sd", "seen", "half_width"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    assert not np.allclose(posterior(HERE, context).shares, posterior(THERE, context).shares, atol=1e-3)


def test_what_a_bundle_keeps_is_collected_in_less_room():
    memory, question_index = collect_prior(DATA, GROUPS, TRAINING, 4)
    np.testing.assert_array_equal(question_index, VIEW.question_index)
    for got, want in ((memory, VIEW.prior), (memory.cross_survey.prior, VIEW.prior.cross_survey.prior)):
        assert got.scales == want.scales
        for name in ("shares", "x", "expected"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    assert memory.cross_survey.prior.shares is memory.shares
    assert collect_prior(ALONE, GROUPS, TRAINING, 4)[0].cross_survey is None


def test_no_traits_are_fitted_where_they_could_not_be_told(monkeypatch):
    fits, fit = [], NominalResponseModel.fit
    monkeypatch.setattr(calibration, "RESPONSE_MODEL_GROUPS", 5)
    monkeypatch.setattr(NominalResponseModel, "fit", lambda *args: fits.append(args) or fit(*args))
    assert (
        fit_prior(DATA, GROUPS, TRAINING, 4, use_response_model=False).prior.scales.response_model_weight == 0
    )
    assert not fits
    memory, _ = collect_prior(DATA, GROUPS, TRAINING, 4)
    assert len(fits) == (2 if memory.scales.response_model_weight else 1)
    assert memory.cross_survey.prior.response_model is None


def test_without_readings_there_is_one_memory_alone():
    assert fit_prior(ALONE, GROUPS, TRAINING, 4, with_cross_survey=True).cross_survey is None
    assert HERE.cross_survey is None
    assert HERE.prior.cross_survey is None


@pytest.mark.parametrize(
    ("pooling", "published"),
    [("mean", None), ("last+mean", None), ("opinion", None), ("last+mean+opinion+person", 4)],
)
def test_columns_of_the_published_prompt(pooling, published):
    found = replace(embeddings(SURVEY, width=8), pooling=pooling).published
    assert (found and (found.start, found.stop)) == (published and (0, published))


def bundle(folder):
    weights = new_model(6, CONFIG).state_dict()
    write_bundle(folder, weights, bundle_config(CONFIG), {}, MEMORY)
    return folder


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("context", [FOREIGN, MIXED])
def test_served_groups_are_predicted_likewise(tmp_path, context, stored):
    if stored:
        model = GroupPreferenceModel(read_bundle(bundle(tmp_path / "bundle")))
    else:
        model = GroupPreferenceModel(Bundle(new_model(6, CONFIG).eval(), bundle_config(CONFIG), {}, MEMORY))
    x = np.split(DATA.x.numpy(), DATA.offsets[1:-1])
    answers = [(x[q], DATA.shares_of(GROUP, np.asarray([q]))) for q in context]
    group = model.adapt(answers, [KEYS[q] for q in context])
    questions = model.prepare([x[q] for q in TARGET], [KEYS[q] for q in TARGET])
    got, want = group.posterior(questions), posterior(VIEW, context)
    np.testing.assert_allclose(got.shares, want.shares, atol=1e-5)
    np.testing.assert_allclose(got.half_width, want.half_width, atol=1e-4)
    assert questions[0].nbytes > questions[0].prior_inputs.cross_survey.nbytes > 0


def test_a_question_asked_twice_is_kept_once_in_both():
    twice = KeyedGroupPrior.keyed(VIEW.prior, [KEYS[1], *KEYS[1:10]])
    assert len(twice.prior.sizes) == len(twice.prior.cross_survey.prior.sizes) == 9
    np.testing.assert_array_equal(twice.prior.cross_survey.prior.x, twice.prior.x[:, :PUBLISHED])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(columns=7), "do not fit"),
        (lambda e: e.update(start=3), "do not fit"),
        (lambda e: e.update(start=-1), "start"),
        (lambda e: e.update(columns=0), "columns"),
        (lambda e: e.update(colums=3), "colums"),
        (lambda e: e.pop("scales"), "scales"),
    ],
)
def test_what_is_wrong_with_it_in_a_bundle_is_named(tmp_path, change, message):
    folder = bundle(tmp_path / "bundle")
    values = json.loads((folder / "memory.json").read_text())
    change(values["cross_survey"])
    rewrite(folder, "memory.json", json.dumps(values).encode())
    with pytest.raises(BundleError, match=message):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["expected", "expected_cross_survey"])
def test_means_of_another_length_are_refused(tmp_path, name):
    folder = bundle(tmp_path / "bundle")
    tensors = load_file(folder / "memory.safetensors")
    tensors[name] = tensors[name][1:].clone()
    save_file(tensors, tmp_path / "memory")
    rewrite(folder, "memory.safetensors", (tmp_path / "memory").read_bytes())
    with pytest.raises(BundleError, match="do not fit"):
        read_bundle(folder)


def test_a_block_in_the_middle_is_kept_as_it_is():
    middle = FeatureBlock("published prompt", 2, 5)
    data = replace(DATA, published=middle)
    prior, _ = collect_prior(data, GROUPS, TRAINING, 4)
    values, stored = KeyedGroupPrior.keyed(prior, KEYS[:10]).to_state()
    again = KeyedGroupPrior.from_state(PriorState(**values), stored, 6).prior
    assert again.cross_survey.block == middle
    np.testing.assert_array_equal(again.cross_survey.prior.x, again.x[:, 2:5])
