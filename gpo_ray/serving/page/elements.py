"""Elements of the page: texts, bars, and forms for questions and answers."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import GenericEventArguments

from gpo_ray.errors import DataError, GPOError
from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.preferences.labels import question_key
from gpo_ray.serving.inference.backend import Overloaded, TooSlow, Unavailable
from gpo_ray.serving.page.actions import (
    Distribution,
    PageActions,
    Shown,
    answer_by_choice,
    answer_by_percent,
    parse_slate,
)
from gpo_ray.serving.page.log import log_failure

OFFERED = 3
"""Number of the survey's questions that are chosen at first."""
MAX_FORM_RESPONSES = 100
"""Most responses of the questions that a page has forms for, or that a visitor types; they take the server
0.05 s."""
MIN_REBUILD_SECONDS = 1.0
"""Least seconds between two times that a page's forms are made, whatever its visitor does meanwhile."""
MAX_BARS = 400
"""Most bars that are drawn at once; each is a share of a response."""
TYPED = "outlined debounce=150"
"""Properties of text fields: what is typed is sent after a short pause or when the field is left, not with
each letter."""
MAX_LABEL_CHARACTERS = 200
"""Most characters of a question in the list to choose from."""
KINDS = {
    "predicted": "predicted, with its 90 % interval where the model gives one",
    "language-model": "the language model alone",
    "real": "real, as answered",
}


class PlainText(TextElement):
    """An HTML element that may hold a text, which is never parsed as HTML."""

    def __init__(self, tag: str, text: str = "", **attributes: str) -> None:
        super().__init__(tag=tag, text=text)
        self.props.update({k.replace("_", "-"): v for k, v in attributes.items()})


def text_input(label: str) -> ui.input:
    """Make a labelled field for one line of text."""
    return ui.input(label).props(TYPED)


def lines_input(label: str) -> ui.textarea:
    """Make a labelled field for several lines of text."""
    return ui.textarea(label).props(f"{TYPED} autogrow")


