"""What requests may hold."""

import json

import numpy as np
import pytest
from pydantic import ValidationError
from serving_backend import answer, question

from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.runtime.strict_json import MAX_DEPTH, parse_strict_json
from gpo_ray.serving.api.schemas import (
    GroupAnswer,
    GroupPut,
    InlinePredictRequest,
    PredictRequest,
    Question,
    RankRequest,
)


def test_an_answer_and_a_question_are_those_that_the_model_side_takes():
    parsed = InlinePredictRequest.model_validate({"context": [answer()], "questions": [question()]})
    assert isinstance(parsed.context[0], AnsweredSlate)
    assert isinstance(parsed.questions[0], Slate)
    assert parsed.context[0].shares().tolist() == [0.2, 0.3, 0.5]
    assert GroupAnswer.model_validate(answer(choice=1)).shares().tolist() == [0, 1, 0]


@pytest.mark.parametrize("count", [27, 172, 500])
def test_questions_with_as_many_responses_as_surveys_have_are_taken(count):
    responses = [str(i) for i in range(count)]
    assert len(Question.model_validate(question(responses=responses)).responses) == count
    shares = GroupAnswer.model_validate(answer(responses=responses, share=[1 / count] * count)).shares()
    np.testing.assert_allclose(shares, 1 / count)
    assert GroupAnswer.model_validate(answer(responses=responses, choice=count - 1)).shares()[-1] == 1


def test_whole_numbers_are_shares_too():
    assert GroupAnswer.model_validate(answer(share=[0, 1, 0])).share == (0.0, 1.0, 0.0)


ANSWERS = {
    "neither": answer(choice=None),
    "both": answer(choice=1, share=[0.2, 0.3, 0.5]),
    "no prompt": {k: v for k, v in answer().items() if k != "prompt"},
    "empty prompt": answer(prompt=""),
    "long prompt": answer(prompt="x" * 4001),
    "NUL": answer(prompt="a\0b"),
    "half a pair": answer(prompt="\ud800"),
    "a number as prompt": answer(prompt=3),
    "one response": answer(responses=["a"], share=[1.0]),
    "501 responses": answer(responses=[str(i) for i in range(501)], choice=0),
    "same responses": answer(responses=["a", "a", "b"]),
    "empty response": answer(responses=["a", "", "b"]),
    "long response": answer(responses=["a", "b", "x" * 1001]),
    "responses as text": answer(responses="abc"),
    "share of text": answer(share=["0.2", "0.3", "0.5"]),
    "share of truth": answer(share=[True, False, False]),
    "infinite share": answer(share=[float("inf"), 0, 0]),
    "no number": answer(share=[float("nan"), 0, 1]),
    "negative share": answer(share=[-0.5, 0.5, 1]),
    "sum below 1": answer(share=[0.2, 0.3, 0.4]),
    "a share missing": answer(share=[0.5, 0.5]),
    "choice out of range": answer(choice=3),
    "negative choice": answer(choice=-1),
    "huge choice": answer(choice=10**4000),
    "choice as text": answer(choice="1"),
    "choice as float": answer(choice=1.0),
    "choice as truth": answer(choice=True),
    "unknown field": answer(weight=1),
    "a list": [answer()],
    "null": None,
}


@pytest.mark.parametrize("value", ANSWERS.values(), ids=ANSWERS)
def test_answers_that_are_refused(value):
    with pytest.raises(ValidationError):
        GroupPut.model_validate({"context": [value]})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (GroupPut, {"context": []}),
        (GroupPut, {"context": [answer(i) for i in range(501)]}),
        (GroupPut, {"context": [answer()], "description": "x" * 1001}),
        (GroupPut, {"context": [answer()], "description": None}),
        (PredictRequest, {"questions": []}),
        (PredictRequest, {"questions": [question(i) for i in range(201)]}),
        (PredictRequest, {"questions": [answer()]}),
        (InlinePredictRequest, {"questions": [question()]}),
        (RankRequest, question(share=[0.5, 0.5, 0])),
    ],
)
def test_requests_that_are_refused(schema, value):
    with pytest.raises(ValidationError):
        schema.model_validate(value)


def test_bounds_are_within_what_is_allowed():
    longest = {"prompt": "x" * 4000, "responses": [str(i) * 500 for i in range(10, 36)]}
    assert Question.model_validate(longest).prompt == longest["prompt"]
    GroupPut.model_validate({"context": [answer(i) for i in range(500)], "description": "x" * 1000})
    PredictRequest.model_validate({"questions": [question(i) for i in range(200)]})


@pytest.mark.parametrize("value", [{}, [], "ä\U0001f600", "\0", 1e308, -0.0, 10**300, None, {"a": {"a": 1}}])
def test_strict_json_round_trip(value):
    assert parse_strict_json(json.dumps(value).encode()) == value
    assert parse_strict_json(json.dumps(value, ensure_ascii=False).encode()) == value


NOT_JSON = {
    "nothing": b"",
    "not UTF-8": b'"\xff"',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "NaN": b'{"a": NaN}',
    "Infinity": b"[Infinity]",
    "minus Infinity": b"[-Infinity]",
    "repeated key": b'{"a": 1, "b": {"c": 1, "c": 1}}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "large float": b"[1e999]",
    "large integer": b"[1" + b"0" * 5000 + b"]",
    "half a pair": b'["\\ud800"]',
    "half a pair as key": b'{"\\uDC00": 1}',
    "two values": b"{} {}",
    "comma": b"[1,]",
    "control character": b'"\x01"',
}


def test_levels_are_bounded_as_stated():
    parse_strict_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(ValueError, match="64 levels"):
        parse_strict_json(b'{"a": [' * (MAX_DEPTH // 2) + b"[]" + b"]}" * (MAX_DEPTH // 2))


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_strict_json(body):
    with pytest.raises(ValueError, match=r"."):
        parse_strict_json(body)
