"""The HTTP API: requests that are malformed, too long or of another kind."""

import json

import httpx
import pytest
from http_caller import GROUP, Caller, check_problem
from serving_backend import answer, question

from gpo_ray.serving.api.requests import most_values
from gpo_ray.serving.api.schemas import MAX_ANSWERS, MAX_QUESTIONS, MAX_RESPONSES
from gpo_ray.serving.settings import Limits

JSON = {"Content-Type": "application/json"}


def test_invalid_requests_are_told_where_without_the_value(call):
    hidden = "Never to be repeated"
    body = {"context": [answer(), answer(1, prompt=hidden, choice=7), answer(2, responses=[hidden, 5])]}
    response = call("PUT", "/v1/groups/g", body)
    errors = {e["field"]: e["message"] for e in check_problem(response, 422)["errors"]}
    assert hidden not in response.text
    assert errors["body.context.1"] == "choice is not the index of a response"
    assert "valid string" in errors["body.context.2.responses.1"]


def listed(item, count):
    return "[" + ",".join([item] * count) + "]"


MANY_VALUES = {
    "numbers": listed("1", 400_000),
    "fractions": listed("0.5", 200_000),
    "lists": listed("[]", 300_000),
    "objects": listed("{}", 300_000),
    "texts": listed('{"prompt":"p","responses":' + listed('""', 200) + "}", 500),
    "keys": listed("{" + ",".join(f'"{i}":0' for i in range(200)) + "}", 500),
}


@pytest.mark.parametrize("values", MANY_VALUES.values(), ids=MANY_VALUES)
def test_a_body_of_many_values_is_refused_before_each_is_looked_at(call, values):
    for body in (f'{{"questions": {values}}}', f'{{"context": {values}, "questions": []}}'):
        assert len(body) < 1_000_000
        found = check_problem(call("POST", "/v1/predict", content=body.encode(), headers=JSON), 422)
        assert found["detail"].startswith("the body holds more than ")
        assert "errors" not in found


@pytest.mark.parametrize("count", [17, 10_000])
def test_an_object_of_many_keys_is_refused_at_once(call, count):
    body = {"questions": [question()]} | {str(i): 0 for i in range(count)}
    found = check_problem(call("POST", "/v1/groups/g/predict", body), 422)
    assert found["detail"] == "the body holds an object of more than 16 keys"


def test_lists_do_not_have_a_message_for_each_item(call):
    bad = question(responses=[1] * 499)
    found = check_problem(call("POST", "/v1/predict", {"context": [answer()], "questions": [bad] * 4}), 422)
    assert [e["field"] for e in found["errors"]] == [f"body.questions.{i}.responses.0" for i in range(4)]
    found = check_problem(call("POST", "/v1/predict", {"context": [answer()], "questions": [1] * 201}), 422)
    assert [e["field"] for e in found["errors"]] == ["body.questions"]


@pytest.mark.parametrize("amount", [{}, {"context_responses": 250_000, "question_responses": 100_000}])
def test_bodies_of_documented_size_are_no_bodies_of_many_values(amount):
    limits = Limits(**amount)
    context = 4 * MAX_ANSWERS + 2 * min(limits.context_responses, MAX_ANSWERS * MAX_RESPONSES)
    assert most_values(limits) > context + 3 * MAX_QUESTIONS + limits.question_responses + 10


NASTY_BODIES = {
    "nothing": (b"", 422),
    "not UTF-8": (b'{"questions": "\xff"}', 400),
    "NaN": (b'{"questions": NaN}', 400),
    "Infinity": (b'{"questions": [-Infinity]}', 400),
    "repeated key": (b'{"questions": [], "questions": []}', 400),
    "deep": (b"[" * 20_000, 400),
    "deeper": (b"[" * 100_000, 422),
    "deep and closed": (b'{"questions":' + b"[" * 900 + b"]" * 900 + b"}", 400),
    "large float": (b'{"questions": 1e999}', 400),
    "large integer": (b'{"questions": 1' + b"0" * 5000 + b"}", 400),
    "half a pair": (b'{"questions": "\\ud800"}', 400),
    "half a pair as key": (b'{"\\udfff": 1}', 400),
    "text": (b'"questions"', 422),
    "null": (b"null", 422),
    "a list": (b"[]", 422),
    "long": (b" " * 1_000_001, 413),
}


