"""Guesses that this machine keeps: a killed process loses no more than what it was at."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from synthetic import questions

from gpo_ray.guesses import kept
from gpo_ray.guesses.asking import AskSettings, asked
from gpo_ray.guesses.local import LocalBackend
from gpo_ray.guesses.table import Way
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.lm.model import LanguageModel

COUNT, UNIT = 200, 4


def everything(folder):
    identity = fingerprint(find_model(folder), "float32")
    way = Way("tiny", "logprobs", "none")
    return [asked(q, way, None, None, identity, AskSettings()) for q in questions(COUNT)]


def answer(folder):
    """Ask everything in small units."""
    kept.UNIT = UNIT
    model = LanguageModel(find_model(folder), device="cpu")
    return kept.KeepingBackend(lambda: model).answer(everything(folder), AskSettings())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPO_CACHE", str(tmp_path))
    monkeypatch.setattr(kept, "UNIT", UNIT)
    return tmp_path


@pytest.mark.minutes
def test_a_killed_process_and_its_successor_ask_nothing_twice(cache, tiny_language_model, monkeypatch):
    folder = str(tiny_language_model)
    code = f"import test_kept; test_kept.answer({folder!r})"
    places = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": places}, stderr=subprocess.PIPE
    )
    end = time.monotonic() + 120
    while len(list(cache.glob("guesses/*/*.json"))) < 3 * UNIT:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = {f.stem for f in cache.glob("guesses/*/*.json")}
    assert 3 * UNIT <= len(done) < COUNT
    told, real = [], LocalBackend.answer
    monkeypatch.setattr(
        LocalBackend,
        "answer",
        lambda backend, some, settings: told.extend(a.content for a in some) or real(backend, some, settings),
    )
    found = answer(folder)
    assert len(told) == len(set(told)) == COUNT - len(done)
    assert not done & set(told)
    assert [g.question.question_id for g in found] == [q.question_id for q in questions(COUNT)]
    answer(folder)
    assert len(told) == COUNT - len(done)


def test_without_a_cache_everything_is_asked_each_time(cache, tiny_language_model, monkeypatch):
    monkeypatch.setenv("GPO_CACHE_GIB", "0")
    model = LanguageModel(find_model(str(tiny_language_model)), device="cpu")
    some = everything(str(tiny_language_model))[:3]
    found = kept.KeepingBackend(lambda: model).answer(some, AskSettings())
    assert [g.share is None for g in found] == [False] * 3
    assert kept.kept_guess(some[0]) is None
    assert list(cache.rglob("*.json")) == []


def test_where_nothing_can_be_written_the_answer_is_still_given(cache, tiny_language_model, caplog):
    (cache / "guesses").write_text("in the way")
    model = LanguageModel(find_model(str(tiny_language_model)), device="cpu")
    some = everything(str(tiny_language_model))[:1]
    (found,) = kept.KeepingBackend(lambda: model).answer(some, AskSettings())
    assert sum(found.share) == pytest.approx(1)
    assert "guesses cannot be kept" in caplog.text