def count(number: int, noun: str) -> str:
    """Return a number with its noun in singular or plural."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Submit:
    """A button with its outcome beneath it, which screen readers read out.

    Args:
        label: text on the button.
        action: function that is called with this object, to report through it; its exceptions are reported,
            too.
    """

    def __init__(self, label: str, action: Callable[[Submit], Awaitable[None]]) -> None:
        self._action = action
        self._button = ui.button(
            label, on_click=self.run, color=None
        )  # Quasar's blue has too little contrast
        self._button.props("no-caps unelevated").classes("gpo-button")
        self._problem = PlainText("p", role="alert").classes("gpo-problem")
        self._status = PlainText("p", role="status").classes("gpo-status")
        self._results = PlainText("div").classes("gpo-results")
        self._busy = False

    async def run(self) -> None:
        """Call the action, unless it is running already."""
        if self._busy:
            return
        self._busy, problem = True, ""
        self._problem.text = ""
        self.say("Working …")
        try:
            await self._action(self)
        except GPOError as e:
            problem = str(e)
        except (Overloaded, TooSlow, Unavailable):
            problem = "The service is busy. Try again in a moment."
        except Exception as e:  # noqa: BLE001 -- a visitor must not end the page
            log_failure(e)
            problem = "Something went wrong in the service; its log says what."
        self._busy = False
        if problem and not self._problem.is_deleted:
            self._results.clear()
            self.say("")
            self._problem.text = problem

    def say(self, text: str) -> None:
        """Show progress or success."""
        self._status.text = text

    def fresh_results(self) -> PlainText:
        """Empty the place for results and return it."""
        self._results.clear()
        return self._results


class KeptOptions(ui.select):
    """A list to choose from, whose options are laid out when they change, not whenever something is chosen.

    NiceGUI sends them all back with each choice, so that there should not be too many. A browser may name any
    item, or none that there is.
    """

    _laid_out: Any = None

    def update(self) -> None:
        """Send the element to the browser, with its options laid out again only if they changed."""
        if self.options is self._laid_out or self.options == self._laid_out:
            ui.element.update(self)
        else:
            self._laid_out = self.options
            super().update()

    def _update_values_and_labels(self) -> None:
        super()._update_values_and_labels()
        self._places = {value: i for i, value in enumerate(self._values)}

    def _named(self, items: list[Any]) -> list[Any]:
        numbers = [item.get("value") for item in items if isinstance(item, dict)]
        known = (i for i in numbers if isinstance(i, int) and 0 <= i < len(self._values))
        return list(dict.fromkeys(self._values[i] for i in known))

    def _laid(self, values: Iterable[Any]) -> list[dict[str, Any]]:
        numbers = [self._places[v] for v in values if v in self._places]
        return [{"value": i, "label": self._labels[i]} for i in numbers]


class Choice(KeptOptions):
    """A list to choose one item from."""

    def _event_args_to_value(self, e: GenericEventArguments) -> Any:
        return next(iter(self._named([e.args])), None)

    def _value_to_model_value(self, value: Any) -> Any:
        return next(iter(self._laid([value])), None)


class Choices(KeptOptions):
    """A list to choose several items from, each of them once.

    A browser may name an item several times, and each chosen item is kept with its label only once.
    """

    def _event_args_to_value(self, e: GenericEventArguments) -> Any:
        return self._named(e.args[: len(self._values)]) if isinstance(e.args, list) else []

    def _value_to_model_value(self, value: Any) -> Any:
        return self._laid(value or [])


class QuestionPicker:
    """A list to choose the survey's questions from, with a form for more questions."""

    def __init__(self, actions: PageActions, on_change: Callable[[list[Slate]], None] | None = None) -> None:
        self._slates = dict(actions.survey.questions) if actions.survey else {}
        self._typed = 0
        self._select = Choices(
            self._labels(),
            label="Questions",
            multiple=True,
            with_input=True,
            value=list(self._slates)[:OFFERED],
            on_change=lambda: on_change(self.chosen()) if on_change else None,
        ).props("outlined use-chips")
        if actions.survey and actions.survey.left_out:
            left_out = count(actions.survey.left_out, "question")
            PlainText("p", f"{left_out} of the survey cannot be asked: too many or too long responses.")
        with ui.expansion("Another question", value=not self._slates).classes("gpo-own"):
            self._prompt = text_input("Your question")
            self._responses = lines_input("Its responses, one on each line")
            Submit("Add question", self.add_typed)

    def _labels(self) -> dict[str, str]:
        return {k: s.prompt[:MAX_LABEL_CHARACTERS] for k, s in self._slates.items()}

    def chosen(self) -> list[Slate]:
        """Return the questions that are chosen now."""
        return [self._slates[k] for k in self._select.value]

    async def add_typed(self, submit: Submit) -> None:
        """Add the question that was typed, chosen, and say so.

        Raises:
            DataError: if it is no question, or one too many.
        """
        slate = parse_slate(self._prompt.value, self._responses.value)
        key = question_key(slate.prompt, slate.responses)
        if key not in self._slates:
            if self._typed + len(slate.responses) > MAX_FORM_RESPONSES:
                raise DataError(
                    f"The questions typed here have {MAX_FORM_RESPONSES} responses at most: load the page "
                    "again, or ask through the API."
                )
            self._typed += len(slate.responses)
        self._slates[key] = slate
        chosen = list(dict.fromkeys([*self._select.value, key]))
        self._select.set_options(self._labels(), value=chosen)
        self._prompt.value = self._responses.value = ""
        submit.say("Question added.")


