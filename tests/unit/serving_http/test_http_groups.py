"""The HTTP API: groups, and predictions for them."""

import random

import numpy as np
import pytest
from http_caller import GROUP, Caller, check_problem
from serving_backend import BUNDLE, answer, question
from synthetic import survey

from gpo_ray.errors import QuestionTooLongError
from gpo_ray.model.texts import AnsweredSlate
from gpo_ray.preferences.labels import slate_key
from gpo_ray.prior.recognition import OTHER_RESPONSES
from gpo_ray.serving.api.http import create_api
from gpo_ray.serving.settings import ServeSettings


def test_group_from_birth_to_death(call):
    made = call("PUT", "/v1/groups/g1", GROUP)
    assert made.status_code == 201
    body = made.json()
    assert (body["group_id"], body["version"], body["description"]) == ("g1", 1, GROUP["description"])
    assert made.headers["etag"] == f'"{body["etag"]}"'
    got = call("GET", "/v1/groups/g1")
    assert (got.status_code, got.json(), got.headers["etag"]) == (200, body, made.headers["etag"])
    assert body["context"][0]["share"] == [0.2, 0.3, 0.5]
    assert body["context"][1]["choice"] == 2
    again = call("PUT", "/v1/groups/g1", GROUP)
    assert (again.status_code, again.json()) == (200, body)
    changed = call("PUT", "/v1/groups/g1", {"context": [answer(3)]})
    assert (changed.status_code, changed.json()["version"], changed.json()["description"]) == (200, 2, "")
    gone = call("DELETE", "/v1/groups/g1")
    assert (gone.status_code, gone.content) == (204, b"")
    for method in ("GET", "DELETE"):
        check_problem(call(method, "/v1/groups/g1"), 404)


def test_question_that_is_too_long_is_not_repeated(service, call):
    service.backend.fails = QuestionTooLongError(
        "a secret of mine", "9000 tokens, the model reads at most 512"
    )
    body = {"context": [answer(0)], "questions": [question()]}
    assert "a secret of mine" in str(service.backend.fails)
    assert "secret" not in check_problem(call("POST", "/v1/predict", body), 422)["detail"]


def test_conditions(call):
    tag = call("PUT", "/v1/groups/g", GROUP, headers={"If-None-Match": "*"}).headers["etag"]
    other = {"context": [answer(5)]}
    check_problem(call("PUT", "/v1/groups/g", other, headers={"If-None-Match": "*"}), 409)
    for wrong in ('"1-0000"', f"W/{tag}", '""', '"a", "b"'):
        check_problem(call("PUT", "/v1/groups/g", other, headers={"If-Match": wrong}), 409)
        check_problem(call("DELETE", "/v1/groups/g", headers={"If-Match": wrong}), 409)
    for malformed in ("x", '"', '"a" "b"', "", "*, *"):
        check_problem(call("PUT", "/v1/groups/g", other, headers={"If-Match": malformed}), 400)
    check_problem(call("PUT", "/v1/groups/g", other, headers={"If-None-Match": tag}), 400)
    check_problem(call("PUT", "/v1/groups/none", other, headers={"If-Match": "*"}), 409)
    assert call("GET", "/v1/groups/g").headers["etag"] == tag
    changed = call("PUT", "/v1/groups/g", other, headers={"If-Match": f'"other", {tag}'})
    assert changed.status_code == 200
    check_problem(call("DELETE", "/v1/groups/g", headers={"If-Match": tag}), 409)
    assert call("DELETE", "/v1/groups/g", headers={"If-Match": changed.headers["etag"]}).status_code == 204


def test_pages(call):
    for i in random.Random(0).sample(range(7), 7):
        call("PUT", f"/v1/groups/g{i}", {"context": [answer(j) for j in range(i + 1)]})
    seen, after = [], None
    while True:
        page = call("GET", "/v1/groups", params={"limit": 3} | ({"after": after} if after else {})).json()
        seen += page["groups"]
        after = page["next"]
        if after is None:
            break
        assert len(page["groups"]) == 3
    assert [(g["group_id"], g["answers"]) for g in seen] == [(f"g{i}", i + 1) for i in range(7)]
    assert call("GET", "/v1/groups").json()["next"] is None
    wrong = (
        {"limit": 0},
        {"limit": 101},
        {"limit": "x"},
        {"after": ""},
        {"after": "a" * 201},
        {"after": "\0"},
    )
    for params in (*wrong, {"limt": 1}, {"": ""}):
        check_problem(call("GET", "/v1/groups", params=params), 422)


@pytest.mark.parametrize(
    "limit",
    ["1_0", "5.0", "+5", "-5", " 5", "5 ", "05", "5e0", "0x5", "\u0665", "\uff15", "5\n", "", "9" * 5_000],
)
def test_an_integer_in_a_query_has_one_spelling(call, limit):
    found = check_problem(call("GET", "/v1/groups", params={"limit": limit}), 422)
    assert [e["field"] for e in found["errors"]] == ["query.limit"]
    assert limit.strip() == "" or limit not in found["errors"][0]["message"]


