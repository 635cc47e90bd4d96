"""What a page's forms cost is bounded."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from nicegui import Client, ui
from nicegui.json import dumps

from gpo_ray.errors import DataError
from gpo_ray.model.texts import Slate
from gpo_ray.serving.page import elements as page_elements
from gpo_ray.serving.page.actions import MAX_LABEL_CHARACTERS, MAX_LISTED_GROUPS
from gpo_ray.serving.page.elements import (
    MAX_FORM_RESPONSES,
    AnswerForms,
    Choice,
    Choices,
    QuestionPicker,
)


@pytest.fixture
def page():
    with Client(ui.page("/")) as client:
        yield client
    client.delete()


def slates(count, responses):
    return [Slate(prompt=f"q{i}", responses=tuple(f"r{j}" for j in range(responses))) for i in range(count)]


def texts(page):
    return [e.text for e in page.elements.values() if getattr(e, "text", None)]


def only(page, kind):
    """The one element of a kind."""
    (found,) = (e for e in page.elements.values() if type(e) is kind)
    return found


def picker_of(asked):
    """A picker of a survey's questions."""
    survey = SimpleNamespace(questions={str(i): s for i, s in enumerate(asked)}, left_out=0)
    return QuestionPicker(SimpleNamespace(survey=survey))


def type_in(page, picker, prompt, responses):
    """A visitor's own question."""
    only(page, ui.input).value, only(page, ui.textarea).value = prompt, "\n".join(responses)
    asyncio.run(picker.add_typed(SimpleNamespace(say=lambda text: None)))


def choose(page, sent, kind=Choices):
    """What a browser does when something is chosen, or says that it was."""
    select = only(page, kind)
    listeners = select._event_listeners.values()  # noqa: SLF001 -- a browser is told their ids
    (listener,) = (e for e in listeners if e.type.startswith("update:"))
    page.handle_event({"id": select.id, "listener_id": listener.id, "args": [json.dumps(sent)]})


def test_forms_are_of_as_many_questions_as_there_is_room_for(page, monkeypatch):
    forms = AnswerForms()
    each = MAX_FORM_RESPONSES // 4
    forms.show(slates(6, each))
    assert [t for t in texts(page) if t.startswith("q")] == ["q0", "q1", "q2", "q3"]
    assert "No form for the last 2 questions." in texts(page)
    monkeypatch.setattr(page_elements, "MIN_REBUILD_SECONDS", 0.0)
    forms.show(slates(3, each))
    assert not any("No form" in t for t in texts(page))
    assert [t for t in texts(page) if t.startswith("q")] == ["q0", "q1", "q2"]


def test_questions_typed_into_a_page_have_an_end(page):
    picker = QuestionPicker(SimpleNamespace(survey=None))
    responses = [f"r{j}" for j in range(MAX_FORM_RESPONSES // 2)]
    for prompt in ("one", "two", "two"):  # the same again costs nothing
        type_in(page, picker, prompt, responses)
    with pytest.raises(DataError, match="load the page again"):
        type_in(page, picker, "three", responses)
    assert [s.prompt for s in picker.chosen()] == ["one", "two"]


def test_forms_are_made_once_a_second_whatever_the_visitor_does(page):
    forms = AnswerForms()
    for i in range(1, 40):
        forms.show(slates(1 + i % 3, 2))
    assert [t for t in texts(page) if t.startswith("q")] == ["q0", "q1"]  # the first of them
    only(page, ui.timer).callback()
    assert [t for t in texts(page) if t.startswith("q")] == ["q0"]  # the last


def test_what_is_chosen_counts_once(page):
    picker = picker_of(slates(3, 2))
    choose(page, [{"value": 1, "label": "q1"}] * 50_000)
    assert [s.prompt for s in picker.chosen()] == ["q1"]
    choose(page, [{"value": i} for i in (2, 0, 2)])
    assert [s.prompt for s in picker.chosen()] == ["q2", "q0"]


def test_a_long_question_has_a_short_label(page):
    picker_of([Slate(prompt="x" * 4000, responses=("a", "b"))])
    assert len(only(page, Choices).options["0"]) <= 200


def test_what_a_choice_costs_does_not_grow_with_what_there_is_to_choose_from(page, monkeypatch):
    picker = picker_of(slates(700, 2))
    select = only(page, Choices)
    made = []
    monkeypatch.setattr(select, "_update_options", lambda: made.append(1))
    for i in range(20):
        choose(page, [{"value": i, "label": "any"}, {"value": 699}])
    assert [s.prompt for s in picker.chosen()] == ["q19", "q699"]
    chosen = [{"value": i, "label": f"q{i}"} for i in (19, 699)]
    assert select.props["model-value"] == chosen
    assert made == []
    assert len(select.props["options"]) == 700
    monkeypatch.undo()
    type_in(page, picker, "new", ("a", "b"))
    new = {"value": 700, "label": "new"}
    assert select.props["options"][700] == new
    assert select.props["model-value"] == [*chosen, new]


@pytest.mark.parametrize("sent", [None, "x", 1, {}, ["x", None, 1], [{"value": 3}], [{"value": -1}]])
def test_choices_that_there_are_not_are_none(page, sent):
    picker = picker_of(slates(3, 2))
    assert len(picker.chosen()) == 3
    choose(page, sent)
    assert picker.chosen() == []


@pytest.mark.parametrize("sent", [None, "x", 1, {}, [], {"value": 3}, {"value": -1}, {"value": "0"}])
def test_a_choice_that_there_is_not_is_none(page, sent):
    choice = Choice({"a": "A", "b": "B", "c": "C"}, value="b")
    choose(page, sent, Choice)
    assert choice.value is None


def test_a_choice_is_laid_out_by_itself(page, monkeypatch):
    choice = Choice({str(i): f"label {i}" for i in range(300)}).props("outlined")
    made = []
    monkeypatch.setattr(choice, "_update_options", lambda: made.append(1))
    for i in range(20):
        choose(page, {"value": i, "label": "any"}, Choice)
    assert choice.value == "19"
    assert choice.props["model-value"] == {"value": 19, "label": "label 19"}
    choice.set_options(dict(choice.options))
    assert made == []
    monkeypatch.undo()
    choice.set_options({"new": "New", "19": "label 19"})
    assert choice.props["options"] == [{"value": 0, "label": "New"}, {"value": 1, "label": "label 19"}]
    assert choice.props["model-value"] == {"value": 1, "label": "label 19"}


def test_what_a_choice_of_groups_sends_is_small(page):
    labels = {str(i): "é" * MAX_LABEL_CHARACTERS for i in range(MAX_LISTED_GROUPS)}
    choice = Choice(labels)
    choice.set_options(labels)
    assert len(dumps(choice._to_dict()).encode()) < 70_000  # noqa: SLF001 -- what NiceGUI sends
