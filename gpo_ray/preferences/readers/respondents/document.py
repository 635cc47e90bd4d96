"""Writing a proposed codebook as YAML that people read and correct."""

from __future__ import annotations

import json
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping

from gpo_ray.preferences.readers.respondents.codebook import DemographicEntry, QuestionEntry
from gpo_ray.preferences.readers.respondents.loading import require_readable
from gpo_ray.preferences.readers.respondents.proposal import Proposal
from gpo_ray.preferences.readers.respondents.table import RespondentTable, Value, shown_value

WIDTH = 100
_PLAIN = re.compile(r"[^\W\d_](?:[\w '’%/().+-]*[\w).%])?|\.[a-zA-Z_]")
_WORDS = frozenset(("yes", "no", "on", "off", "y", "n", "true", "false", "null"))
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


def codebook_bytes(proposal: Proposal, table: RespondentTable) -> bytes:
    """Return a proposal as the bytes of its YAML file.

    Raises:
        DataError: if they are more than are read again.
    """
    text = codebook_text(proposal, table).encode()
    require_readable(text, str(table.path))
    return text


def codebook_text(proposal: Proposal, table: RespondentTable) -> str:
    """Return a proposal as the text of its YAML file, with comments on what to know and to change."""
    book, file = proposal.codebook, table.path.name
    lines = [
        f"# Codebook of {_comment(file)}: {table.respondents:,} people, {len(table.columns):,} variables.",
        "# It is proposed from the file's labels: correct it, then give it to",
        f"#   gpo survey import respondents --from {_comment(file)} --codebook THIS_FILE --out survey",
        "",
        "# The survey weight; null if all respondents count the same.",
        f"weight: {_scalar(book.weight)}" + _others(proposal),
        "# What identifies a respondent; null to number the rows.",
        f"id: {_scalar(book.id)}",
        "",
        "# Groups are the levels of these variables; codes that are not listed belong to none. A number has",
        "# bins, where it is cut into levels.",
        "demographics:" + ("" if book.demographics else " {}"),
        *(
            f"  {_scalar(name)}: {_demographic(d)}{_why(proposal, name)}"
            for name, d in book.demographics.items()
        ),
        "",
        "# Responses by their codes, in their order; codes with the same response become one. Codes under",
        "# missing are no answers and in no share: move one to responses to count it. The values of an",
        "# ordered scale are the codes; others are given as scale: [1, 2, 4]. A topic may be added.",
        "questions:",
    ]
    for name, question in book.questions.items():
        lines += _question(name, question, proposal.guesses.get(name, ""))
    if book.sets:
        lines += [
            "",
            "# Sets, mark all that apply: a blank is a No for whoever marked another question of the set.",
        ]
        lines += ["sets:", *(f"  {_scalar(n)}: [{', '.join(map(_scalar, m))}]" for n, m in book.sets.items())]
    return "\n".join([*lines, *_left_out(proposal)]) + "\n"


def _others(proposal: Proposal) -> str:
    others = ", ".join(map(_comment, proposal.weights[1:]))
    return f"  # others: {others}" if others else ""


def _why(proposal: Proposal, name: str) -> str:
    guess = proposal.guesses.get(name)
    return f"  # {_comment(guess)}" if guess else ""


def _demographic(entry: DemographicEntry) -> str:
    if entry.bins:
        return f"{{label: {_scalar(entry.label)}, bins: [{', '.join(map(shown_value, entry.bins))}]}}"
    return f"{{label: {_scalar(entry.label)}, levels: {_labels(entry.levels)}}}"


def _question(name: str, entry: QuestionEntry, guess: str) -> Iterator[str]:
    why = f"  # {guess}" if guess else ""
    yield f"  {_scalar(name)}:" + ("" if entry.ordered else why)
    yield f"    prompt: {_scalar(entry.prompt)}"
    yield f"    responses: {_labels(entry.responses)}"
    if entry.blank is not None:
        yield f"    blank: {_scalar(entry.blank)}"
    if entry.missing:
        yield f"    missing: {_labels(entry.missing)}"
    if entry.ordered:
        yield f"    ordered: true{why}"


def _left_out(proposal: Proposal) -> list[str]:
    reasons = defaultdict(list)
    for f in proposal.findings:
        if f.role == "left out":
            reasons[f.why].append(_comment(f.name))
    lines = ["", "# Variables that are left out:"] if reasons else []
    for why, names in reasons.items():
        text = f"{_comment(why)}: {', '.join(names)}"
        lines += textwrap.wrap(
            text, WIDTH, initial_indent="# - ", subsequent_indent="#   ", break_long_words=False
        )
    return lines


def _labels(labels: Mapping[Value, str]) -> str:
    """Return codes and labels in braces, or labels alone in brackets where each is its own code."""
    if all(isinstance(code, str) and code == label for code, label in labels.items()):
        return f"[{', '.join(map(_scalar, labels.values()))}]"
    return "{" + ", ".join(f"{_code(code)}: {_scalar(label)}" for code, label in labels.items()) + "}"


def _code(code: Value) -> str:
    return shown_value(code) if isinstance(code, float) else _scalar(code)


def _scalar(text: str | None) -> str:
    """Return a text as YAML writes it: plain where it is plain for every reader, else in double quotes."""
    if text is None:
        return "null"
    if _PLAIN.fullmatch(text) and text.casefold() not in _WORDS:
        return text
    return _UNPRINTABLE.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(text, ensure_ascii=False))


def _comment(text: str) -> str:
    return _UNPRINTABLE.sub("?", " ".join(text.split()))