def test_a_parameter_is_given_once(call):
    for limits in ("limit=5&limit=6", "limit=5&limit=5", "limit=x&limit=5", "limit&limit=5"):
        found = check_problem(call("GET", f"/v1/groups?{limits}"), 422)
        assert found["errors"] == [{"field": "query.limit", "message": "Given more than once"}]
    assert call("GET", "/v1/groups?limit=5&after=a").status_code == 200


def test_pages_go_on_after_an_id_that_an_earlier_version_took(service, call):
    for group_id in ("a", "my group / é", "z"):
        service.registry.put("north", group_id, "d" * 5_000, (AnsweredSlate(**answer()),))
    first = call("GET", "/v1/groups", params={"limit": 2}).json()
    assert first["next"] == "my group / é"
    rest = call("GET", "/v1/groups", params={"after": first["next"]}).json()
    assert [g["group_id"] for g in rest["groups"]] == ["z"]


def expected(backend, context, questions):
    """What the estimator itself predicts."""

    def read(items):
        return [(i["prompt"], i["responses"]) for i in items]

    shares = [a["share"] if "share" in a else np.eye(len(a["responses"]))[a["choice"]] for a in context]
    known = list(zip(backend.encode(read(context)), shares, strict=True))
    group = backend.model.adapt(known, [slate_key(*s) for s in read(context)])
    asked, keys = backend.encode(read(questions)), [slate_key(*s) for s in read(questions)]
    return group.predict(asked, keys), group.intervals(asked, keys)


def test_predictions_are_the_estimators(call, backend):
    questions = [question(i) for i in range(9, 14)]
    questions.append({"prompt": "Question number 1?", "responses": ["answer 0 of 1", "answer 1 of 1"]})
    version = call("PUT", "/v1/groups/g", GROUP).json()["version"]
    by_id = call("POST", "/v1/groups/g/predict", {"questions": questions}).json()
    inline = call("POST", "/v1/predict", {"context": GROUP["context"], "questions": questions}).json()
    assert (by_id["group"], by_id["version"], by_id["bundle"]) == ("g", version, BUNDLE)
    assert (inline["group"], inline["version"], inline["bundle"]) == (None, None, BUNDLE)
    assert by_id["predictions"] == inline["predictions"]
    for got, want, ends, asked in zip(
        by_id["predictions"], *expected(backend, GROUP["context"], questions), questions, strict=True
    ):
        np.testing.assert_allclose(got["share"], want, atol=1e-5)
        np.testing.assert_allclose(got["interval"], ends, atol=1e-5)
        assert (got["prompt"], got["responses"]) == (asked["prompt"], asked["responses"])
        assert sum(got["language_model"]) == pytest.approx(1)


def test_ranking(call, backend):
    call("PUT", "/v1/groups/g", GROUP)
    got = call("POST", "/v1/groups/g/rank", question()).json()
    (share,), (ends,) = expected(backend, GROUP["context"], [question()])
    assert [r["index"] for r in got["ranked"]] == np.argsort(-share, kind="stable").tolist()
    for r in got["ranked"]:
        assert r["response"] == question()["responses"][r["index"]]
        np.testing.assert_allclose(r["share"], share[r["index"]], atol=1e-5)
        np.testing.assert_allclose(r["interval"], ends[r["index"]], atol=1e-5)


def test_a_change_by_another_replica_is_seen_at_once(call, service):
    other = Caller(make_service_like(service))
    call("PUT", "/v1/groups/g", GROUP)
    ask = ("POST", "/v1/groups/g/predict", {"questions": [question()]})
    before = [c(*ask).json() for c in (call, other)]
    assert before[0] == before[1]
    other("PUT", "/v1/groups/g", {"context": [answer(4, choice=0)]})
    after = [c(*ask).json() for c in (call, other)]
    assert after[0] == after[1] != before[0]
    other("DELETE", "/v1/groups/g")
    check_problem(call(*ask), 404)


def make_service_like(service):
    """Another replica of a service."""
    from dataclasses import replace

    settings = ServeSettings(bundle="tiny")
    return replace(service, api=create_api(settings, service.backend, service.registry, service.keys))


def test_the_registry_is_read_once_for_one_version(call, service, monkeypatch):
    call("PUT", "/v1/groups/g", GROUP)
    reads, get = [], service.registry.get
    monkeypatch.setattr(service.registry, "get", lambda *a: reads.append(a) or get(*a))
    for _ in range(3):
        assert call("POST", "/v1/groups/g/rank", question()).status_code == 200
    assert reads == [("north", "g")]


def turned(item, order):
    """A question or an answer with its responses in another order and with other spaces."""
    responses = [f"{item['responses'][i]} " for i in order]
    changed = item | {"prompt": f" {item['prompt']}", "responses": responses}
    if "share" in item:
        changed["share"] = [item["share"][i] for i in order]
    if "choice" in item:
        changed["choice"] = order.index(item["choice"])
    return changed


