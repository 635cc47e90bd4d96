"""A real OpenAI-compatible server on loopback: ``transformers serve``, with SmolLM2."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from guess_files import BUSES, PARKS

from gpo_ray.guesses.asking import AskSettings, plan
from gpo_ray.guesses.chat import EndpointConfig
from gpo_ray.guesses.endpoint import NO_LOGPROBS, ask_endpoint
from gpo_ray.guesses.local import LocalBackend
from gpo_ray.guesses.table import GuessTable
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import load
from gpo_ray.lm.model import LanguageModel

pytestmark = [pytest.mark.slow, pytest.mark.minutes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """SmolLM2 as a folder of transformers."""
    folder = tmp_path_factory.mktemp("model") / "smollm2"
    tokenizer, model = load(find_model("smollm2"), "float32", "cpu")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(folder, tmp_path_factory):
    """The server's address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--host", "127.0.0.1"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        server = subprocess.Popen(
            [*map(str, command), "--port", str(port)], stdout=out, stderr=subprocess.STDOUT, env=environment
        )
    try:
        end = time.monotonic() + 300
        while True:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(timeout=60)


def ask(url, folder, out, settings):
    config = EndpointConfig(endpoint=url, model=str(folder), timeout=300, parallel=1, retries=1)
    asked = list(plan([PARKS, BUSES], "smollm2", config.identity, ["none"], {}, settings))
    return asked, ask_endpoint(asked, str(out), settings, config)


def test_replies_are_those_of_the_model_in_this_process(url, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GPO_CACHE", str(tmp_path / "cache"))
    settings = AskSettings(ask="distribution")
    asked, result = ask(url, folder, tmp_path / "out", settings)
    assert (result["asked"], result["failed"], result["left"], result["requests"]) == (2, {}, 0, 2)
    model = LanguageModel(find_model("smollm2"), "float32")
    want = LocalBackend(model).answer(asked, settings)
    rows = {r["question_id"]: r for r in GuessTable.load(tmp_path / "out").guesses.to_pylist()}
    for guess in want:
        row = rows[guess.question.question_id]
        assert row["reason"] == guess.reason
        assert row["share"] == (None if guess.share is None else pytest.approx(list(guess.share)))
        assert (row["reply"] or "").strip() == (guess.reply or "")[:400].strip()
    _, again = ask(url, folder, tmp_path / "again", settings)
    assert (again["requests"], again["cached"]) == (0, 2)


def test_a_server_that_gives_no_probabilities_brings_no_guess(url, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GPO_CACHE", str(tmp_path / "cache"))
    _, result = ask(url, folder, tmp_path / "out", AskSettings(ask="logprobs"))
    assert (result["guesses"], result["without"]) == (0, {NO_LOGPROBS: 2})
