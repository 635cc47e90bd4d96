"""The user's turn that shows a group's answers to some questions, and then asks another one.

Shapes: R responses of a question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gpo_ray.embedding.template import instruction, response_text
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.slates import Array

Shown = tuple[Question, Array]
"""A question that is shown with the shares (R,) of its responses, which sum to 1."""

GROUP = (
    "Answer as if you were one of these people. They answered other questions of a survey as follows; beside "
    "each option is the percentage of them who picked it."
)
PERSON = (
    "Answer as if you were this person, who answered other questions of a survey as follows; the option that "
    "was picked is marked with 100%."
)


class FewShotPrompt(NamedTuple):
    """A user's turn with a group's answers, and how many of them it shows."""

    text: str
    """The whole turn; the question to answer is at its end, in the wording of the embeddings' template."""
    shown: int
    """Number of answered questions that it shows."""
    dropped: int
    """Number of those that did not fit."""


def few_shot_prompt(
    target: Question,
    shown: Sequence[Shown],
    count: Callable[[str], int],
    window: int | None,
    reply: int = 1,
) -> FewShotPrompt | None:
    """Return the user's turn that shows a group's answers before it asks a question.

    The answers come first, in the order given, so that turns on several questions begin alike and a language
    model reads that beginning once. If the turn and its reply are longer than the window, answers are dropped
    from the last one on, until they fit; the question to answer is never cut.

    Args:
        target: the question to answer.
        shown: the questions that the group has answered, with its shares, the most useful first.
        count: function that returns the number of tokens of a user's turn, with all that the chat template
            adds to it; it must not decrease when an answer is added.
        window: most tokens that the model can read; None for no limit.
        reply: number of tokens of the reply.

    Returns:
        The turn; None if the question alone is longer than the window.
    """
    # what is shown says whether this is a person: choices stay choices when some are dropped
    head = PERSON if all(np.max(share) == 1 for _, share in shown) else GROUP

    def text(kept: int) -> str:
        answers = [head, *(_answered(*each) for each in shown[:kept])] if kept else []
        return "\n\n".join([*answers, instruction(target.prompt, target.responses)])

    def fits(kept: int) -> bool:
        return window is None or count(text(kept)) + reply <= window

    kept, beyond = len(shown), len(shown) + 1
    if not fits(kept):
        kept, beyond = 0, kept
        if not fits(0):
            return None
    while beyond - kept > 1:  # kept answers fit, beyond do not
        middle = (kept + beyond) // 2
        kept, beyond = (middle, beyond) if fits(middle) else (kept, middle)
    return FewShotPrompt(text(kept), kept, len(shown) - kept)


def whole_percentages(share: Array) -> list[int]:
    """Return shares (R,) as whole percentages that sum to 100, by the largest remainders."""
    exact = 100 * np.asarray(share, np.float64) / np.sum(share)
    whole = np.floor(exact + 1e-9)  # 0.29 is 28.999... in floating point
    for i in np.argsort(whole - exact, kind="stable")[: 100 - int(whole.sum())]:
        whole[i] += 1
    return [int(w) for w in whole]


def _answered(question: Question, share: Array) -> str:
    options = [
        f"{response_text(i, response)}: {percent}%"
        for i, (response, percent) in enumerate(
            zip(question.responses, whole_percentages(share), strict=True)
        )
    ]
    return "\n".join([f"Question: {question.prompt}", *options])
