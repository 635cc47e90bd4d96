"""Replies that are a distribution, and those that are none and say why."""

import numpy as np
import pytest

from gpo_ray.guesses import parsing
from gpo_ray.guesses.parsing import parse_distribution, parse_sequence

OPTIONS = ("Yes", "No", "Don't know / refused")


@pytest.mark.parametrize(
    "reply",
    [
        "A: 50%\nB: 30%\nC: 20%",
        "A: 50\nB: 30\nC: 20\n",
        "- A. Yes: 50%\n- B. No: 30 %\n- C. Don’t know / refused: 20%",
        "**A**: 50%\n**B**: 30%\n**C**: 20%",
        "(C): 20%\n(B): 30%\n(A): 50%",
        "Yes: 50.0%\nno: 30%\nDon't know / refused: 20%.",
        "Here is my estimate:\n\nA: 50%\nB: 30%\nC: 20%\n\nThese are estimates.",
        '{"A": 50, "B": "30%", "C": 20}',
        '```json\n{"Yes": 50, "No": 30, "Don\'t know / refused": 20}\n```',
        "<think>A: 90%</think>\nA: 50%\nB: 30%\nC: 20%",
        "A: 50%\nA: 50%\nB: 30%\nC: 20%",
    ],
)
def test_a_distribution_is_read(reply):
    shares, reason = parse_distribution(reply, OPTIONS)
    assert reason is None
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2])


def test_rounded_percentages_are_scaled():
    shares, _ = parse_distribution("A: 50%\nB: 30%\nC: 21%", OPTIONS)
    np.testing.assert_allclose(shares, np.array([50, 30, 21]) / 101)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", parsing.EMPTY),
        ("<think>hm</think>", parsing.EMPTY),
        ("I cannot speak for other people.", parsing.REFUSAL),
        ("I'm sorry, as an AI I have no opinion.", parsing.REFUSAL),
        ("Most people would say yes.", parsing.PROSE),
        ("About 50% would say A, and 50% B.", parsing.PROSE),
        ("A: 50%\nB: 30%\nand the other 20% say C", parsing.PROSE),
        ("A: 50%\nB: 50%", parsing.MISSING),
        ("A: 60%\nB: 50%\nC: 30%", parsing.SUM),
        ("A: 5%\nB: 3%\nC: 2%", parsing.SUM),
        ("A: 50%\nA: 40%\nB: 30%\nC: 20%", parsing.TWICE),
        ("A: 50%\nB: 30%\nC: 10%\nD: 10%", parsing.UNKNOWN),
        ("A. No: 50%\nB. Yes: 30%\nC: 20%", parsing.UNKNOWN),
        ("A: -10%\nB: 90%\nC: 20%", parsing.RANGE),
        ("A: 120%\nB: 0%\nC: -20%", parsing.RANGE),
        ('{"A": 50, "B": 30}', parsing.MISSING),
        ('{"A": 50, "B": [30], "C": 20}', parsing.PROSE),
        ('{"A": true, "B": 30, "C": 20}', parsing.PROSE),
    ],
)
def test_what_is_no_distribution_says_why(reply, reason):
    assert parse_distribution(reply, OPTIONS) == (None, reason)


def test_a_reply_that_was_cut_off_is_taken_only_if_it_is_complete():
    assert parse_distribution("A: 50%\nB: 3", OPTIONS, whole=False) == (None, parsing.CUT)
    assert parse_distribution("A: 50%\nB: 30%\nC: 20%\nThis", OPTIONS, whole=False)[1] is None
    assert parse_distribution("A: 50%\nB: 30%\nC: 2", OPTIONS, whole=False) == (None, parsing.CUT)


@pytest.mark.parametrize(
    "reply",
    [
        "A, A, B, A, C, B, A, A, B, A",
        "A A B A C B A A B A",
        "[A,A,B,A,C,B,A,A,B,A].",
        "A\nA\nB\nA\nC\nB\nA\nA\nB\nA",
    ],
)
def test_a_list_of_letters_is_counted(reply):
    shares, reason = parse_sequence(reply, 3, 10)
    assert reason is None
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1])


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", parsing.EMPTY),
        ("I can't do that", parsing.REFUSAL),
        ("A, B, C, D, A, A", parsing.NO_LETTERS),
        ("People say A, A, B, A, C", parsing.NO_LETTERS),
        ("A, B", parsing.COUNT),
        (", ".join("A" * 25), parsing.COUNT),
    ],
)
def test_a_list_that_is_none_says_why(reply, reason):
    assert parse_sequence(reply, 3, 10) == (None, reason)


def test_nothing_takes_long_to_read():
    for reply in (
        "A: " * 20_000,
        "A, " * 20_000 + "!",
        "(" * 20_000,
        "9" * 50_000,
        "{" * 50_000,
        "- " * 30_000,
    ):
        parse_distribution(reply, OPTIONS)
        parse_sequence(reply, 3, 10)
