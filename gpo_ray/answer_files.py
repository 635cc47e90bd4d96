"""Read files of a group's answers and of questions, in the forms in which people have them.

A file is a JSON list of objects, or one object a line (JSON lines), in UTF-8 or UTF-16. An answer is given by
``share``, ``percent``, ``count`` or ``choice``; beside a share or percent, ``n`` may say of how many people.
Everything that is not as it should be is refused, with the
number of the item (the first one has 0), its key, and what to do; shares that are off by rounding are scaled
to sum to 1, and a note says so.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from gpo_ray.errors import DataError, reason_of
from gpo_ray.model.texts import AnsweredSlate, Slate, first_problem
from gpo_ray.preferences.dataset import SHARE_TOLERANCE
from gpo_ray.preferences.labels import first_repeated, unusable
from gpo_ray.preferences.numbers import finite_number, text_number
from gpo_ray.runtime.documents import parse_json, read_bytes
from gpo_ray.runtime.locations import local_copy

ROUNDING = 0.02
"""Largest distance of the sum of published shares from 1 that counts as rounding."""
FORMS = ("share", "percent", "count", "choice")
"""The keys by which an answer may be given; ``counts`` is read as ``count``."""


def read_answers_file(path: str) -> tuple[list[AnsweredSlate], list[str]]:
    """Read a group's answers.

    Args:
        path: file or URI.

    Returns:
        The answers, and notes on what was read in a way that the user should know of.

    Raises:
        DataError: if the file cannot be read, an item is not an answer, or a question is answered twice.
    """
    notes: list[str] = []
    answers = [_answer(item, f"{path}: item {i}", notes) for i, item in enumerate(_items(path))]
    check_distinct(answers, lambda i: f"{path}: item {i}")
    return answers, notes


def read_questions_file(path: str) -> list[Slate]:
    """Read questions.

    Args:
        path: file or URI.

    Raises:
        DataError: if the file cannot be read, or an item is not a question.
    """
    items = enumerate(_items(path))
    return [_checked(Slate, _known(item, (), f"{path}: item {i}"), f"{path}: item {i}") for i, item in items]


def check_distinct(answers: Sequence[Slate], where: Callable[[int], str]) -> None:
    """Check that no question is answered twice, whatever the order and the spelling of its responses.

    Args:
        answers: the answered questions.
        where: the words that locate the answer of a number, for the error message.

    Raises:
        DataError: naming the two answers.
    """
    repeated = first_repeated((a.prompt, a.responses) for a in answers)
    if repeated is not None:
        before, i = repeated
        raise DataError(
            f"{where(i)}: prompt: {answers[i].prompt[:60]!r} is answered by item {before} too; "
            "leave one of the two out"
        )


def _items(path: str) -> list[Any]:
    try:
        with local_copy(path) as file:
            data = read_bytes(file, path, DataError)
    except FileNotFoundError as e:
        raise DataError(f"{path}: no such file") from e
    except (OSError, ValueError) as e:
        raise DataError(f"{path}: not a readable file: {reason_of(e, path)}") from e
    found = _parsed(_as_utf8(data, path), path)
    items = found if isinstance(found, list) else [found]
    if not items:
        raise DataError(f"{path}: the list is empty; give at least one item")
    return items


def _as_utf8(data: bytes, path: str) -> bytes:
    for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        if data.startswith(mark):
            try:
                return data.decode("utf-16").encode()
            except UnicodeError as e:
                raise DataError(f"{path}: not UTF-16, as its first bytes say: {e}; save it as UTF-8") from e
    return data


def _parsed(data: bytes, path: str) -> Any:
    """Return the value of a JSON text, or the list of those of its lines."""
    try:
        return parse_json(data, path, DataError)
    except DataError:
        _refuse_half_characters(data, path)
        lines = [(i, line) for i, line in enumerate(data.splitlines(), 1) if line.strip()]
        if len(lines) < 2 or not _is_object(lines[0][1]):
            raise
        return [parse_json(line, f"{path}: line {i}", DataError) for i, line in lines]


def _refuse_half_characters(data: bytes, path: str) -> None:
    """Name the item and the key that hold half a surrogate pair, if that is what is wrong with a JSON list.

    The text has been found to be small and shallow enough to parse.
    """
    try:
        items = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return
    for i, item in enumerate(items if isinstance(items, list) else [items]):
        for key, value in item.items() if isinstance(item, dict) else ():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and (problem := unusable(text)):
                    raise DataError(f"{path}: item {i}: {key}: {problem}")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def _known(item: Any, more: Sequence[str], where: str) -> dict[str, Any]:
    """Return an item that is an object with no keys but those that are known."""
    if not isinstance(item, dict):
        raise DataError(f"{where}: is not an object {{...}}; give each item a prompt and responses")
    known = ("prompt", "responses", *more)
    unknown = [k for k in item if k not in known]
    if unknown:
        raise DataError(f"{where}: {unknown[0]}: no such key; known: {', '.join(known)}")
    return item


def _answer(item: Any, where: str, notes: list[str]) -> AnsweredSlate:
    values = dict(_known(item, (*FORMS, "counts", "n"), where))
    if "counts" in values and "count" not in values:
        values["count"] = values.pop("counts")
    given = [k for k in (*FORMS, "counts") if values.get(k) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise DataError(f"{where}: give exactly one of {', '.join(FORMS)}; found {found}")
    form, n = given[0], values.pop("n", None)
    answer = {k: values.get(k) for k in ("prompt", "responses", "choice")}
    if n is not None and (form not in ("share", "percent") or _number(n, f"{where}: n") <= 0):
        raise DataError(f"{where}: n: must be a number above 0, beside share or percent")
    if form == "choice" and (isinstance(values["choice"], bool) or not isinstance(values["choice"], int)):
        raise DataError(
            f"{where}: choice: {str(values['choice'])[:40]!r} is no index; the first response is 0"
        )
    if form != "choice":
        numbers = _numbers(values[form], f"{where}: {form}", form == "percent")
        answer["share"] = _shares(numbers, form, where, notes)
        answer["n"] = sum(numbers) if form == "count" else n
    return _checked(AnsweredSlate, answer, where)


def _numbers(values: Any, where: str, percent: bool) -> list[float]:
    if not isinstance(values, list):
        raise DataError(f"{where}: must be a list of numbers, one for each response")
    if percent:
        values = [v.strip().removesuffix("%") if isinstance(v, str) else v for v in values]
    return [_number(v, f"{where}: number {i}", "80" if percent else "0.8") for i, v in enumerate(values)]


def _number(value: Any, where: str, example: str = "80") -> float:
    """Return a number that is at least 0; a text may be one in plain decimal notation."""
    if value is None:
        raise DataError(f"{where}: is null; leave the answer out or give a number")
    advice = f"write it like {example}, or leave the answer out"
    read = text_number if isinstance(value, str) else finite_number
    number = read(value, f"{where}:", advice)
    if number < 0:
        raise DataError(f"{where}: is {number:g}; shares, percentages and counts start at 0")
    return number


def _shares(numbers: list[float], form: str, where: str, notes: list[str]) -> list[float]:
    """Return the shares that numbers of one of the forms stand for."""
    total, whole = sum(numbers), {"share": 1.0, "percent": 100.0}.get(form)
    if whole is None:
        if not 0 < total < math.inf:
            raise DataError(f"{where}: {form}: sums to {total:g}; leave the answer out or give its counts")
        return [v / total for v in numbers]
    off = abs(total - whole) / whole
    if off > ROUNDING + 1e-9:
        raise DataError(f"{where}: {form}: sums to {total:.6g}, not {whole:g}; {_advice(total, form)}")
    if off > SHARE_TOLERANCE:
        notes.append(f"{where}: {form}: sums to {total:.6g}, not {whole:g}: scaled to sum to {whole:g}")
    return [v / total for v in numbers]


def _advice(total: float, form: str) -> str:
    for other, sum_of_other in (("share", 1.0), ("percent", 100.0)):
        if other != form and abs(total - sum_of_other) <= ROUNDING * sum_of_other:
            return f"if these are of that kind, give them as {other}"
    return "give all responses, or give numbers of people as count"


def _checked(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    try:
        return kind.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as e:
        raise DataError(f"{where}: {first_problem(e)}") from e
