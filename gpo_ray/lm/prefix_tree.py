"""Lay out texts that begin alike as one sequence, a row, in which the common beginning occurs once.

A row is a tree of tokens laid out end to end: each token has the position that it has in its own text, and
sees only the tokens that precede it in that text. For a causal model this is exact: the prompt runs once for
all responses, and a common beginning of several prompts runs once for all of them.

Shapes: L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Text(NamedTuple):
    """A prompt and the responses that may follow it, as token ids."""

    prompt: list[int]
    responses: list[list[int]]


@dataclass
class Row:
    """Some texts as one sequence, to which :meth:`add` appends further texts.

    ``texts`` are the texts' numbers. ``ids`` (L,) are the token ids, and ``parent`` (L,) is the position in
    the row of the token that precedes each token in its text, -1 if there is none. For each text,
    ``prompt_end`` is the position of its prompt's last token, ``response_ends`` are those of its responses'
    last tokens, and ``added`` is the number of its tokens that no earlier text of the row shares.
    """

    texts: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    prompt_end: list[int] = field(default_factory=list)
    response_ends: list[list[int]] = field(default_factory=list)
    added: list[int] = field(default_factory=list)
    _place: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, number: int, text: Text, skip: int) -> None:
        """Append a text, without its first ``skip`` tokens."""
        before = len(self.ids)
        end = self._walk(-1, text.prompt[skip:])
        self.texts.append(number)
        self.prompt_end.append(end)
        self.response_ends.append([self._walk(end, r) for r in text.responses])
        self.added.append(len(self.ids) - before)

    def _walk(self, at: int, ids: Sequence[int]) -> int:
        for token in ids:
            new = len(self.ids)
            step = self._place.setdefault((at, token), new)
            if step == new:
                self.ids.append(token)
                self.parent.append(at)
            at = step
        return at

    def path(self, start: int, end: int) -> list[int]:
        """Return the positions of the tokens of a text after ``start``, up to and including ``end``."""
        path = []
        while end != start:
            path.append(end)
            end = self.parent[end]
        return path[::-1]

    def visible(self) -> NDArray[np.bool_]:
        """Return a mask (L, L) that is True where the first token sees the second; each token sees itself."""
        visible: list[int] = []  # what each token sees, a bit for each token of the row
        for i, parent in enumerate(self.parent):
            visible.append((visible[parent] if parent >= 0 else 0) | 1 << i)
        length = len(visible)
        packed = b"".join(bits.to_bytes(-(-length // 8), "little") for bits in visible)
        by_token = np.frombuffer(packed, np.uint8).reshape(length, -1)
        return np.unpackbits(by_token, axis=1, count=length, bitorder="little").view(bool)


def common_prefix(texts: Sequence[Text]) -> int:
    """Return the number of tokens that all prompts begin with; at least one token of each is left."""
    first, last = min(t.prompt for t in texts), max(t.prompt for t in texts)
    shortest = min(len(t.prompt) for t in texts)
    return min(_shared(first, last), shortest - 1)


def plan_rows(texts: Sequence[Text], skip: int, most: int) -> list[Row]:
    """Lay out texts in rows, so that texts that begin alike are in the same row where possible.

    Args:
        texts: the texts to lay out.
        skip: number of tokens at the beginning of each prompt to leave out.
        most: maximum number of tokens of a row; only a row with a single text may be longer.
    """
    rows: list[Row] = []
    before: list[int] = []
    for i in sorted(range(len(texts)), key=lambda i: texts[i].prompt):
        text = texts[i]
        new = len(text.prompt) - _shared(before, text.prompt) + sum(map(len, text.responses))
        if not rows or len(rows[-1].ids) + new > most:
            rows.append(Row())
        rows[-1].add(i, text, skip)
        before = text.prompt
    return rows


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
