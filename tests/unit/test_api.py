"""The public API by text."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from serving_backend import write_service_bundle

import gpo_ray
from gpo_ray import Answer, DataError, Question
from gpo_ray.embedding.encoder import Encoder
from gpo_ray.lm.find import find_model
from gpo_ray.preferences.labels import slate_key

README = Path(__file__).parents[2] / "README.md"
PARKS = Answer("Should the city build more parks?", ["Yes", "No"], share=[0.8, 0.2])
TAXES = Question("Should taxes rise?", ["Yes", "No", "Don't know"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_language_model):
    return write_service_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tiny_language_model)


def test_predictions_are_those_by_arrays(bundle, tiny_language_model):
    model = gpo_ray.load(bundle)
    (found,) = model.adapt([PARKS]).predict([TAXES])
    estimator = gpo_ray.GroupPreferenceModel.load(bundle)
    pooling = estimator.config.model.pooling
    encoder = Encoder(find_model(str(tiny_language_model)))
    parks, taxes = (
        e.pooled(pooling) for e in encoder.encode([(q.prompt, q.responses) for q in (PARKS, TAXES)])
    )
    keys = [slate_key(q.prompt, q.responses) for q in (PARKS, TAXES)]
    group = estimator.adapt([(parks, np.array([0.8, 0.2]))], keys[:1])
    np.testing.assert_allclose(found.share, group.predict([taxes], keys[1:])[0], atol=1e-5)
    if found.interval is not None:
        np.testing.assert_allclose(found.interval, group.intervals([taxes], keys[1:])[0], atol=1e-5)
    assert found.prompt == TAXES.prompt
    assert found.responses == tuple(TAXES.responses)
    assert sum(found.share) == pytest.approx(1)


def test_responses_are_ranked_best_first(bundle):
    (found,) = gpo_ray.load(bundle).adapt([PARKS]).predict([TAXES])
    assert sorted(r for r, _ in found.ranked) == sorted(TAXES.responses)
    shares = [s for _, s in found.ranked]
    assert shares == sorted(shares, reverse=True)
    assert dict(found.ranked) == dict(zip(found.responses, found.share, strict=True))


def test_a_choice_is_all_of_one_response(bundle):
    model = gpo_ray.load(bundle)
    chosen = Answer(PARKS.prompt, PARKS.responses, choice=1)
    shared = Answer(PARKS.prompt, PARKS.responses, share=[0, 1])
    one, other = (model.adapt([a]).predict([TAXES])[0].share for a in (chosen, shared))
    assert one == other


def test_an_answer_is_also_a_question(bundle):
    group = gpo_ray.load(bundle).adapt([PARKS])
    assert group.predict([PARKS])[0].prompt == PARKS.prompt
    assert group.predict([]) == []


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "the list is empty"),
        ([TAXES], "item 0 is a Question, expected an Answer"),
        ([PARKS, Answer("p", ["a", "b"])], "item 1: exactly one of share and choice"),
        ([Answer("p", ["a", "b"], choice=2)], "choice is not the index of a response"),
        ([Answer("p", ["a", "b"], share=[0.5, 0.6])], "shares must be at least 0 and sum to 1"),
        ([Answer("p", ["a"], choice=0)], "responses"),
        ([Answer("", ["a", "b"], choice=0)], "prompt"),
    ],
)
def test_malformed_answers_are_named(bundle, answers, words):
    with pytest.raises(DataError, match=re.escape(words)):
        gpo_ray.load(bundle).adapt(answers)


def test_malformed_questions_are_named(bundle):
    group = gpo_ray.load(bundle).adapt([PARKS])
    with pytest.raises(DataError, match=r"questions: item 1: two responses are the same"):
        group.predict([TAXES, Question("p", ["a", "a"])])


def test_importing_it_loads_nothing_large():
    code = (
        "import sys, gpo_ray; "
        "print([m for m in ('ray', 'torch', 'transformers', 'pydantic') if m in sys.modules]); "
        "gpo_ray.load; "
        "print([m for m in ('ray', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_every_public_name_is_there():
    for name in gpo_ray.__all__:
        assert getattr(gpo_ray, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        gpo_ray.nothing  # noqa: B018
    table = gpo_ray._HOMES  # noqa: SLF001 -- also what it holds beside the public names
    homes = [name for names in table.values() for name in names]
    assert sorted([*homes, "__version__"]) == sorted(gpo_ray.__all__) == sorted(dir(gpo_ray))


def test_the_readmes_example_runs_as_it_is_written(bundle, tmp_path, monkeypatch, capsys):
    code = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0]
    (tmp_path / "quickstart-out").mkdir()
    (tmp_path / "quickstart-out" / "bundle").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("Should taxes rise? [('")
