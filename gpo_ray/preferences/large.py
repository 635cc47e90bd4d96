"""Surveys whose answers do not fit in memory: written in batches, and read through memory maps.

Meta-training needs a few groups in each step. Their answers are read from disk, where they are sorted by
group and question, so that memory does not grow with the number of answers. job.py sorts them; a survey that
fits in memory is in dataset.py.

Shapes: G groups, N answers, S shares of all answers that are shares and not a single choice.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpo_ray.errors import DataError, reason_of
from gpo_ray.preferences.dataset import KIND as SURVEY
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.slates import Ints
from gpo_ray.preferences.tables import PREFERENCE_FILE, PREFERENCES, as_schema
from gpo_ray.runtime.locations import local_copy
from gpo_ray.runtime.storage import Folder, parquet_bytes

KIND = "sorted answers"
LARGE = 10_000_000
"""Number of answers from which a survey is trained on from disk; in memory they would take some 5 GB."""
COLUMNS = {
    "starts": np.int64,
    "question": np.int32,
    "choice": np.int16,
    "sampling": np.float64,
    "share_starts": np.int64,
    "share": np.float64,
}
"""The files of sorted answers and their types, named like the fields of :class:`SortedAnswers`."""


def write_survey(
    uri: str | os.PathLike[str],
    questions: Iterable[Question],
    groups: Iterable[Group],
    answers: Iterable[pa.Table],
) -> None:
    """Write a survey batch by batch; :meth:`PreferenceDataset.save` writes one that fits in memory.

    The answers are not checked here but when they are read.

    Args:
        uri: folder, local or remote.
        questions: questions with distinct ``question_id``.
        groups: groups with distinct ``group_id``.
        answers: batches as tables with the columns of :data:`~gpo_ray.preferences.tables.PREFERENCES`.

    Raises:
        DataError: naming the table, row and key of the first problem with questions or groups, or the batch
            that has other columns, or if there are no answers.
    """
    survey = PreferenceDataset.build(questions, groups, None)
    folder = Folder(uri, DataError)
    with folder.writing():
        _write_survey(folder, survey, answers)


def _write_survey(folder: Folder, survey: PreferenceDataset, answers: Iterable[pa.Table]) -> None:
    folder.begin(SURVEY)
    tables = {"questions": survey.questions, "groups": survey.groups, "dropped": survey.dropped}
    files = {f"{n}.parquet": folder.write(f"{n}.parquet", parquet_bytes(t)) for n, t in tables.items()}
    rows = 0
    for i, table in enumerate(answers):
        name = f"{PREFERENCE_FILE}-{i:05}.parquet"
        table = as_schema(table, PREFERENCES, f"{folder}: answers, batch {i}")
        files[name] = folder.write(name, parquet_bytes(table))
        rows += table.num_rows
    if not rows:
        raise DataError(f"{folder}: no answers were given, so that nothing complete is written")
    counts = {"questions": survey.questions.num_rows, "groups": survey.groups.num_rows, "preferences": rows}
    folder.write_manifest(SURVEY, files, **counts, dropped={})


def is_large(survey: str) -> bool:
    """Return whether a survey has so many answers that they are better left on disk.

    Raises:
        DataError: if the folder holds no complete survey.
    """
    manifest = Folder(survey, DataError).read_manifest(
        SURVEY, hint="make it with: gpo survey import", fields={"preferences": int}
    )
    return bool(manifest["preferences"] >= LARGE)


def contents_id(survey: str) -> str:
    """Return a hash of a survey's files, taken from its manifest.

    It replaces :meth:`PreferenceDataset.fingerprint`, which would have to read all the answers.
    """
    files = Folder(survey, DataError).read_manifest(SURVEY)["files"]
    hashes = json.dumps(sorted((name, entry["sha256"]) for name, entry in files.items()))
    return hashlib.sha256(hashes.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SortedAnswers:
    """All answers of a survey, sorted by group and then question, in memory maps.

    ``starts`` (G + 1,) is where each group's answers start, ``question`` (N,) the number of each answer's
    question, ``choice`` (N,) the chosen response, -1 where shares were given, and ``sampling`` (N,) the
    answer's :meth:`~gpo_ray.preferences.dataset.PreferenceDataset.sampling_variance`. ``share_starts``
    (G + 1,) is where each group's shares start in ``share`` (S,), which holds them end to end. ``sizes`` is
    the number of responses of each question.
    """

    starts: Ints
    question: NDArray[np.int32]
    choice: NDArray[np.int16]
    sampling: NDArray[np.float64]
    share_starts: Ints
    share: NDArray[np.float64]
    sizes: Ints

    @classmethod
    def open(cls, folder: Folder, sizes: Ints) -> SortedAnswers:
        """Map the files that :func:`gpo_ray.preferences.job.sort_answers` wrote.

        Files at a URI are copied to a local disk first.

        Raises:
            DataError: if the folder is not complete, or a file was cut.
        """
        manifest = folder.read_manifest(KIND, hint="train again")
        found: dict[str, NDArray[Any]] = {}
        try:
            with local_copy(folder.absolute) as path:  # a mapped file stays readable after its removal
                for name, dtype in COLUMNS.items():
                    file, entry = path / name, manifest["files"].get(name, {})
                    if not file.exists() or file.stat().st_size != entry.get("bytes"):
                        raise DataError(
                            f"{folder.where(name)}: missing or cut; delete the folder and train again"
                        )
                    mapped = np.memmap(file, dtype, "r") if entry["bytes"] else np.zeros(0, dtype)
                    found[name] = np.array(mapped) if name.endswith("starts") else mapped
        except OSError as e:
            raise DataError(f"{folder}: cannot be read: {reason_of(e)}") from e
        return cls(**found, sizes=sizes)

    def questions_of(self, group: int) -> Ints:
        """Return the numbers of the questions that a group answered, ascending."""
        return self.question[self.starts[group] : self.starts[group + 1]].astype(np.int64)

    def sampling_of(self, group: int) -> NDArray[np.float64]:
        """Return the sampling variances of a group's answers to its :meth:`questions_of`."""
        return np.array(self.sampling[self.starts[group] : self.starts[group + 1]])

    def shares_of(self, group: int) -> NDArray[np.float64]:
        """Return a group's shares over the responses of its :meth:`questions_of`, end to end.

        A single choice becomes one-hot shares.
        """
        sizes = self.sizes[self.questions_of(group)]
        choice = self.choice[self.starts[group] : self.starts[group + 1]]
        values, first, chosen = np.zeros(sizes.sum()), np.cumsum(sizes) - sizes, choice >= 0
        values[first[chosen] + choice[chosen]] = 1.0
        given = self.share[self.share_starts[group] : self.share_starts[group + 1]]
        values[np.repeat(~chosen, sizes)] = given
        return values