@pytest.mark.parametrize(("body", "status"), NASTY_BODIES.values(), ids=NASTY_BODIES)
@pytest.mark.parametrize("path", ["/v1/groups/g/predict", "/v1/predict", "/v1/groups/g/rank", "/v1/groups/g"])
def test_nasty_bodies(call, path, body, status):
    method = "PUT" if path == "/v1/groups/g" else "POST"
    response = call(method, path, content=body, headers={"Content-Type": "application/json"})
    check_problem(response, status)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/xml",
        "",
        "json",
        "application/json; charset=latin-1",
        "*/*",
        "\xff\xff",
        ";;",
    ],
)
def test_other_content_types(call, kind):
    body = json.dumps({"questions": [question()]}).encode()
    response = call(
        "POST", "/v1/groups/g/predict", content=body, headers={"Content-Type": kind.encode("latin-1")}
    )
    check_problem(response, 415)
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    check_problem(call("POST", "/v1/groups/g/predict", content=body, headers=packed), 415)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=UTF-8"])
def test_content_types_of_json(call, kind):
    body = json.dumps({"context": [answer()], "questions": [question()]}).encode()
    assert call("POST", "/v1/predict", content=body, headers={"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize("declared", [True, False])
def test_a_long_body_is_not_read_to_its_end(service, declared):
    sent = 0

    async def chunks():
        nonlocal sent
        for _ in range(100):
            sent += 100_000
            yield b" " * 100_000

    headers = {"Content-Type": "application/json"} | ({"Content-Length": "10000000"} if declared else {})
    response = Caller(service)("PUT", "/v1/groups/g", content=chunks(), headers=headers)
    check_problem(response, 413)
    assert response.headers["connection"] == "close"
    assert sent == (0 if declared else 1_100_000)


@pytest.mark.parametrize("length", ["-1", "x", "1" * 5000, "²", "1e3"])
def test_content_lengths_that_are_none(service, length):
    response = Caller(service)(
        "PUT", "/v1/groups/g", content=b"{}", headers={"Content-Length": length.encode("latin-1")}
    )
    check_problem(response, 413 if length[0] == "1" and "e" not in length else 400)


NASTY_PATHS = (
    "/", "/v1", "/v1/", "/v1/groups/", "//v1//groups", "/v1/groups/a/b", "/v1/groups/%00", "/v1/groups/a%00b",
    "/v1/groups/%2e%2e", "/v1/groups/..%2f..%2fetc", "/v1/groups/%ff", "/v1/groups/%ed%a0%80",
    "/v1/groups/a%0a",
    "/v1/groups/" + "a" * 201, "/v1/groups/" + "a" * 60_000, "/v1/groups/%F0%9F%98%80", "/v1/groups/a b",
    "/v1/groups/%25", "/v1/groups?limit=%00", "/v1/groups?after=%00", "/v1/groups?limit=" + "9" * 5000,
    "/v1/groups?limit=1&limit=x", "/V1/groups", "/v1/groups/-", "/docs", "/redoc",
)  # fmt: skip


@pytest.mark.parametrize("path", NASTY_PATHS, ids=range(len(NASTY_PATHS)))
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_nasty_paths(call, path, method):
    url = httpx.URL("http://gpo").copy_with(raw_path=path.encode())
    response = call(method, url, GROUP if method == "PUT" else None)
    check_problem(response, response.status_code)
    assert response.status_code in {404, 405, 414, 422}


def test_headers_that_are_huge_or_many(call):
    assert call("GET", "/v1/groups", headers={"X-Long": "x" * 1_000_000}).status_code == 431
    assert call("GET", "/v1/groups", headers={f"X-{i}": "x" for i in range(5000)}).status_code == 200


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/groups/g", "DELETE, GET, PUT"),
        ("/v1/groups", "GET"),
        ("/v1/predict", "POST"),
        ("/v1/groups/g/rank", "POST"),
        ("/healthz", "GET"),
    ],
)
def test_other_methods(call, path, allowed):
    for method in ("PATCH", "OPTIONS", "TRACE", "BREW"):
        response = call(method, path)
        check_problem(response, 405)
        assert response.headers["allow"] == allowed
