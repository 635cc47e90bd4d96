"""An endpoint that wants to keep a run or fill its memory: bounded bytes, bounded time, nothing quadratic."""

import gzip
import json
import resource
import time

import pytest
from chat_server import GOOD, ChatServer, chat
from test_guess_endpoint import ask, environment, questions  # noqa: F401

from gpo_ray.guesses.parsing import parse_distribution, parse_sequence

YES_NO = ("Yes", "No")


BOMB = gzip.compress(json.dumps(chat("A" * (1 << 26))).encode(), 9)


def bomb(handler):
    data = BOMB
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def long(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(64):
        handler.wfile.write(b" " * (1 << 20))


def drip(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def hints(handler):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(bomb, "DecodingError"), (long, "DecodingError"), (drip, "ReadTimeout"), (hints, "ReadTimeout")],
)
def test_a_reply_without_end_is_a_broken_connection(tmp_path, fault, reason):
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with ChatServer(lambda _, number: fault if number == 1 else chat(GOOD)) as server:
        found = ask(server, tmp_path / "out", questions(2), parallel=1, retries=0, timeout=2.0)
        took = time.monotonic() - started
    assert found["failed"] == {f"endpoint: connection broken ({reason})": 1}
    assert found["guesses"] == 1
    assert took < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


@pytest.mark.parametrize(
    "reply",
    [
        "A" * 50_000 + "!",
        "A" * 60 + "a",
        "ABC" * 30_000,
        " " * 90_000 + "x",
        "A " * 45_000 + "?",
        "(" * 90_000,
        "```" + "\n" * 90_000,
        "**" * 45_000 + "1 %",
        "I " + " " * 90_000 + "x",
        ("i " * 45_000),
        "A: " + "1" * 90_000 + "x",
        "A" + " " * 80_000 + ": 5 0",
        "</think>" * 12_000,
        "{" * 90_000,
        "\n" * 90_000 + "1%",
    ],
)
def test_any_reply_is_read_in_a_time_that_grows_with_its_length(reply):
    for text in (reply, reply * 10):
        started = time.process_time()
        shares, reason = parse_distribution(text, YES_NO)
        assert shares is None
        assert reason is not None
        shares, reason = parse_sequence(text, 2, 30)
        assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("reply", "shares"),
    [
        ("A, B, A, A", [0.75, 0.25]),
        ("[A; B; A; A]", [0.75, 0.25]),
        ("A. B. A. A.", [0.75, 0.25]),
        ("(A) (B) (A) (A)", [0.75, 0.25]),
        ("A: B | A\nA", [0.75, 0.25]),
        ("A, C, A, A", None),
        ("A, and B", None),
        ("ABAA", None),
    ],
)
def test_lists_of_letters(reply, shares):
    assert parse_sequence(reply, 2, 4)[0] == shares


@pytest.mark.parametrize(
    "reply",
    [
        "A: 60%\nB: 40%",
        "- A: 60 %\n- B: 40 %",
        "* **A**: 60%\n* **B**: 40%",
        "**A:** 60%\n**B:** 40%",
        "(A) = 60.0\n(B) = 40.0",
        "A. Yes: 60%,\nB. No: 40%.",
        "Yes: **60%**\nNo: **40%**",
        '```json\n{"A": 60, "B": 40}\n```',
        "```\nA:   60%\nB:\t40%\n```",
        "<think>B: 90%</think>\nA: 60%\nB: 40%",
    ],
)
def test_lines_of_percentages(reply):
    assert parse_distribution(reply, YES_NO) == ([0.6, 0.4], None)
