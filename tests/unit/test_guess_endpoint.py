"""A language model behind an endpoint that misbehaves: what it says is counted, and its key is nowhere."""

import logging
import time
from email.utils import formatdate

import numpy as np
import pytest
from chat_server import GOOD, ChatServer, chat
from guess_files import BUSES, GROUPS, city

from gpo_ray.config import parse
from gpo_ray.errors import ConfigError, EmbeddingError
from gpo_ray.guesses import parsing
from gpo_ray.guesses.asking import AskSettings, plan
from gpo_ray.guesses.chat import KEY, EndpointConfig
from gpo_ray.guesses.endpoint import FAILURES, NO_LOGPROBS, NOT_LISTED, ask_endpoint
from gpo_ray.guesses.roles import describe_all
from gpo_ray.guesses.table import GuessTable, Way
from gpo_ray.preferences.dataset import Question

SECRET = "sk-loopback-0123456789"
COUNT = 12


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """A key, and a cache of replies of its own."""
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setenv("GPO_CACHE", str(tmp_path / "cache"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def questions(count=COUNT):
    return [Question(f"q{i}", "made up", f"Question number {i}?", ("Yes", "No")) for i in range(count)]


def ask(server, out, asked=None, settings=None, **options):
    chosen = settings or AskSettings(ask="distribution")
    config = EndpointConfig(endpoint=server.url, model="big", first_wait=0.01, **options)
    every = list(plan(asked or questions(), "big", config.identity, ["none"], {}, chosen))
    return ask_endpoint(every, str(out), chosen, config)


def prompt(body):
    return body["messages"][0]["content"]


def number(body):
    return int(prompt(body).partition("Question number ")[2].partition("?")[0])


def test_every_kind_of_misbehaviour_is_named_and_counted_and_the_run_ends(tmp_path):
    """Each question has its own fault; those that pass are tried again."""
    tries = {}

    def reply(body, _):
        i = number(body)
        tries[i] = tries.get(i, 0) + 1
        first = tries[i] == 1
        return {
            0: (429, {"Retry-After": "0.05"}, "slow down") if first else chat(GOOD),
            1: (500, {}, "broken") if first else chat(GOOD),
            2: "cut" if first else chat(GOOD),
            3: chat("Most people would agree, I believe."),
            4: chat("A: 80%\nB: 60%"),
            5: chat("I'm sorry, I cannot speak for people."),
            6: chat(None, refusal="That is not for me to say."),
            7: chat("", finish="content_filter"),
            8: (200, {}, "<html>") if first else chat(GOOD),
            9: (503, {}, "always"),
            10: chat("A: 55%\nB: 4", finish="length"),
        }.get(i, chat(GOOD))

    with ChatServer(reply) as server:
        result = ask(server, tmp_path / "g", retries=2)
    assert result["without"] == {
        parsing.PROSE: 1,
        parsing.SUM: 1,
        parsing.REFUSAL: 3,
        parsing.CUT: 1,
    }
    assert result["failed"] == {"endpoint: HTTP 503": 1}
    assert (result["asked"], result["left"], result["guesses"], result["stopped"]) == (11, 1, 5, None)
    assert tries[9] == 3
    assert result["requests"] == len(server.seen) == 12 + 4 + 2
    table = GuessTable.load(tmp_path / "g")
    np.testing.assert_allclose(
        table.share(Way("big", "distribution", "none"), None, questions()[0]), [0.6, 0.4]
    )
    assert dict(table.models) == {"big": f"big@{server.url}"}
    kept = {r["question_id"]: r["reply"] for r in table.guesses.to_pylist() if r["reason"]}
    assert kept["q4"] == "A: 80%\nB: 60%"


def test_what_failed_is_asked_again_and_the_rest_costs_nothing(tmp_path):
    down = {"yes": True}

    def reply(body, _):
        return (500, {}, "broken") if down["yes"] and number(body) == 3 else chat(GOOD)

    with ChatServer(reply) as server:
        assert ask(server, tmp_path / "g", retries=0)["left"] == 1
        down["yes"], before = False, len(server.seen)
        result = ask(server, tmp_path / "g", retries=0)
        assert (result["asked"], result["reused"], result["left"]) == (1, COUNT - 1, 0)
        assert len(server.seen) == before + 1
        again = ask(server, tmp_path / "other")  # another folder: all replies are in the cache
        assert (again["asked"], again["requests"], again["tokens"], again["cached"]) == (COUNT, 0, 0, COUNT)
        assert len(server.seen) == before + 1
        assert again["guesses"] == COUNT


@pytest.mark.parametrize("header", [lambda: "0.3", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_retry_after_is_honoured(tmp_path, header):
    times = []

    def reply(_, number):
        times.append(time.monotonic())
        return (429, {"Retry-After": header()}, "") if number == 1 else chat(GOOD)

    with ChatServer(reply) as server:
        assert ask(server, tmp_path / "g", questions(1))["guesses"] == 1
    assert times[1] - times[0] >= 0.3


def test_an_endpoint_that_asks_for_too_long_a_wait_has_failed(tmp_path):
    with ChatServer(lambda *_: (429, {"Retry-After": "9999"}, "")) as server:
        result = ask(server, tmp_path / "g", questions(1))
    assert result["failed"] == {"endpoint: HTTP 429": 1}
    assert result["requests"] == 1


@pytest.mark.parametrize(
    ("budget", "most"), [({"max_requests": 5}, 5), ({"max_tokens": 600}, 12), ({"max_tokens": 1}, 0)]
)
def test_a_budget_ends_the_run_with_what_there_is(tmp_path, budget, most):
    with ChatServer(lambda *_: chat(GOOD, tokens=50)) as server:
        result = ask(server, tmp_path / "g", **budget)
        assert result["requests"] == len(server.seen) <= most
        assert result["tokens"] == 50 * len(server.seen) <= budget.get("max_tokens", 10**6)
        assert "budget" in result["stopped"]
        assert result["left"] == COUNT - result["asked"] > 0
        assert GuessTable.load(tmp_path / "g").counts()["guesses"] == result["asked"] == len(server.seen)
        rest = ask(server, tmp_path / "g")
        assert (rest["asked"], rest["left"], rest["stopped"]) == (result["left"], 0, None)


def test_an_endpoint_that_is_down_ends_the_run_soon(tmp_path):
    with ChatServer(lambda *_: (500, {}, "down")) as server:
        result = ask(server, tmp_path / "g", retries=0, parallel=1)
    assert len(server.seen) == FAILURES
    assert result["stopped"] == f"{FAILURES} questions in a row failed"
    assert result["failed"] == {"endpoint: HTTP 500": FAILURES}
    result = ask(server, tmp_path / "h", retries=0, parallel=1)  # nobody listens there any more
    assert result["failed"] == {"endpoint: connection broken (ConnectError)": FAILURES}


@pytest.mark.parametrize(("status", "words"), [(401, KEY), (403, KEY), (404, "--model"), (302, "--endpoint")])
def test_an_endpoint_that_refuses_everything_is_an_error(tmp_path, status, words):
    with (
        ChatServer(lambda *_: (status, {}, f"no {SECRET}")) as server,
        pytest.raises(EmbeddingError) as error,
    ):
        ask(server, tmp_path / "g")
    assert f"HTTP {status} (no ***)" in str(error.value)
    assert words in str(error.value)
    assert not (tmp_path / "g" / "manifest.json").exists()


def test_a_request_that_is_wrong_is_counted_with_what_the_endpoint_says(tmp_path):
    with ChatServer(lambda *_: (400, {}, "no such option")) as server:
        result = ask(server, tmp_path / "g", questions(2))
    assert result["failed"] == {"endpoint: HTTP 400 (no such option)": 2}


def test_a_newer_name_of_the_limit_is_learnt(tmp_path):
    def reply(body, _):
        if "max_tokens" in body:
            return 400, {}, "Unsupported parameter: use 'max_completion_tokens' instead"
        return chat(GOOD)

    with ChatServer(reply) as server:
        assert ask(server, tmp_path / "g", parallel=1)["guesses"] == COUNT
    assert len(server.seen) == COUNT + 1


def test_letters_are_summed_over_their_tokens_and_orders(tmp_path):
    def reply(body, _):
        assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
        yes = "A" if "A. Yes" in prompt(body) else "B"
        no = "B" if yes == "A" else "A"
        shares = {yes: 0.3, f" {yes}": 0.3, no: 0.1, f" {no}": 0.1, "The": 0.001}
        return chat("A", top={t: float(np.log(p)) for t, p in shares.items()})

    settings = AskSettings(orders=2)
    with ChatServer(reply) as server:
        assert ask(server, tmp_path / "g", [BUSES], settings)["guesses"] == 1
    share = GuessTable.load(tmp_path / "g").share(Way("big", "logprobs", "none"), None, BUSES)
    np.testing.assert_allclose(share, [0.75, 0.25])
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("top", "reason"),
    [(None, NO_LOGPROBS), ({"A": -0.5, "The": -1.0}, NOT_LISTED), ({"The": -0.1, "An": -2.0}, NOT_LISTED)],
)
def test_letters_that_are_not_told_are_not_guessed(tmp_path, top, reason):
    with ChatServer(lambda *_: chat("A", top=top)) as server:
        result = ask(server, tmp_path / "g", [BUSES], AskSettings())
    assert result["without"] == {reason: 1}


def test_a_letter_that_can_hardly_matter_is_0(tmp_path):
    with ChatServer(lambda *_: chat("A", top={"A": -0.001, "The": -9.0})) as server:
        ask(server, tmp_path / "g", [BUSES], AskSettings())
    share = GuessTable.load(tmp_path / "g").share(Way("big", "logprobs", "none"), None, BUSES)
    np.testing.assert_allclose(share, [1.0, 0.0])


def test_the_key_is_sent_and_is_in_no_file_log_or_message(tmp_path, caplog, gpo):
    caplog.set_level(logging.DEBUG)
    city().save(tmp_path / "survey")

    def reply(body, number):
        if number == 2:
            return 429, {}, f"key {SECRET} is too fast"
        if number == 4:
            return 400, {}, f"key {SECRET} may not"
        return chat(f"Your key is {SECRET}. I cannot say.")

    with ChatServer(reply) as server:
        arguments = ("guess", "--survey", tmp_path / "survey", "--endpoint", server.url, "--model", "big")
        asking = (*arguments, "--ask", "distribution", "--as", "none,portray", "--out", tmp_path / "g")
        code, out, err = gpo(*asking, "--parallel", "1")
        also = gpo(*asking, "--json")
    assert code == 0, err
    assert {h["Authorization"] for h in server.headers} == {f"Bearer {SECRET}"}
    assert f"without a guess: {parsing.REFUSAL}" in out
    said = (out, err, *also[1:], *(r.getMessage() + str(r.__dict__) for r in caplog.records))
    assert all(SECRET not in text for text in said)
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert any("answers" in f.parts for f in files)
    assert all(SECRET.encode() not in f.read_bytes() for f in files)
    # the Parquet files are compressed, so they are read too
    assert SECRET not in str(GuessTable.load(tmp_path / "g").guesses.to_pylist())
    assert "Your key is ***" in str(GuessTable.load(tmp_path / "g").guesses["reply"].to_pylist())


def test_roles_are_asked_too(tmp_path):
    config_roles = describe_all(GROUPS)
    with ChatServer(lambda *_: chat(GOOD)) as server:
        config = EndpointConfig(endpoint=server.url, model="big")
        settings = AskSettings(ask="distribution")
        asked = list(plan([BUSES], "big", config.identity, ["qa"], config_roles, settings))
        assert ask_endpoint(asked, str(tmp_path / "g"), settings, config)["guesses"] == 3
    assert sorted("Green" in prompt(b) for b in server.seen) == [False, False, True]


def test_options_that_are_wrong_are_refused(tmp_path, fails, monkeypatch):
    city().save(tmp_path / "survey")
    asking = ("guess", "--survey", tmp_path / "survey", "--out", tmp_path / "g")
    url = ("--endpoint", "http://127.0.0.1:9/v1")
    fails(*asking, *url, words=["--endpoint needs --model"])
    fails(*asking, "--max-requests", "3", words=["--max-requests is a budget of --endpoint"])
    for bad in ("127.0.0.1/v1", "ftp://x/v1", "http://user:pass@x/v1", "https://x/v1?key=1"):
        fails(*asking, "--endpoint", bad, "--model", "big", words=["guess: endpoint"])
    monkeypatch.setenv(KEY, "with space")
    fails(*asking, *url, "--model", "big", words=[KEY])
    with pytest.raises(ConfigError, match="endpoint"):
        parse(EndpointConfig, {"endpoint": "x", "model": "m"}, "here")
