"""The command ``gpo survey show``, and what ``survey import`` and ``survey merge`` print of their results."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gpo_ray.cli.options import Json
from gpo_ray.cli.output import print_json
from gpo_ray.runtime.terminal_text import one_line, shown

if TYPE_CHECKING:
    from gpo_ray.preferences.dataset import PreferenceDataset
    from gpo_ray.preferences.summary import LogEntry, SurveySummary

T = TypeVar("T")

MAX_ROWS = 10
"""Most rows of a table on the terminal, without ``--all``."""
MAX_CELL_CHARACTERS = 60
"""Most characters of a text that is shown in a table, without ``--all``."""
MAX_NAME_CHARACTERS = 24
"""Most characters of a group's name where several stand beside each other."""
MAX_HEADING_CHARACTERS = 240
"""Most characters above a table."""
MAX_LOG_CHARACTERS = 400
"""Most characters of a reason, a note or an example, which are sentences to be read."""
SAMPLE_GROUPS = 4
"""Number of groups whose shares of one question are shown."""


def survey_show(
    folder: Annotated[str, typer.Argument(help="Survey folder.")],
    everything: Annotated[
        bool, typer.Option("--all", help=f"List everything, not only the first {MAX_ROWS} of each table.")
    ] = False,
    html: Annotated[
        str | None, typer.Option(help="Write a page with bars of the shares to this .html file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show groups, topics, divisive questions, what is missing, and what was dropped or noted and why."""
    with pyarrow_alone():
        if html is not None:
            from gpo_ray.preferences.page import SUFFIXES, write_page
            from gpo_ray.runtime.one_file import check_target

            check_target(html, SUFFIXES)  # before a large survey is read
        from gpo_ray.preferences.dataset import PreferenceDataset
        from gpo_ray.preferences.summary import summarise

        summary = summarise(PreferenceDataset.load(folder))
        if html is not None:
            write_page(summary, folder, html, everything)
        if as_json:
            print_json(counts(summary.dataset) | _details(summary) | {"out": folder} | _page(html))
            return
        show_summary(summary, folder, everything)
        if html is not None:
            print(shown(f"page: {html}"))


def _page(html: str | None) -> dict[str, str]:
    return {} if html is None else {"html": html}


@contextlib.contextmanager
def pyarrow_alone() -> Iterator[None]:
    """Keep pyarrow from importing pandas, which it does for the first array that it makes.

    If pandas has been imported already, this changes nothing.
    """
    sys.meta_path.insert(0, _NoPandas)
    try:
        yield
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """An import finder for which pandas is not installed."""

    @classmethod
    def find_spec(cls, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def counts(dataset: PreferenceDataset) -> dict[str, Any]:
    """Count what a survey holds, and the source rows that were dropped or noted by why, for ``--json``."""
    noted = dataset.notes["note"].value_counts().to_pylist()
    return {
        "questions": dataset.questions.num_rows,
        "groups": dataset.groups.num_rows,
        "preferences": dataset.preferences.num_rows,
        "dropped": dataset.dropped_by_reason(),
        "notes": {str(n["values"]): n["counts"] for n in noted},
    }


def _details(summary: SurveySummary) -> dict[str, Any]:
    """Say what :func:`counts` does not, for ``--json``."""
    return {
        "scale": summary.scale,
        "nominal": summary.questions - summary.scale,
        "by_group": [dataclasses.asdict(g) for g in summary.by_group],
        "by_topic": [dataclasses.asdict(t) for t in summary.by_topic],
        "compared": summary.compared,
        "divisive": [_without_row(q) for q in summary.divisive],
        "missing": summary.missing_pairs,
        "missing_by_question": {m.question_id: m.groups for m in summary.missing},
    }


def _without_row(question: Any) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(question).items() if k != "row"}


def show_result(dataset: PreferenceDataset, where: str) -> None:
    """Print what a survey that was just written holds: counts, notes, a sample and what was dropped."""
    from gpo_ray.preferences.summary import summarise

    summary, out = summarise(dataset), _Terminal()
    _show_counts(summary, where)
    _show_log(out, "notes", summary.notes, where)
    _show_sample(out, summary)
    _show_log(out, "dropped", summary.dropped, where)
    print(f"look closer with: gpo survey show {shown(where)}")


def show_summary(summary: SurveySummary, where: str, everything: bool) -> None:
    """Print all that a researcher looks for in a survey, in tables as wide as the terminal.

    Args:
        summary: what the survey holds.
        where: its folder.
        everything: whether to list everything, not only the first rows of each table.
    """
    out = _Terminal(everything)
    _show_counts(summary, where)
    _show_log(out, "notes", summary.notes, where)
    out.table(
        "groups (coverage: part of all questions that the group answered; n: respondents)",
        ("group", "kind", "answered>", "coverage>", "median n>"),
        summary.by_group,
        lambda g: (g.group_id, g.kind, g.answered, f"{g.coverage:.1%}", _number(g.median_n)),
    )
    out.table(
        "questions by topic",
        ("topic", "questions>", "answers>"),
        summary.by_topic,
        lambda t: (t.topic or "(no topic)", t.questions, t.answers),
    )
    _show_divisive(out, summary)
    _show_sample(out, summary)
    _show_missing(out, summary)
    _show_log(out, "dropped", summary.dropped, where)


class _Terminal:
    """Tables on the terminal, of bounded length unless everything is asked for."""

    def __init__(self, everything: bool = False) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self.everything = everything

    def table(
        self,
        heading: str,
        columns: Sequence[str],
        items: Sequence[T],
        cells: Callable[[T], Sequence[object]],
        most: int = MAX_CELL_CHARACTERS,
    ) -> None:
        """Print a table with a row for each item.

        Args:
            heading: a line above it.
            columns: their names; ``>`` at the end of a name aligns a column of numbers to the right.
            items: what the rows are of.
            cells: function that gives an item's cells, called only for the rows that are shown.
            most: most characters of a cell.
        """
        from rich.table import Table

        from gpo_ray.runtime.terminal_text import ShownText as Text

        table = Table()
        for name in columns:
            number = name.endswith(">")
            header = Text(one_line(name.removesuffix(">") if number else name))
            table.add_column(
                header, justify="right" if number else "left", overflow="fold", min_width=5 if number else 8
            )
        listed = items if self.everything else items[:MAX_ROWS]
        for item in listed:
            table.add_row(*(Text(self.short(cell, most)) for cell in cells(item)))
        self._console.print()
        self._console.print(Text(one_line(self.short(heading, MAX_HEADING_CHARACTERS)), style="bold"))
        self._console.print(table)
        if len(items) > len(listed):
            self._console.print(
                f"... and {len(items) - len(listed)} more; --all of gpo survey show lists them"
            )

    def short(self, text: object, most: int) -> str:
        """Return a text on one line, cut where it is longer than allowed."""
        line = one_line(text)
        return line if self.everything or len(line) <= most else line[: most - 1] + "…"

    def few(self, names: Sequence[str], most: int = 3) -> str:
        """List the first names, and how many more there are."""
        listed = names if self.everything else names[:most]
        rest = f" ... and {len(names) - most} more" if len(names) > len(listed) else ""
        return ", ".join(self.short(n, MAX_NAME_CHARACTERS) for n in listed) + rest


def _show_counts(summary: SurveySummary, where: str) -> None:
    print(
        f"{shown(where)}: {summary.questions} questions, {summary.groups} groups, "
        f"{summary.answers} preferences"
    )
    print(f"{summary.scale} questions have a scale, {summary.questions - summary.scale} are nominal")


def _show_divisive(out: _Terminal, summary: SurveySummary) -> None:
    if not summary.divisive:
        print(f"\nno question was answered by two {summary.compared}, so that none divides them")
        return
    out.table(
        f"most divisive questions (distance: mean over {summary.compared}, each counting the same, of the "
        "distance to their mean shares: W1/W1max on a scale, else Jensen-Shannon)",
        ("question", "prompt", "type", f"{summary.compared}>", "distance>"),
        summary.divisive,
        lambda q: (q.question_id, q.prompt, "scale" if q.scale else "nominal", q.groups, f"{q.distance:.3f}"),
    )


def _show_missing(out: _Terminal, summary: SurveySummary) -> None:
    if not summary.missing:
        print("\nnothing is missing: every group answered every question")
        return
    pairs = summary.groups * summary.questions
    out.table(
        f"missing ({summary.missing_pairs} of {pairs} pairs of a group and a question have no answer, "
        f"{summary.missing_pairs / pairs:.1%})",
        ("question", "groups>", "without an answer"),
        summary.missing,
        lambda m: (m.question_id, m.groups, out.few(summary.groups_without(m.row))),
        MAX_LOG_CHARACTERS,
    )


def _show_log(out: _Terminal, title: str, log: Sequence[LogEntry], where: str) -> None:
    """Print the log of what was dropped, or of what was noted."""
    if not log:
        print("\nnothing was dropped" if title == "dropped" else "\nthere are no notes")
        return
    columns = ("reason" if title == "dropped" else "note", "rows>", "for example")
    out.table(title, columns, log, lambda e: (e.text, e.rows, e.example), MAX_LOG_CHARACTERS)
    print(f"all of them are in {shown(where)}/{title}.parquet")


def _show_sample(out: _Terminal, summary: SurveySummary) -> None:
    """Print some groups' shares of one question: of the most divisive one, or else of the first."""
    row = summary.divisive[0].row if summary.divisive else 0
    asked = summary.dataset.questions.slice(row, 1).to_pylist()[0]
    groups, answers = (found[:SAMPLE_GROUPS] for found in summary.answers_to(row))
    names = [summary.dataset.groups["group_id"][g].as_py() for g in groups.tolist()]
    shares = summary.shares_at(answers)[0]
    out.table(
        f"shares: {asked['prompt']}",
        ("response", *(f"{out.short(name, MAX_NAME_CHARACTERS)}>" for name in names)),
        list(enumerate(asked["responses"])),
        lambda numbered: (numbered[1], *(f"{share[numbered[0]]:.3f}" for share in shares)),
    )


def _number(n: float | None) -> str:
    return "-" if n is None else f"{n:.0f}" if n.is_integer() else f"{n:.1f}"
