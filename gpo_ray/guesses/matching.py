"""What the labels of a table of guesses mean in a survey: its questions, their responses, its groups."""

from __future__ import annotations

from collections.abc import Iterable

from gpo_ray.preferences.dataset import PreferenceDataset, Question
from gpo_ray.preferences.labels import folded_label, normal_label

QUESTION = "the survey has no such question"
SEVERAL_QUESTIONS = "the survey asks this prompt with several slates; give question ids"
GROUP = "the survey has no such group"
SEVERAL_GROUPS = "several groups of the survey have this level; add a column 'attribute'"
RESPONSE = "the survey's question has no such response"


class Survey:
    """The questions and groups of a survey by the labels that a table may give them.

    Labels are compared as they are, and then by :func:`~gpo_ray.preferences.labels.folded_label`.
    """

    def __init__(self, dataset: PreferenceDataset) -> None:
        self._ids: dict[str, Question] = {}
        self._prompts: dict[str, list[Question]] = {}
        for q in dataset.iter_questions():
            self._ids[q.question_id] = q
            self._prompts.setdefault(folded_label(q.prompt), []).append(q)
        groups = dataset.groups["group_id"].to_pylist()
        self._groups = set(groups)
        self._folded = _by_label((folded_label(g), g) for g in groups)
        levels = ((g.partition("=")[2], g) for g in groups if " & " not in g)
        self._levels = _by_label((folded_label(level), g) for level, g in levels if level)

    def question(self, label: str) -> Question | str:
        """Return the question of an id or a prompt, or why there is none."""
        found = self._ids.get(label) or self._ids.get(normal_label(label))
        if found is not None:
            return found
        asked = self._prompts.get(folded_label(label), [])
        if len(asked) == 1:
            return asked[0]
        return SEVERAL_QUESTIONS if asked else QUESTION

    def group(self, attribute: str, label: str) -> tuple[str | None, str | None]:
        """Return the id of a group and None, or None and why there is none.

        Args:
            attribute: the attribute of which the label is a level; empty if it is not given.
            label: the group's id, or a level of the attribute, or of the only attribute that has this level.
        """
        name = f"{attribute}={label}" if attribute else label
        if name in self._groups:
            return name, None
        found = self._folded.get(folded_label(name)) or (
            [] if attribute else self._levels.get(folded_label(label), [])
        )
        if len(found) == 1:
            return found[0], None
        return None, SEVERAL_GROUPS if found else GROUP


def response_index(question: Question, label: str) -> int | None:
    """Return the index of a question's response with a label; None if it has none, or several."""
    if label in question.responses:
        return question.responses.index(label)
    for form in (normal_label, folded_label):
        same = [i for i, r in enumerate(question.responses) if form(r) == form(label)]
        if same:
            return same[0] if len(same) == 1 else None
    return None


def _by_label(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for label, name in pairs:
        found.setdefault(label, []).append(name)
    return found
