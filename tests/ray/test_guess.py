"""The Ray Data job that asks a real, tiny language model."""

import json

import numpy as np
import pytest
from guess_files import city

from gpo_ray.errors import EmbeddingError, ResourceError
from gpo_ray.guesses.asking import AskSettings, plan
from gpo_ray.guesses.job import GuessConfig, ask_model, model_identity
from gpo_ray.guesses.letters import letter_guesses
from gpo_ray.guesses.roles import describe_all
from gpo_ray.guesses.table import GuessTable
from gpo_ray.lm.find import find_model
from gpo_ray.lm.model import LanguageModel
from gpo_ray.preferences.dataset import Group

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def config(tiny_language_model):
    return GuessConfig(model=str(tiny_language_model), actors=2)


def everything(config, settings, styles=("none", "bio")):
    dataset = city()
    roles = describe_all(Group(**row) for row in dataset.groups.to_pylist())
    name, identity = model_identity(config.model, config.dtype)
    return list(plan(dataset.iter_questions(), name, identity, styles, roles, settings))


@pytest.mark.minutes
def test_letters_are_asked_once_and_an_interrupted_run_goes_on(tmp_path, config):
    settings = AskSettings(orders=2)
    asked, out = everything(config, settings), str(tmp_path / "g")
    result = ask_model(asked, out, settings, config)
    assert (result["asked"], result["reused"], result["guesses"], result["without"]) == (12, 0, 12, {})
    table = GuessTable.load(out)
    own = letter_guesses(LanguageModel(find_model(config.model), device="cpu"), asked)
    for guess in own:
        found = table.share(guess.way, guess.group_id, guess.question)
        np.testing.assert_allclose(found, guess.share, atol=1e-4)
    before = {p.name: p.read_bytes() for p in (tmp_path / "g").glob("guesses-*")}
    assert ask_model(asked, out, settings, config)["asked"] == 0
    victim = sorted(before)[0]
    (tmp_path / "g" / victim).unlink()
    (tmp_path / "g" / "manifest.json").unlink()
    result = ask_model(asked, out, settings, config)
    assert 0 < result["asked"] < 12
    assert GuessTable.load(out).counts()["guesses"] == 12


def test_replies_that_are_no_distribution_are_counted(tmp_path, config):
    settings = AskSettings(ask="distribution")
    asked, out = everything(config, settings, ["none"]), str(tmp_path / "g")
    result = ask_model(asked, out, settings, config)
    assert result["guesses"] == 0
    assert sum(result["without"].values()) == 3
    manifest = json.loads((tmp_path / "g" / "manifest.json").read_text())
    assert manifest["without"] == result["without"]


def test_errors_reach_the_user(tmp_path, config):
    settings = AskSettings()
    asked = everything(config, settings, ["none"])
    with pytest.raises(ResourceError, match="2 actors with 10 GPU each"):
        ask_model(asked, str(tmp_path / "g"), settings, config.model_copy(update={"gpus_per_actor": 10.0}))
    with pytest.raises(EmbeddingError, match="nowhere"):
        ask_model(asked, str(tmp_path / "g"), settings, GuessConfig(model=str(tmp_path / "nowhere")))
    assert not (tmp_path / "g" / "manifest.json").exists()
