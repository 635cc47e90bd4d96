"""What a page's forms cost is bounded."""

import asyncio
from types import SimpleNamespace

import pytest
from nicegui import Client, ui
from nicegui.events import GenericEventArguments

from gpo_ray.errors import DataError
from gpo_ray.model.texts import Slate
from gpo_ray.serving.page import elements as page_elements
from gpo_ray.serving.page.elements import MAX_FORM_RESPONSES, AnswerForms, QuestionPicker


@pytest.fixture
def page():
    with Client(ui.page("/")) as client:
        yield client
    client.delete()


def slates(count, responses):
    return [Slate(prompt=f"q{i}", responses=tuple(f"r{j}" for j in range(responses))) for i in range(count)]


def texts(page):
    return [e.text for e in page.elements.values() if getattr(e, "text", None)]


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
    each = MAX_FORM_RESPONSES // 2

    def add(prompt):
        picker._prompt.value, picker._responses.value = prompt, "\n".join(f"r{j}" for j in range(each))
        asyncio.run(picker._add(SimpleNamespace(say=lambda text: None)))

    for prompt in ("one", "two", "two"):  # the same again costs nothing
        add(prompt)
    with pytest.raises(DataError, match="load the page again"):
        add("three")
    assert [s.prompt for s in picker.chosen()] == ["one", "two"]


def test_forms_are_made_once_a_second_whatever_the_visitor_does(page):
    forms = AnswerForms()
    for i in range(1, 40):
        forms.show(slates(1 + i % 3, 2))
    assert [t for t in texts(page) if t.startswith("q")] == ["q0", "q1"]  # the first of them
    assert sum(isinstance(e, ui.timer) for e in page.elements.values()) == 1
    forms._make()  # as the timer does
    assert [t for t in texts(page) if t.startswith("q")] == ["q0"]  # the last


def test_what_is_chosen_counts_once(page):
    picker = QuestionPicker(SimpleNamespace(survey=None))
    picker._slates = {str(i): s for i, s in enumerate(slates(3, 2))}
    picker._select.set_options(picker._labels(), value=[])
    chosen = [{"value": 1, "label": "q1"}] * 50_000
    event = GenericEventArguments(sender=picker._select, client=page, args=chosen)
    assert picker._select._event_args_to_value(event) == ["1"]
    event.args = [{"value": i} for i in (2, 0, 2)]
    assert picker._select._event_args_to_value(event) == ["2", "0"]


def test_a_long_question_has_a_short_label(page):
    picker = QuestionPicker(SimpleNamespace(survey=None))
    picker._slates = {"k": Slate(prompt="x" * 4000, responses=("a", "b"))}
    assert len(picker._labels()["k"]) <= 200


def test_what_a_choice_costs_does_not_grow_with_what_there_is_to_choose_from(page, monkeypatch):
    picker = QuestionPicker(SimpleNamespace(survey=None))
    picker._slates = {str(i): s for i, s in enumerate(slates(700, 2))}
    picker._select.set_options(picker._labels(), value=[])
    made = []
    monkeypatch.setattr(picker._select, "_update_options", lambda: made.append(1))
    (listener,) = (e for e in picker._select._event_listeners.values() if e.type.startswith("update:"))
    for i in range(20):
        message = {"listener_id": listener.id, "args": [{"value": i, "label": "any"}, {"value": 699}]}
        picker._select._handle_event(message)
    assert [s.prompt for s in picker.chosen()] == ["q19", "q699"]
    assert picker._select._props["model-value"] == [{"value": i, "label": f"q{i}"} for i in (19, 699)]
    assert made == []
    assert len(picker._select._props["options"]) == 700
    picker._slates["new"] = picker._slates["0"]
    monkeypatch.undo()
    picker._select.set_options(picker._labels(), value=["new"])
    assert picker._select._props["options"][700] == {"value": 700, "label": "q0"}
    assert picker._select._props["model-value"] == [{"value": 700, "label": "q0"}]


@pytest.mark.parametrize("sent", [None, "x", 1, {}, ["x", None, 1], [{"value": 3}], [{"value": -1}]])
def test_choices_that_there_are_not_are_none(page, sent):
    picker = QuestionPicker(SimpleNamespace(survey=None))
    picker._slates = {str(i): s for i, s in enumerate(slates(3, 2))}
    picker._select.set_options(picker._labels(), value=[])
    event = GenericEventArguments(sender=picker._select, client=page, args=sent)
    assert picker._select._event_args_to_value(event) == []
