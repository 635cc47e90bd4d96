"""A survey as one HTML page with bars of the groups' shares, readable offline and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import jinja2
import numpy as np
from markupsafe import Markup

from gpo_ray import __version__
from gpo_ray.preferences.slates import Array
from gpo_ray.preferences.summary import AnswersByQuestion, SurveySummary, people_of
from gpo_ray.runtime.one_file import writing
from gpo_ray.runtime.terminal_text import shown

SUFFIXES = (".html", ".htm")
"""Ends of a page's name."""
MAX_QUESTIONS = 100
"""Most questions with bars on a page, unless everything is asked for."""
MAX_GROUPS_SHOWN = 40
"""Most groups with a bar under a question, unless everything is asked for."""
MAX_ROWS = 200
"""Most rows of a table, unless everything is asked for."""
SCALE = ((33, 102, 172), (146, 197, 222), (235, 235, 235), (244, 165, 130), (178, 24, 43))
"""Colours (red, green, blue) from one end of a scale to the other; those between are interpolated."""
NOMINAL = (
    *("#1f5f8b", "#c2571a", "#4d8b31", "#8a4f9e", "#b8860b", "#5f6b73", "#a83250", "#2a8c82"),
    *("#7a5230", "#6fa8dc", "#f0a868", "#9bc77a", "#c79ad6", "#e3c75a", "#b0b9c0", "#e08aa0"),
)
"""Colours of nominal responses, in turn."""


@dataclass(frozen=True)
class Bar:
    """The shares of one group, or of the mean of several, over the responses of a question."""

    name: str
    n: float | None
    """Respondents, where they are known; of a mean, None."""
    shares: Sequence[float]
    mean: bool = False


@dataclass(frozen=True)
class QuestionBars:
    """A question with its bars."""

    question_id: str
    prompt: str
    topic: str | None
    scale: bool
    distance: float | None
    """How divisive it is; None where that is not defined."""
    responses: Sequence[tuple[str, str, str]]
    """Each response with the colours of its part of a bar, and of a text on it."""
    bars: Sequence[Bar]
    more: int
    """Number of groups that answered it without having a bar."""


def write_page(summary: SurveySummary, where: str, out: str, everything: bool = False) -> None:
    """Write the page of a survey, atomically.

    Args:
        summary: what the survey holds.
        where: the survey's folder, shown at the top.
        out: path or URI of the file to write.
        everything: whether to list all questions and groups, which may make a large file.

    Raises:
        ConfigError: if the file cannot be written.
    """
    limit = None if everything else MAX_ROWS
    page = _template().generate(
        summary=summary,
        where=where,
        rows=slice(limit),
        limit=limit or max(summary.groups, summary.questions),
        asked=question_bars(summary, everything),
        shown_questions=summary.questions if everything else min(summary.questions, MAX_QUESTIONS),
        version=__version__,
    )
    with writing(out) as path, path.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.writelines(page)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpo_ray.preferences", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
    )
    return environment.get_template("page.html.j2")


def _finalized(value: object) -> object:
    """Show a text as on a terminal, so that none can turn the direction of what stands around it."""
    # what a macro of the template made was finalized in it, and is not escaped again
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def question_bars(summary: SurveySummary, everything: bool = False) -> Iterator[QuestionBars]:
    """Yield the questions with their bars, the most divisive first.

    The first bars are the mean of the groups and, where there are single people, the mean of these, who
    have no bars of their own.
    """
    dataset = summary.dataset
    people = people_of(dataset)
    of_people = people[dataset.group_codes()]
    means = [
        ("mean of the groups", AnswersByQuestion.of(dataset, ~of_people)),
        ("mean of the people", AnswersByQuestion.of(dataset, of_people)),
    ]
    distance = {q.row: q.distance for q in summary.divisive}
    order = [*distance, *(i for i in range(summary.questions) if i not in distance)]
    names = dataset.groups["group_id"].to_pylist()
    for row in order if everything else order[:MAX_QUESTIONS]:
        asked = dataset.questions.slice(row, 1).to_pylist()[0]
        groups, answers = summary.answers_to(row)
        alone = np.flatnonzero(~people[groups])
        listed = alone if everything else alone[:MAX_GROUPS_SHOWN]
        bars = [_mean_bar(f"{name} ({m.groups[row]})", m, row) for name, m in means if m.groups[row] > 1]
        shares, n = summary.shares_at(answers[listed])
        bars += [
            Bar(names[g], number, share.tolist())
            for g, number, share in zip(groups[listed], n, shares, strict=True)
        ]
        yield QuestionBars(
            question_id=asked["question_id"],
            prompt=asked["prompt"],
            topic=asked["topic"],
            scale=asked["ordinal"] is not None,
            distance=distance.get(row),
            responses=_coloured(asked["responses"], asked["ordinal"]),
            bars=bars,
            more=len(alone) - len(listed),
        )


def _mean_bar(name: str, answers: AnswersByQuestion, row: int) -> Bar:
    start, end = answers.offsets[row : row + 2]
    return Bar(name, None, answers.mean[start:end].tolist(), mean=True)


def _coloured(responses: Sequence[str], scale: Sequence[float] | None) -> list[tuple[str, str, str]]:
    """Give each response its colours: by its value on the scale, or in turn."""
    if scale is None:
        colours = [NOMINAL[i % len(NOMINAL)] for i in range(len(responses))]
    else:
        extent = max(scale) - min(scale)
        colours = [_on_scale((v - min(scale)) / extent if extent else 0.5) for v in scale]
    return [(r, c, _text_on(c)) for r, c in zip(responses, colours, strict=True)]


def _on_scale(place: float) -> str:
    """Return the colour at a place of the scale between 0 and 1."""
    stops = np.linspace(0, 1, len(SCALE))
    mixed = (np.interp(place, stops, [colour[i] for colour in SCALE]) for i in range(3))
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def _text_on(colour: str) -> str:
    """Return black or white, whichever has more contrast on a colour (WCAG 2.2, relative luminance)."""
    parts: Array = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    # 0.179 is where (1 + 0.05) / (L + 0.05) equals (L + 0.05) / 0.05
    return "#000" if linear @ np.array([0.2126, 0.7152, 0.0722]) > 0.179 else "#fff"
