"""Reading a codebook that people have edited, with words for what is wrong in it.

Every value is read as the text that is written, whatever YAML takes it for: ``Yes``, ``010`` and
``2020-01-01`` are labels. The file says which codes are numbers, so that ``'1'`` and ``1`` are the same code.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gpo_ray.config import parse
from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.respondents.codebook import (
    Codebook,
    DemographicEntry,
    QuestionEntry,
    check_codebook,
)
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable, Value, shown_value
from gpo_ray.runtime.documents import read_yaml_documents

CODEBOOK_BYTES = 2**25
"""Most bytes of a codebook; one of 3,000 variables has about one million."""

_QUOTE = "put labels that hold ': ', ' #', commas, quotes or brackets in double quotes"
_YES, _NO = frozenset(("true", "yes", "on", "y")), frozenset(("false", "no", "off", "n"))
_OTHER_WORDS = {
    "responses": ("labels", "values", "answers", "options", "choices", "categories", "levels"),
    "levels": ("labels", "values", "categories", "groups", "responses"),
    "prompt": ("text", "question", "label", "wording", "title"),
    "label": ("text", "name", "title", "prompt"),
    "missing": ("refused", "refusals", "dk", "missings"),
    "ordered": ("ordinal", "order"),
    "bins": ("cuts", "breaks"),
    "questions": ("items", "variables"),
    "demographics": ("groups",),
}
"""Words that people may write for a key."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A loader that takes all but nothing for text, and refuses repeated keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- as its parent has it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the keys and values of a mapping.

        Raises:
            ConstructorError: if a key is there twice, or is no text.
        """
        found: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key is None or not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is empty or no text; write the name or code", key_node.start_mark
                )
            if key in found:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key} is there twice; remove one", key_node.start_mark
                )
            found.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|)$"), ["~", "n", ""])


def load_codebook(path: str | Path, table: RespondentTable) -> Codebook:
    """Read a codebook and check it against its file of respondents.

    Raises:
        ConfigError: naming the codebook and the key that is wrong, does not fit the file or is there twice.
    """
    where = str(path)
    if not Path(path).is_file():
        raise ConfigError(f"{where}: no such file; make it with: gpo survey codebook")
    try:
        documents = read_yaml_documents(Path(path), where, ConfigError, _Loader, CODEBOOK_BYTES)
    except ConfigError as e:
        raise _told(e, where) from e
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ConfigError(
            f"{where}: expected one document of keys and values, as gpo survey codebook writes it"
        )
    codebook = parse(Codebook, _fitted(documents[0], table, where), where)
    check_codebook(codebook, table, where)
    return codebook


def require_readable(text: bytes, file: str) -> None:
    """Check that a codebook is not longer than those that are read.

    Raises:
        DataError: if it is.
    """
    if len(text) > CODEBOOK_BYTES:
        raise DataError(
            f"{file}: its codebook would have {len(text):,} bytes, more than the {CODEBOOK_BYTES:,} that are "
            "read; keep fewer variables in the file, or shorten their labels"
        )


def _told(error: ConfigError, where: str) -> ConfigError:
    """Return what is wrong with the YAML by the line where it is."""
    cause = error.__cause__
    mark = getattr(cause, "problem_mark", None)
    problem = getattr(cause, "problem", None)
    if mark is None or not problem:
        return error
    if isinstance(cause, yaml.constructor.ConstructorError):
        return ConfigError(f"{where}: line {mark.line + 1}: {problem}")
    return ConfigError(f"{where}: line {mark.line + 1}: not valid YAML: {problem}; {_QUOTE}")


def _fitted(book: Mapping[str, Any], table: RespondentTable, where: str) -> dict[str, Any]:
    """Return the values of a codebook with codes, numbers and truth values as its file and keys have them."""
    _check_keys(book, Codebook.model_fields, f"{where}: ")
    found = {key: value for key, value in book.items() if value is not None}
    found |= {key: _text(found[key], f"{where}: {key}") for key in ("weight", "id") if key in found}
    for key, kind in (("demographics", DemographicEntry), ("questions", QuestionEntry)):
        entries = _mapping(found.get(key, {}), f"{where}: {key}", "names of variables, each with its entry")
        found[key] = {}
        for name, entry in entries.items():
            at = f"{where}: {key}.{name}"
            _mapping(entry, at, f"such keys: {', '.join(kind.model_fields)}")
            _check_keys(entry, kind.model_fields, f"{at}.")
            _require(entry, ("prompt", "responses") if key == "questions" else ("label",), at)
            found[key][str(name)] = _entry(entry, table.columns.get(str(name)), at)
    if not found["questions"]:
        raise ConfigError(f"{where}: questions: there are none; name the variables that are questions")
    sets = _mapping(found.get("sets", {}), f"{where}: sets", "a name, and the list of its questions")
    found["sets"] = {str(n): _list(v, f"{where}: sets.{n}", _text) for n, v in sets.items()}
    return found


def _require(entry: Mapping[str, Any], keys: Sequence[str], at: str) -> None:
    for key in keys:
        if entry.get(key) is None:
            what = {"prompt": "the question's text", "label": "what it is", "responses": "codes and labels"}[
                key
            ]
            raise ConfigError(f"{at}.{key} is missing; give {what}")


def _entry(entry: Mapping[str, Any], column: Column | None, at: str) -> dict[str, Any]:
    """Return the values of one variable's entry."""
    found: dict[str, Any] = {}
    for key, value in entry.items():
        place = f"{at}.{key}"
        if value is None and key != "missing":
            continue
        if key in ("responses", "missing", "levels"):
            found[key] = _labels(value or {}, column, place)
        elif key == "ordered":
            found[key] = _truth(value, place)
        elif key in ("scale", "bins"):
            found[key] = _list(value, place, _number)
        else:
            found[key] = _text(value, place)
    return found