class AnswerForms:
    """A form for each question that a new group answers; other forms keep their texts when one comes or goes.

    The forms have at most :data:`MAX_FORM_RESPONSES` responses together; further questions get no form.
    """

    def __init__(self) -> None:
        self._forms: dict[str, AnswerForm] = {}
        self._place = PlainText("div")
        self._left_out = PlainText("p")
        self._wanted: Sequence[Slate] = ()
        self._made = -math.inf
        self._waits = False

    def show(self, slates: Sequence[Slate]) -> None:
        """Show forms for these questions only; make them at most once in :data:`MIN_REBUILD_SECONDS`."""
        self._wanted = slates
        left = self._made + MIN_REBUILD_SECONDS - time.monotonic()
        if left <= 0:
            self._make()
        elif not self._waits:
            self._waits = True
            with self._place:
                ui.timer(left, self._make, once=True)

    def _make(self) -> None:
        self._made, self._waits, slates = time.monotonic(), False, self._wanted
        sizes = itertools.accumulate(len(s.responses) for s in slates)
        shown = [s for s, size in zip(slates, sizes, strict=True) if size <= MAX_FORM_RESPONSES]
        left_out = len(slates) - len(shown)
        self._left_out.text = f"No form for the last {count(left_out, 'question')}." if left_out else ""
        wanted = {question_key(s.prompt, s.responses): s for s in shown}
        for key in self._forms.keys() - wanted.keys():
            self._forms.pop(key).delete()
        with self._place:
            self._forms |= {k: AnswerForm(s) for k, s in wanted.items() if k not in self._forms}

    def answers(self) -> list[AnsweredSlate]:
        """Return the answers given, without the questions that are still open.

        Raises:
            DataError: if shares do not sum to 100.
        """
        return [a for form in self._forms.values() if (a := form.answer()) is not None]


class AnswerForm:
    """A form to answer a question by one response or by shares in percent."""

    def __init__(self, slate: Slate) -> None:
        self._slate = slate
        self._fieldset = PlainText("fieldset").classes("gpo-answer")
        with self._fieldset:
            PlainText("legend", slate.prompt)
            self._by_shares = ui.checkbox("Give the share of each response")
            self._choice = ui.radio(dict(enumerate(slate.responses)))
            self._choice.props["aria-label"] = slate.prompt
            self._choice.bind_visibility_from(self._by_shares, "value", value=False)
            with PlainText("div").classes("gpo-shares") as shares:
                self._percent = [
                    ui.number(r, min=0, max=100, suffix="%").props("outlined") for r in slate.responses
                ]
            shares.bind_visibility_from(self._by_shares, "value")

    def delete(self) -> None:
        """Remove the form from the page."""
        self._fieldset.delete()

    def answer(self) -> AnsweredSlate | None:
        """Return the answer entered, or None if the question is still open.

        Raises:
            DataError: if shares do not sum to 100.
        """
        if self._by_shares.value:
            percent = [p.value for p in self._percent]
            return answer_by_percent(self._slate, percent) if any(percent) else None
        return None if self._choice.value is None else answer_by_choice(self._slate, self._choice.value)


def draw(shown: Shown) -> None:
    """Draw a question's distributions, response by response."""
    with PlainText("section").classes("gpo-question"):
        PlainText("h3", shown.slate.prompt)
        with PlainText("dl"):
            for i, response in enumerate(shown.slate.responses):
                PlainText("dt", response)
                for distribution in shown.distributions:
                    with PlainText("dd"):
                        PlainText("span", distribution.label).classes("gpo-label")
                        draw_bar(distribution, i)


def draw_legend() -> None:
    """Draw a legend of the bars' patterns; each bar is also named in words."""
    with PlainText("ul", aria_label="Kinds of bars").classes("gpo-legend"):
        for kind, words in KINDS.items():
            with PlainText("li"):
                PlainText("span", aria_hidden="true").classes(f"gpo-swatch gpo-{kind}")
                PlainText("span", words)


def draw_bar(distribution: Distribution, i: int) -> None:
    """Draw one share as a bar and as a number."""
    share = distribution.share[i]
    number = f"{share:.0%}"
    with PlainText("span", aria_hidden="true").classes("gpo-track"):
        PlainText("span").classes(f"gpo-bar gpo-{distribution.source}").style(f"width:{share:.2%}")
        if distribution.interval is not None:
            low, high = distribution.interval[i]
            PlainText("span").classes("gpo-interval").style(f"left:{low:.2%};width:{high - low:.2%}")
            number += f" ({low * 100:.0f}–{high * 100:.0f})"
    PlainText("span", number).classes("gpo-number")