SEEN = [
    {"prompt": q.prompt, "responses": list(q.responses)} for q in survey(groups=8, count=12).iter_questions()
]
"""What the meta-train groups were asked."""


def test_shares_follow_labels(call):
    context = [q | {"share": np.eye(len(q["responses"]))[-1].tolist()} for q in SEEN[:3]]
    context.append(SEEN[3] | {"choice": 0})
    asked = [SEEN[4], SEEN[5], question(9)]
    plain = call("POST", "/v1/predict", {"context": context, "questions": asked}).json()["predictions"]
    orders = [[*range(len(q["responses"]))][::-1] for q in (*context, *asked)]
    call(
        "PUT", "/v1/groups/turned", {"context": [turned(a, o) for a, o in zip(context, orders, strict=False)]}
    )
    questions = [turned(SEEN[4], orders[4]), turned(SEEN[5], orders[5]), asked[2]]
    for _ in range(2):  # the second time from what is kept
        reply = call("POST", "/v1/groups/turned/predict", {"questions": questions}).json()
        for want, got, asked_now in zip(plain[:2], reply["predictions"], questions, strict=False):
            for name in ("share", "interval"):
                np.testing.assert_allclose(got[name][::-1], want[name], atol=1e-9)
            assert got["responses"] == asked_now["responses"]
        np.testing.assert_allclose(reply["predictions"][2]["share"], plain[2]["share"], atol=1e-6)


def test_what_is_recognised_is_said(call):
    seen = SEEN[0]
    asked = [
        seen | {"responses": seen["responses"][::-1]},
        seen | {"responses": [*seen["responses"], "Unsure"]},
        {"prompt": "Never asked?", "responses": ["Yes", "No"]},
    ]
    found = call("POST", "/v1/predict", {"context": GROUP["context"], "questions": asked}).json()[
        "predictions"
    ]
    assert [(p["seen"], p["recognised"], p["note"]) for p in found] == [
        (True, True, None),
        (False, False, OTHER_RESPONSES),
        (False, None, None),
    ]


def test_an_answer_whose_prompt_is_known_with_other_responses_is_noted(call):
    other = SEEN[0] | {"responses": ["Certainly", "Hardly"]}
    context = [SEEN[2] | {"choice": 0}, {"prompt": "Never asked?", "responses": ["Yes", "No"], "choice": 0}]
    context.append(other | {"share": [0.25, 0.75]})
    body = {"context": context, "questions": SEEN[1:2]}
    for _ in range(2):  # the second time from what is kept
        (note,) = call("POST", "/v1/predict", body).json()["notes"]
        assert note.startswith(f"answer {len(context) - 1} (")
        assert note.endswith(OTHER_RESPONSES)
    assert call("POST", "/v1/predict", body | {"context": context[:2]}).json()["notes"] == []


@pytest.mark.parametrize("responses", [["Yes", "yes"], ["Don't", "Don’t"]])
def test_responses_that_differ_in_little_are_refused_without_their_texts(call, responses):
    body = {"context": GROUP["context"], "questions": [{"prompt": "So?", "responses": responses}]}
    reply = call("POST", "/v1/predict", body)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["message"].startswith("responses 0 and 1 are the same: they differ in")
    assert responses[0] not in reply.text


def test_a_question_is_answered_once(call):
    first = GROUP["context"][0]
    body = {"context": [first, turned(first, [*range(len(first["responses"]))][::-1])]}
    reply = call("PUT", "/v1/groups/twice", body)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["message"].startswith("answers 0 and 1 are to the same question")


def test_few_people_count_less(call):
    def predicted(n):
        answered = SEEN[0] | {"share": [1.0, *[0.0] * (len(SEEN[0]["responses"]) - 1)]} | n
        reply = call("POST", "/v1/predict", {"context": [answered], "questions": [SEEN[1]]})
        assert reply.status_code == 200, reply.text
        return reply.json()["predictions"][0]["share"]

    unknown, few, many = predicted({}), predicted({"n": 2}), predicted({"n": 1_000_000_000})
    np.testing.assert_allclose(many, unknown, atol=1e-6)
    assert max(np.abs(np.subtract(few, unknown))) > 1e-3
    bodies = [SEEN[0] | {"choice": 0, "n": 3}, SEEN[0] | {"share": [1.0], "n": 0}]
    for body in bodies:
        assert call("PUT", "/v1/groups/n", {"context": [body]}).status_code == 422


def test_the_number_of_people_is_kept(call):
    answered = SEEN[0] | {"share": [1.0, *[0.0] * (len(SEEN[0]["responses"]) - 1)], "n": 12.5}
    call("PUT", "/v1/groups/kept", {"context": [answered]})
    assert call("GET", "/v1/groups/kept").json()["context"][0]["n"] == 12.5
