"""Guesses that this machine keeps, so that a language model is asked the same only once.

Each guess is one small file in ``GPO_CACHE``, named by the hash of all that it depends on and written
atomically: a killed process loses at most one unit of work, and processes need not wait for one another.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
from collections.abc import Callable, Sequence

from gpo_ray.guesses.answer_cache import UNREADABLE, AnswerCache
from gpo_ray.guesses.asking import Asked, AskSettings
from gpo_ray.guesses.local import LocalBackend
from gpo_ray.guesses.table import MAX_REPLY, Guess
from gpo_ray.lm.model import LanguageModel

UNIT = 48
"""Number of questions that are asked together and then kept."""

GUESSES = AnswerCache("guesses")
"""Guesses of language models on this machine."""


class KeepingBackend:
    """A language model in this process, whose answers this machine keeps.

    Args:
        model: function that returns the language model; it is called when something has to be asked.
    """

    def __init__(self, model: Callable[[], LanguageModel]) -> None:
        self._model = model

    def answer(
        self,
        asked: Sequence[Asked],
        settings: AskSettings,
        tell: Callable[[float], object] = lambda _: None,
    ) -> list[Guess]:
        """Return what came of each, in the order given: kept from before, or asked now.

        Args:
            asked: what is asked. Neighbours in the role of one group are read together, so that those that
                begin alike should be neighbours.
            settings: what they are asked for.
            tell: called with the share that is answered.

        Raises:
            EmbeddingError: if the model is needed and cannot be loaded.
        """
        found = {a.content: guess for a in asked if (guess := kept_guess(a)) is not None}
        missing = list({a.content: a for a in asked if a.content not in found}.values())
        units = _units(missing)
        # processes that are asked the same at the same time begin at different places, and so share the work
        start = random.Random(os.getpid()).randrange(max(1, len(units)))
        for done, unit in enumerate(units[start:] + units[:start]):
            tell(done / len(units))
            found |= {guess.content or "": guess for guess in self._unit(unit, settings)}
        return [found[a.content] for a in asked]

    def _unit(self, asked: Sequence[Asked], settings: AskSettings) -> list[Guess]:
        """Answer a unit of work, less what another process has answered since."""
        kept = [guess for a in asked if (guess := kept_guess(a)) is not None]
        there = {guess.content for guess in kept}
        left = [a for a in asked if a.content not in there]
        made = LocalBackend(self._model()).answer(left, settings) if left else []
        for guess in made:
            keep(guess)
        return kept + made


def _units(asked: Sequence[Asked]) -> list[list[Asked]]:
    """Cut what is asked into units of work of one group, whose prompts begin alike."""
    units: list[list[Asked]] = []
    for a in asked:
        if not units or len(units[-1]) == UNIT or units[-1][0].group_id != a.group_id:
            units.append([])
        units[-1].append(a)
    return units


def kept_guess(asked: Asked) -> Guess | None:
    """Return what came of asking this before on this machine; None if it is not kept or not readable."""
    with contextlib.suppress(*UNREADABLE):
        found = GUESSES.get(asked.content)
        if found is None:
            return None
        share, reason = found["share"], found["reason"]
        if share is None and isinstance(reason, str):
            return asked.guess(None, reason, found["reply"])
        whole = math.isclose(sum(share), 1, abs_tol=1e-6) and min(share) >= 0
        if whole and len(share) == len(asked.question.responses):
            return asked.guess([float(s) for s in share])
    return None


def keep(guess: Guess) -> None:
    """Keep a guess; where the cache cannot be written, it is asked again."""
    if guess.content is not None:
        reply = None if guess.reply is None else guess.reply[:MAX_REPLY]
        GUESSES.put(guess.content, {"share": guess.share, "reason": guess.reason, "reply": reply})


def kept_bytes() -> int:
    """Return the number of bytes of all guesses that are kept."""
    total = 0
    for file in GUESSES.folder.glob("*/*.json"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    return total


def clear_kept() -> None:
    """Delete all guesses that are kept.

    Raises:
        OSError: if one cannot be deleted.
    """
    if GUESSES.folder.is_dir():
        shutil.rmtree(GUESSES.folder)
