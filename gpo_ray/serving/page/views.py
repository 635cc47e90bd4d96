"""The page as a visitor sees it: NiceGUI elements over :class:`gpo_ray.serving.page.actions.PageActions`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nicegui import ui

from gpo_ray.serving.page.actions import Distribution, PageActions, parse_slate
from gpo_ray.serving.page.elements import (
    MAX_BARS,
    MAX_FORM_RESPONSES,
    AnswerForms,
    Choice,
    PlainText,
    QuestionPicker,
    Submit,
    count,
    draw,
    draw_bar,
    draw_legend,
    lines_input,
    text_input,
)

STYLE = Path(__file__).with_name("page.css")


class PageView:
    """The page of one visitor."""

    def __init__(self, actions: PageActions) -> None:
        self._actions = actions
        self._secret: str | None = None
        self._group_choices: list[Choice] = []

    def build(self) -> None:
        """Add the elements to the current NiceGUI page."""
        # a layer before Quasar's important rules: among important rules, those of the earlier layer win
        ui.add_css(f"@layer overrides {{ {STYLE.read_text(encoding='utf-8')} }}")
        with PlainText("header"):
            PlainText("h1", "Group preferences")
            PlainText(
                "p", "Register a group by a few of its answers, and see what it is predicted to prefer."
            )
        self._content = PlainText("div")
        with self._content:
            if self._actions.requires_key:
                self._build_sign_in()
            else:
                self._build_sections()
                ui.timer(0, self._start, once=True)

    def _build_sign_in(self) -> None:
        PlainText("h2", "Sign in")
        key = ui.input("API key", password=True).props('outlined autocomplete="off"')

        async def enter(_: Submit) -> None:
            # the field must not keep the key: on a reconnect its content is sent to the browser again
            secret, key.value = key.value.strip(), ""
            groups = await self._actions.groups(secret)
            self._secret = secret
            self._content.clear()
            with self._content:
                self._build_sections()
            self._offer(groups)
            # the field that had the focus is removed; give the focus to a tab
            ui.run_javascript("setTimeout(() => document.querySelector('[role=tab]')?.focus(), 100)")

        submit = Submit("Continue", enter)
        key.on("keydown.enter", submit.run)

    def _build_sections(self) -> None:
        sections = {
            "Predict": self._build_predict,
            "Rank": self._build_rank,
            "Register a group": self._build_register,
        }
        with ui.tabs().props("no-caps outside-arrows mobile-arrows") as tabs:
            for name in sections:
                ui.tab(name)
        with ui.tab_panels(tabs, value="Predict", animated=False, keep_alive=True):
            for name, build in sections.items():
                with ui.tab_panel(name):
                    build()

    def _build_predict(self) -> None:
        PlainText("h2", "Predict and compare")
        group = self._group_choice("Group")
        other = self._group_choice("Compare with (optional)").props("clearable")
        picker = QuestionPicker(self._actions)

        async def predict(submit: Submit) -> None:
            ids = [g for g in (group.value, other.value) if g]
            shown = await self._actions.predict(self._secret, ids, picker.chosen())
            with submit.fresh_results():
                draw_legend()
                bars = 0
                for item in shown:
                    bars += len(item.slate.responses) * len(item.distributions)
                    if bars > MAX_BARS:
                        PlainText("p", "The others have no room here: choose fewer questions at a time.")
                        break
                    draw(item)
                    await asyncio.sleep(0)  # serve other visitors between two questions
            submit.say(f"{count(len(shown), 'question')} predicted for {' and '.join(dict.fromkeys(ids))}.")

        Submit("Predict", predict)

    def _build_rank(self) -> None:
        PlainText("h2", "Rank responses")
        group = self._group_choice("Group")
        prompt = text_input("Question")
        responses = lines_input("Responses, one on each line")

        async def rank(submit: Submit) -> None:
            slate = parse_slate(prompt.value, responses.value)
            ranked = await self._actions.rank(self._secret, group.value, slate)
            with submit.fresh_results():
                PlainText("h3", slate.prompt)
                with PlainText("ol").classes("gpo-ranking"):
                    for response, share in ranked[:MAX_FORM_RESPONSES]:
                        with PlainText("li"):
                            PlainText("span", response).classes("gpo-label")
                            draw_bar(Distribution(response, "predicted", [share]), 0)
                if (more := len(ranked) - MAX_FORM_RESPONSES) > 0:
                    PlainText("p", f"The {count(more, 'response')} after these have no room.")
            submit.say(f"{count(len(ranked), 'response')} ranked for {group.value}.")

        Submit("Rank", rank)

    def _build_register(self) -> None:
        PlainText("h2", "Register a group")
        group_id = text_input("Group id")
        description = text_input("Description (optional)")
        picker = QuestionPicker(self._actions, on_change=lambda slates: forms.show(slates))
        PlainText("p", "Answer those that you know; the others are left out.")
        forms = AnswerForms()
        forms.show(picker.chosen())
        replace = ui.checkbox("Replace the group of this id, if there is one")

        async def register(submit: Submit) -> None:
            stored = await self._actions.register(
                self._secret, group_id.value, description.value, forms.answers(), replace.value
            )
            self._offer(await self._actions.groups(self._secret))
            self._group_choices[0].value = stored
            submit.say(f"Group {stored} is registered.")

        Submit("Register group", register)

    def _group_choice(self, label: str) -> Choice:
        choice = Choice({}, label=label, with_input=True).props("outlined")
        self._group_choices.append(choice)
        return choice

    async def _start(self) -> None:
        self._offer(await self._actions.groups(self._secret))

    def _offer(self, groups: dict[str, str]) -> None:
        for choice in self._group_choices:
            choice.set_options(groups)
