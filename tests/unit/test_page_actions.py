"""The page takes what the API takes, and says in words what it does not."""

import asyncio
from functools import partial

import pytest
from page_backend import small_survey
from pydantic import TypeAdapter, ValidationError
from serving_backend import answer

from gpo_ray.errors import DataError
from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.serving.api.schemas import GroupId, GroupPut, PredictRequest
from gpo_ray.serving.inference.backend import SlatePrediction, SlatePredictions
from gpo_ray.serving.page.actions import (
    MAX_LABEL_CHARACTERS,
    MAX_LISTED_GROUPS,
    PageActions,
    parse_slate,
)
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.groups import Registry
from gpo_ray.serving.settings import ServeSettings

ANSWER = AnsweredSlate(**answer())


class Even:
    """Predicts equal shares."""

    async def predict(self, context, questions, caller=""):
        even = [[1 / len(q.responses)] * len(q.responses) for q in questions]
        return SlatePredictions([SlatePrediction(share, None, share) for share in even], "even")


@pytest.fixture
def actions(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/groups.sqlite")
    yield PageActions(ServeSettings(bundle="b", require_keys=False), Even(), Registry(engine), None)
    engine.dispose()


def options(count):
    return tuple(f"response {i}" for i in range(count))


def choice_of(**values):
    return AnsweredSlate(**({"prompt": "p", "responses": ("a", "b"), "choice": 0} | values))


GROUPS = {
    "as it should be": ("my.group_1=a:b-c", "a description", [ANSWER]),
    "longest": ("a" * 200, "d" * 1_000, [choice_of(prompt="p" * 4_000, responses=options(4))] * 500),
    "id with blanks and a slash": ("my group / é", "", [ANSWER]),
    "id with a slash": ("a/b", "", [ANSWER]),
    "id that begins with a dot": (".a", "", [ANSWER]),
    "id of two lines": ("a\nb", "", [ANSWER]),
    "long id": ("a" * 201, "", [ANSWER]),
    "description of 5 MB": ("g", "d" * 5_000_000, [ANSWER]),
    "long description": ("g", "d" * 1_001, [ANSWER]),
    "description with NUL": ("g", "a\0b", [ANSWER]),
    "5,000 responses": ("g", "", [choice_of(responses=options(5_000))]),
    "501 responses": ("g", "", [choice_of(responses=options(501))]),
    "long response": ("g", "", [choice_of(responses=("a", "b" * 1_001))]),
    "long prompt": ("g", "", [choice_of(prompt="p" * 4_001)]),
    "501 answers": ("g", "", [ANSWER] * 501),
}


@pytest.mark.parametrize(("group_id", "description", "answers"), GROUPS.values(), ids=GROUPS)
def test_a_group_is_registered_by_the_page_if_the_api_would(actions, group_id, description, answers):
    body = {"description": description, "context": [a.model_dump(exclude_none=True) for a in answers]}
    try:
        TypeAdapter(GroupId).validate_python(group_id)
        GroupPut.model_validate(body)
        fit = True
    except ValidationError:
        fit = False
    registering = actions.register(None, group_id, description, answers)
    if fit:
        assert asyncio.run(registering) == group_id
        assert asyncio.run(actions.groups(None)).keys() == {group_id}
        return
    with pytest.raises(DataError) as caught:
        asyncio.run(registering)
    assert len(str(caught.value)) < 200
    assert str(caught.value).endswith(".")
    assert "validation error" not in str(caught.value)
    assert asyncio.run(actions.groups(None)) == {}


def test_mistakes_are_said_in_words(actions):
    def said(*group):
        with pytest.raises(DataError) as caught:
            asyncio.run(actions.register(None, *group))
        return str(caught.value)

    assert said(*GROUPS["id with blanks and a slash"]).startswith("The id must be 1 to 200 letters, digits")
    assert said(*GROUPS["long description"]) == "The description has more than 1,000 characters."
    assert said(*GROUPS["501 responses"]) == "There are more than 500 responses."
    assert said(*GROUPS["long response"]) == "The answer 1 response 2 has more than 1,000 characters."
    assert said(*GROUPS["501 answers"]) == "There are more than 500 answers."
    with pytest.raises(DataError, match="more than 500 responses"):
        parse_slate("q", "\n".join(options(5_000)))
    with pytest.raises(DataError, match="The prompt has more than 4,000 characters"):
        parse_slate("q" * 4_001, "a\nb")


@pytest.mark.parametrize("responses", [options(501), ("a", "b" * 1_001)], ids=["many", "long"])
def test_a_question_is_predicted_by_the_page_if_the_api_would(actions, responses):
    slate = Slate(prompt="p", responses=responses)
    asyncio.run(actions.register(None, "g", "", [ANSWER]))
    with pytest.raises(ValidationError):
        PredictRequest.model_validate({"questions": [slate.model_dump()]})
    for predicting in (actions.predict(None, ["g"], [slate]), actions.rank(None, "g", slate)):
        with pytest.raises(DataError, match="more than"):
            asyncio.run(predicting)
    fits = Slate(prompt="p", responses=options(500))
    assert len(asyncio.run(actions.predict(None, ["g"], [fits]))[0].distributions) == 2


def test_questions_that_no_request_may_hold_are_not_offered(tmp_path):
    small = small_survey()
    many = Question("many", "small", "Which of these?", options(501))
    long = Question("long", "small", "p" * 4_001, ("a", "b"))
    questions = [*small.iter_questions(), many, long]
    columns = {c: small.preferences[c].to_pylist() for c in ("group_id", "question_id", "share")}
    groups = [Group(g["group_id"], g["kind"]) for g in small.groups.to_pylist()]
    PreferenceDataset.build(questions, groups, columns).save(str(tmp_path / "survey"))
    engine = open_database(f"sqlite:///{tmp_path}/groups.sqlite")
    settings = ServeSettings(bundle="b", require_keys=False, survey=str(tmp_path / "survey"))
    survey = PageActions(settings, Even(), Registry(engine), None).survey
    assert survey.questions.keys() == {q.question_id for q in small.iter_questions()}
    assert survey.left_out == 2
    engine.dispose()


def test_groups_are_offered_up_to_a_number_with_short_labels(actions):
    put = partial(actions._registry.put, "public", context=(ANSWER,))  # noqa: SLF001 -- faster than the page
    for i in range(MAX_LISTED_GROUPS + 2):
        put(f"{i:04}", description="é" * 1_000)
    found = asyncio.run(actions.groups(None))
    assert list(found) == [f"{i:04}" for i in range(MAX_LISTED_GROUPS)]
    assert set(map(len, found.values())) == {MAX_LABEL_CHARACTERS}
    assert found["0000"].startswith("0000 – éé")
    assert found["0000"].endswith("…")
