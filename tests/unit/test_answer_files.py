"""Files of answers and questions, in the forms in which people have them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.answer_files import read_answers_file, read_questions_file
from gpo_ray.errors import DataError

CASES = Path(__file__).parents[3] / "shared/cases/predict"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the folder of cases is not there")
ASKED = {"prompt": "Heat the pool?", "responses": ["Yes", "No", "Not sure"]}


def written(tmp_path, items):
    path = tmp_path / "answers.json"
    path.write_bytes(items if isinstance(items, bytes) else json.dumps(items).encode())
    return str(path)


def answered(tmp_path, **given):
    """The shares of one answer, and the notes."""
    answers, notes = read_answers_file(written(tmp_path, [ASKED | given]))
    return answers[0].shares().tolist(), notes


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ({"share": [0.2, 0.3, 0.5]}, [0.2, 0.3, 0.5]),
        ({"share": ["0.2", " .3", "5e-1"]}, [0.2, 0.3, 0.5]),
        ({"percent": [20, 30, 50]}, [0.2, 0.3, 0.5]),
        ({"percent": [20, 30, 50], "n": 1000}, [0.2, 0.3, 0.5]),
        ({"count": [2, 3, 5]}, [0.2, 0.3, 0.5]),
        ({"counts": [2, 3, 5]}, [0.2, 0.3, 0.5]),
        ({"choice": 2}, [0, 0, 1]),
        ({"percent": ["20%", "30 %", 50]}, [0.2, 0.3, 0.5]),
        ({"share": None, "choice": 0}, [1, 0, 0]),
    ],
)
def test_the_forms_of_an_answer(tmp_path, given, shares):
    found, notes = answered(tmp_path, **given)
    np.testing.assert_allclose(found, shares, rtol=0, atol=1e-15)
    assert notes == []


@pytest.mark.parametrize(
    ("given", "total"),
    [
        ({"share": [0.29, 0.29, 0.43]}, "1.01"),
        ({"share": [0.33, 0.33, 0.33]}, "0.99"),
        ({"percent": [29, 29, 43]}, "101"),
        ({"percent": [33, 33, 32]}, "98"),
    ],
)
def test_rounded_numbers_are_scaled_and_this_is_said(tmp_path, given, total):
    ((form, values),) = given.items()
    found, (note,) = answered(tmp_path, **given)
    np.testing.assert_allclose(found, np.array(values) / sum(values))
    assert f"item 0: {form}: sums to {total}" in note


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"share": [20, 30, 50]}, "item 0: share: sums to 100, not 1; .* give them as percent"),
        ({"percent": [0.2, 0.3, 0.5]}, "item 0: percent: sums to 1, not 100; .* give them as share"),
        ({"share": [0.2, 0.3, 0.4]}, "item 0: share: sums to 0.9, not 1; give all responses"),
        ({"share": ["0,2", "0,3", "0,5"]}, "item 0: share: number 0: '0,2' is not a number; write it like"),
        ({"share": [0.2, None, 0.8]}, "item 0: share: number 1: is null; leave the answer out"),
        ({"share": [True, 0, 0]}, "item 0: share: number 0: True is not a number"),
        ({"share": [float("nan"), 0, 1]}, "item 0: share: number 0: is nan, not finite"),
        ({"share": [1e400, 0, 1]}, "item 0: share: number 0: is inf, not finite"),
        ({"share": [10**400, 0, 1]}, "item 0: share: number 0: is a number too large to read"),
        ({"share": [-0.2, 0.7, 0.5]}, "item 0: share: number 0: is -0.2; shares"),
        ({"share": [0.5, 0.5]}, "item 0: 2 shares for 3 responses"),
        ({"share": "0.2"}, "item 0: share: must be a list of numbers"),
        ({"count": [0, 0, 0]}, "item 0: count: sums to 0; leave the answer out"),
        (
            {"share": ["20%", "30%", "50%"]},
            "item 0: share: number 0: '20%' is not a number; write it like 0.8",
        ),
        ({"percent": ["a", 30, 70]}, "item 0: percent: number 0: 'a' is not a number; write it like 80"),
        ({"choice": True}, "item 0: choice: 'True' is no index; the first response is 0"),
        ({"choice": 1.0}, "item 0: choice: '1.0' is no index"),
        ({"choice": "1"}, "item 0: choice: '1' is no index"),
        ({"choice": 3}, "item 0: choice is not the index of a response"),
        ({"choice": 0, "count": [1, 2, 3]}, "item 0: give exactly one of .*; found count and choice"),
        ({"count": [1, 2, 3], "counts": [1, 2, 3]}, "found count and counts"),
        ({}, "item 0: give exactly one of share, percent, count, choice; found none"),
        ({"shares": [1, 0, 0]}, "item 0: shares: no such key; known: prompt"),
        ({"count": [1, 2, 3], "n": 6}, "item 0: n: must be a number above 0, beside share or percent"),
        ({"share": [1, 0, 0], "n": 0}, "item 0: n: must be"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, given, words):
    with pytest.raises(DataError, match=words):
        answered(tmp_path, **given)


@pytest.mark.parametrize(
    "again",
    [
        ASKED,
        ASKED | {"prompt": " Heat  the pool?"},
        {"prompt": "heat the pool?", "responses": ["not sure", "NO", "yes "]},
    ],
)
def test_a_question_is_answered_once(tmp_path, again):
    items = [
        ASKED | {"choice": 0},
        {"prompt": "B?", "responses": ["a", "b"], "choice": 0},
        again | {"choice": 1},
    ]
    with pytest.raises(DataError, match=r"item 2: prompt: .* is answered by item 0 too; leave one"):
        read_answers_file(written(tmp_path, items))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "   "}, "item 0: prompt is blank"),
        ({"prompt": ""}, "item 0: prompt"),
        ({"responses": ["Fig", ""]}, "item 0: response 1 is blank"),
        ({"responses": ["  ", "\n"]}, "item 0: response 0 is blank"),
        ({"responses": ["Fig", "\u200b"]}, "item 0: response 1 is blank"),
        ({"responses": ["Fig", " Fig"]}, "item 0: two responses are the same"),
        (
            {"responses": ["Fig", "fig"]},
            "item 0: two responses are the same: 'Fig' and 'fig' differ in upper and lower case alone",
        ),
        (
            {"responses": ["No", "Don't", "Don’t"]},
            "\"Don't\" and 'Don’t' differ in quotes, dashes or dots alone",
        ),
        ({"responses": ["Fig"]}, "item 0: responses"),
        ({"responses": "Fig, Plum"}, "item 0: responses"),
        ({"prompt": "Which\x00 fruit?"}, "item 0: prompt holds a NUL character"),
        ({"prompt": 5}, "item 0: prompt"),
    ],
)
def test_unusable_texts_are_refused(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        read_questions_file(written(tmp_path, [ASKED | change]))


def test_half_an_emoji_is_refused(tmp_path):
    text = b'[{"prompt":"Which?","responses":["Fig","Plum \\ud800"]}]'
    with pytest.raises(DataError, match=r"item 0: responses: holds half a character \(a lone surrogate"):
        read_questions_file(written(tmp_path, text))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("lines", [False, True])
def test_encodings_and_lines(tmp_path, encoding, lines):
    items = [ASKED, {"prompt": "Où ça ?", "responses": ["Là", "Nulle part"]}]
    each = [json.dumps(i, ensure_ascii=False) for i in items]
    text = "\r\n\n".join(each) + "\n" if lines else f"[{','.join(each)}]"
    data = text.encode(encoding)
    if encoding in ("utf-16-le", "utf-16-be"):
        data = "\ufeff".encode(encoding) + data
    found = read_questions_file(written(tmp_path, data))
    assert [q.model_dump() for q in found] == [i | {"responses": tuple(i["responses"])} for i in items]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[]", "the list is empty"),
        (b"", "not a readable JSON file"),
        (b"[1]", "item 0: is not an object"),
        (b'"text"', "item 0: is not an object"),
        (b'{"prompt": "A?", "responses": ["a", "b"]}\n{"prompt": ', "line 2: not a readable JSON file"),
        ("Köln".encode("cp1252"), "not a readable JSON file"),
        (b"\xff\xfe[\x00]", "not UTF-16"),
    ],
)
def test_other_files_are_refused(tmp_path, data, words):
    with pytest.raises(DataError, match=words):
        read_questions_file(written(tmp_path, data))
    with pytest.raises(DataError, match=words):
        read_answers_file(written(tmp_path, data))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_answers_file(str(tmp_path / "none.json"))


@given(
    st.lists(st.integers(0, 10**6), min_size=3, max_size=3), st.sampled_from(["count", "share", "percent"])
)
def test_the_same_answer_in_every_form(tmp_path_factory, counts, form):
    if not sum(counts):
        return
    whole = {"count": sum(counts), "share": 1, "percent": 100}[form]
    values = [c / sum(counts) * whole for c in counts] if form != "count" else counts
    found, notes = answered(tmp_path_factory.mktemp("forms"), **{form: values})
    np.testing.assert_allclose(found, np.array(counts) / sum(counts), rtol=1e-12)
    assert notes == []


@needs_cases
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a-comma-share", "share: number 0: '0,8'"),
        ("a-percent", "share: sums to 100, not 1; .* percent"),
        ("a-dup", "answered by item 0 too"),
        ("a-dup-space", "answered by item 0 too"),
        ("a-nan", "share: number 0: is nan"),
    ],
)
def test_published_answers_that_are_refused(name, words):
    with pytest.raises(DataError, match=words):
        read_answers_file(str(CASES / f"{name}.json"))


@needs_cases
@pytest.mark.parametrize(
    ("name", "shares", "noted"),
    [
        ("a", [0.8, 0.2], False),
        ("a-counts", [0.8, 0.2], False),
        ("a-text-share", [0.8, 0.2], False),
        ("a-rounded", [29 / 101, 29 / 101, 43 / 101], True),
        ("a-rounded99", [1 / 3, 1 / 3, 1 / 3], True),
    ],
)
def test_published_answers(name, shares, noted):
    (answer,), notes = read_answers_file(str(CASES / f"{name}.json"))
    np.testing.assert_allclose(answer.shares(), shares)
    assert bool(notes) == noted


@needs_cases
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("q-blank", "item 0: prompt is blank"),
        ("q-blankopt", "item 0: response 1 is blank"),
        ("q-blankopt2", "item 0: response 0 is blank"),
        ("q-nul", "item 0: prompt holds a NUL"),
        ("q-surrogate", "surrogate"),
    ],
)
def test_questions_that_are_refused(name, words):
    with pytest.raises(DataError, match=words):
        read_questions_file(str(CASES / f"{name}.json"))


@needs_cases
def test_questions_in_other_forms():
    (asked,) = read_questions_file(str(CASES / "q.json"))
    (wide,) = read_questions_file(str(CASES / "q-utf16.json"))
    lines = read_questions_file(str(CASES / "q-jsonl.json"))
    assert wide.prompt == asked.prompt == "Should taxes on fuel rise?"
    assert lines == [asked, asked]
