"""The reader of single people's answers to OpinionQA (Hwang et al. 2023, arXiv 2305.14929)."""

from __future__ import annotations

from pathlib import Path

from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.readers.answers import individual_dataset, read_answers
from gpo_ray.preferences.readers.common import Drops
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.parquet import TEXT, TEXT_OR_INTEGER, read_parquet


def read_opinionqa_individuals(source: Path | None, options: ReadOptions) -> PreferenceDataset:  # noqa: ARG001
    """Read a folder of ``answers.parquet`` and ``questions.parquet``.

    Their columns are ``user_id, topic, question_id, choice`` (an index into the options) and ``question_id,
    topic, question, options`` (without refusals), perhaps with ``ordinal``. Question ids are OpinionQA's
    keys. Each group is a user, with the id ``user=<id>``.

    Raises:
        DataError: if a file is missing, empty or malformed.
    """
    folder = Path(source or "")
    drops: Drops = []
    answers = read_answers(folder, "user_id", "opinionqa", drops)
    table = read_parquet(
        folder / "answers.parquet", {"user_id": TEXT_OR_INTEGER}, {"topic": TEXT}
    ).to_pydict()
    topics = dict(zip(table["user_id"], table.get("topic", ()), strict=False))
    groups = []
    for user in answers.respondents:
        topic = topics.get(user)
        about = None if topic is None else f"A US adult who answered questions on: {topic}"
        groups.append(Group(f"user={user}", "individual", about))
    return individual_dataset(answers, groups, drops, "answers.parquet", folder)