def _labels(value: Any, column: Column | None, at: str) -> dict[Value, str]:
    """Return labels by codes; in a list each label is its own code."""
    if isinstance(value, list):
        value = _listed([_text(v, at) for v in value], at)
    found: dict[Value, str] = {}
    known = column.known() if column is not None else set()
    numeric = column is None or column.kind != "text"
    for given, label in _mapping(value, at, "codes and their labels").items():
        if label is None:
            raise ConfigError(f"{at}: {_hint_of_nothing(str(given))}")
        code = _code(str(given), known, numeric)
        if code in found:
            raise ConfigError(f"{at}: code {shown_value(code)} is there twice; remove one")
        found[code] = _text(label, f"{at}: code {given}")
    return found


def _listed(labels: list[str], at: str) -> dict[str, str]:
    known: dict[str, str] = {}
    for label in labels:
        if label in known:
            raise ConfigError(f"{at}: a response is listed twice, {label!r}; remove one")
        known[label] = label
    return known


def _hint_of_nothing(given: str) -> str:
    """Return why a code may have no label."""
    if re.match(r"\S+?:\S", given):
        return f"{given!r} has no label; write a blank after the colon"
    if re.fullmatch(r"[+-]?[\d.]+|\.[a-z]", given):
        return f"code {given} has no label; write one, in quotes if it is the word null"
    return f"{given!r} has no label; if it belongs to the label before it, put this in double quotes"


def _code(given: str, known: set[Value], numeric: bool) -> Value:
    """Return a code as a value of its variable: a number where the variable has numbers, else a text."""
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and (number in known or numeric):
        return number
    trimmed = normal_label(given)
    if trimmed in known:
        return trimmed
    if trimmed.casefold() not in _YES | _NO:
        return trimmed
    alike = [v for v in known if isinstance(v, str) and v.casefold() == trimmed.casefold()]
    return alike[0] if len(alike) == 1 else trimmed


def _text(value: Any, at: str) -> str:
    if isinstance(value, Mapping | list | None):
        kind = "a list" if isinstance(value, list) else "keys and values" if value else "nothing"
        raise ConfigError(f"{at}: expected a text, found {kind}; {_QUOTE}")
    return normal_label(str(value))


def _truth(value: Any, at: str) -> bool:
    word = str(value).casefold()
    if word not in _YES | _NO:
        raise ConfigError(f"{at}: {value!r} is neither true nor false; write one of these")
    return word in _YES


def _number(value: Any, at: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{at}: {value!r} is no number; write one such as 2 or 2.5")
    return number


def _list(value: Any, at: str, read: Callable[[Any, str], Any]) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{at}: expected a list such as [a, b], found {value!r}")
    return [read(v, at) for v in value]


def _mapping(value: Any, at: str, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "nothing" if value is None else f"{value!r}"
        raise ConfigError(f"{at}: expected {what}; found {kind}")
    return value


def _check_keys(entry: Mapping[str, Any], known: Any, at: str) -> None:
    """Check that the keys of an entry are known.

    Raises:
        ConfigError: naming the first that is not, and what may be meant.
    """
    for key in entry:
        if key in known:
            continue
        word = str(key).casefold()
        meant = [k for k in known if word in _OTHER_WORDS.get(k, ())]
        meant = difflib.get_close_matches(word, list(known), 1) or meant
        hint = f"did you mean {meant[0]}?" if meant else f"the keys are {', '.join(known)}"
        raise ConfigError(f"{at}{key}: there is no such key; {hint}")
