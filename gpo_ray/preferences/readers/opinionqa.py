"""The reader of OpinionQA (Santurkar et al. 2023, arXiv 2303.17548): Pew American Trends Panel, US groups.

Questions and groups are in opinionqa_items.py, and respondents' rows in opinionqa_responses.py.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import PreferenceDataset, Question
from gpo_ray.preferences.readers.common import (
    EMPTY_PAIR,
    NO_COUNTS,
    REPEATED_QUESTION,
    UNKNOWN_QUESTION,
    Collector,
    finite_number,
    normal_text,
    parse_numbers,
    parse_texts,
    read_csv_rows,
    require_file,
    require_folder,
)
from gpo_ray.preferences.readers.opinionqa_copies import without_copied_attributes
from gpo_ray.preferences.readers.opinionqa_items import Groups, Item
from gpo_ray.preferences.readers.opinionqa_responses import collect_responses
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.runtime.documents import read_json

CONTENTIOUS = Path("Pew_American_Trends_Panel_disagreement_500") / "info.csv"
FEW_OPTIONS = "question has fewer than two options with distinct texts and scale values"
CROSSED = "counts of crossed attributes; the groups of each attribute are read from its own file"
NOT_CONTENTIOUS = "not one of the contentious questions"


def read_opinionqa(source: Path | None, options: ReadOptions) -> PreferenceDataset:
    """Read the publisher's ``human_resp`` folder, or the folder that holds it.

    Each wave is a folder ``American_Trends_Panel_W<number>`` with ``info.csv`` and the answers. The columns
    of ``info.csv`` are ``key``, ``question``, ``references`` (all options) and ``option_ordinal`` (scale
    values of the first options). The answers are in ``responses.csv`` (a row per respondent, see
    :mod:`.opinionqa_responses`) or, if that is absent, as counts in ``<ATTRIBUTE>_data.json``, ``{key:
    {level: {option text: count}}}``. Files of crossed attributes, ``{key: {level: {level of another: {option
    text: count}}}}``, are logged and left out, since the groups of each attribute have files of their own. So
    is an attribute whose groups have the same answers as another's throughout.

    Responses are the references that are not refusals and have a scale value. Refusals and other answers
    without a scale value are logged by question and text. A key that is listed again, with the wording for
    another group of respondents, is logged; its first wording is used. ``n`` counts respondents.

    Raises:
        DataError: if a folder or file is missing, empty or malformed.
    """
    root = _human_resp(Path(source or ""))
    waves = sorted(p for p in root.iterdir() if re.fullmatch(r"American_Trends_Panel_W\d+", p.name))
    if not waves:
        raise DataError(f"{root}: no folder American_Trends_Panel_W<number>; give OpinionQA's human_resp")
    wanted = None
    if options.contentious:
        wanted = {row["key"] for row in read_csv_rows(root / CONTENTIOUS, ["key"])}
    into = Collector()
    groups = Groups(options, into)
    seen: set[str] = set()
    kept: list[Question] = []
    for wave in waves:
        require_folder(wave, "restore the publisher's folder")
        items = _read_info(wave, wanted, seen, into)
        answered = _read_answers(wave, items, seen, groups, into)
        for key, item in items.items():
            if key in answered:
                kept.append(item.question)
            else:
                into.drop(f"{wave.name}/info.csv: {key}", NO_COUNTS)
    return without_copied_attributes(into.dataset(kept, root.name, root))


def _human_resp(folder: Path) -> Path:
    advice = "give the folder that holds OpinionQA's human_resp"
    require_folder(folder, advice)
    inner = folder / "human_resp"
    if not inner.exists():
        return folder
    require_folder(inner, advice)
    return inner


def _read_info(wave: Path, wanted: set[str] | None, seen: set[str], into: Collector) -> dict[str, Item]:
    """Read the usable questions of a wave by key, log the others, and add all keys to ``seen``."""
    path = wave / "info.csv"
    items: dict[str, Item] = {}
    for i, row in enumerate(read_csv_rows(path, ["key", "question", "references", "option_ordinal"])):
        key = row["key"]
        where = f"{wave.name}/info.csv: row {i + 2}, {key}"
        if key in seen:
            into.drop(where, REPEATED_QUESTION)
            continue
        seen.add(key)
        if wanted is not None and key not in wanted:
            into.drop(where, NOT_CONTENTIOUS)
            continue
        at = f"{path}: row {i + 2}, {key}"
        references = parse_texts(row["references"], f"{at}: references")
        scale = parse_numbers(row["option_ordinal"], f"{at}: option_ordinal")
        item = _item(key, row["question"], references, scale, wave.name)
        if item is None:
            into.drop(where, FEW_OPTIONS)
        else:
            items[key] = item
    return items


def _item(key: str, prompt: str, references: Sequence[str], scale: Sequence[float], wave: str) -> Item | None:
    """Make a question, or return None if its options do not make a slate."""
    options = [r for r in references if normal_text(r) != "refused"]
    responses = options[: len(scale)]
    texts = [normal_text(r) for r in responses]
    if len(responses) < 2 or len(responses) < len(scale) or len(set(texts)) < len(texts):
        return None
    index = dict.fromkeys(map(normal_text, options), -1)
    index |= {t: i for i, t in enumerate(texts)}
    question = Question(key, "opinionqa", prompt, tuple(responses), wave, tuple(scale))
    return Item(question, index)


def _read_answers(
    wave: Path, items: Mapping[str, Item], listed: set[str], groups: Groups, into: Collector
) -> set[str]:
    """Add the preferences of a wave, and return the keys that have answers."""
    if (wave / "responses.csv").exists():
        return collect_responses(wave, items, groups, into)
    answered: set[str] = set()
    for path in sorted(wave.glob("*_data.json")):
        answered |= _collect_counts(path, items, listed, groups, into)
    return answered


def _collect_counts(
    path: Path, items: Mapping[str, Item], listed: set[str], groups: Groups, into: Collector
) -> set[str]:
    """Add the counts of one attribute, and return the keys found."""
    attribute = path.name.removesuffix("_data.json")
    name = f"{path.parent.name}/{path.name}"
    answered = set()
    found, crossed = _load_counts(path)
    if crossed:
        into.drop(f"{name}: {len(crossed)} questions, first {crossed[0]}", CROSSED)
    for key, levels in found.items():
        if key not in items:
            # A question that info.csv lists and that is left out is in the log already.
            if key not in listed:
                into.drop(f"{name}: {key}", UNKNOWN_QUESTION)
            continue
        answered.add(key)
        left_out: defaultdict[tuple[str, str], float] = defaultdict(float)
        for level, counts in levels:
            group = groups.find(attribute, level, name)
            if group is None:
                continue
            values = np.zeros(len(items[key].question.responses))
            for text, count in counts.items():
                response, reason = items[key].match(text)
                if reason is None:
                    values[response] += count
                elif count > 0:
                    left_out[text, reason] += count
            if values.sum() > 0:
                into.add(group, key, values, float(values.sum()))
            else:
                into.drop(f"{name}: {group.group_id}, {key}", EMPTY_PAIR)
        for (text, reason), count in left_out.items():
            into.drop(f"{name}: {key}, {text!r} ({count:g} answers)", reason)
    return answered


def _load_counts(path: Path) -> tuple[dict[str, list[tuple[str, dict[str, float]]]], list[str]]:
    """Read the levels and their counts by question key, and check them.

    Returns:
        The counts, and the keys for which the file has counts of crossed attributes instead.
    """
    require_file(path)
    content = read_json(path, str(path), DataError, "; restore the publisher's file")
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object of question keys")
    found, crossed = {}, []
    for key, entry in content.items():
        if not isinstance(entry, dict):
            raise DataError(f"{path}: {key}: expected an object of {{level: {{option: count}}}}")
        levels = [(k, v) for k, v in entry.items() if k not in ("MC_options", "question_text")]
        if _is_crossed(levels):
            crossed.append(key)
        else:
            found[key] = [(level, _counts(counts, f"{path}: {key}: {level}")) for level, counts in levels]
    return found, crossed


def _is_crossed(levels: Sequence[tuple[str, Any]]) -> bool:
    """Return whether levels hold the levels of another attribute, and not counts.

    The file's name does not tell, since an attribute's name may hold an underscore.
    """
    inner = [v for _, counts in levels if isinstance(counts, dict) for v in counts.values()]
    return bool(inner) and all(isinstance(v, dict) for v in inner)


def _counts(counts: Any, where: str) -> dict[str, float]:
    """Check the counts of a level and convert them to numbers."""
    if not isinstance(counts, dict):
        raise DataError(f"{where}: expected an object of {{option: count}}")
    numbers = {text: finite_number(v, f"{where}: count of {text!r}") for text, v in counts.items()}
    for text, count in numbers.items():
        if count < 0:
            raise DataError(f"{where}: count of {text!r} {count:g} is negative; counts start at 0")
    if not math.isfinite(sum(numbers.values())):
        raise DataError(f"{where}: the counts add up to infinity; correct them in the source")
    return numbers
