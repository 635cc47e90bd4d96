"""The Ray Data job that sorts the answers of a large survey by group and question."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
import ray.exceptions

from gpo_ray.errors import ConfigError, DataError, ResourceError, reason_of
from gpo_ray.preferences.dataset import KIND as SURVEY
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.large import COLUMNS, KIND
from gpo_ray.preferences.tables import PREFERENCES, answer_files
from gpo_ray.runtime.locks import TEMPORARY, temporary_held
from gpo_ray.runtime.ray_session import quiet_ray_data, stalled, user_error
from gpo_ray.runtime.storage import Folder

BATCH = 500_000
"""Number of answers checked at a time, some 300 MB; a block of Ray Data may hold many more."""
SORTED = ["group", "question"]
"""Columns by which the answers are sorted."""


def sort_answers(survey: str, out: Folder) -> None:
    """Sort a survey's answers and write them for :meth:`~gpo_ray.preferences.large.SortedAnswers.open`.

    The job runs on the cluster that this process is connected to, which must be able to read the survey; Ray
    Data spills to disk what its object store cannot hold. The manifest is written last.

    Args:
        survey: folder of the survey.
        out: folder for the sorted answers.

    Raises:
        DataError: if the survey is not complete or cannot be read, or an answer is wrong; the message names
            the first wrong answer found.
        ConfigError: if ``out`` cannot be written.
        ResourceError: if the cluster failed or is too small.
    """
    out.probe()
    folder = Folder(survey, DataError)
    manifest = folder.read_manifest(SURVEY, fields={"preferences": int})
    files = answer_files(manifest)
    dataset = PreferenceDataset.load(survey, answers=False)
    # The temporary folder is on the disk of ``out``, so that files are moved and not copied.
    with (
        tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out.local_path) as made,
        temporary_held(Path(made)),
    ):
        try:
            answers = _write(_in_order(folder, files, dataset), dataset, Path(made), survey)
        except OSError as e:
            raise ConfigError(f"{out}: cannot be written: {reason_of(e)}") from e
        if answers != manifest["preferences"]:
            raise DataError(
                f"{survey}: has {answers} answers, its manifest says {manifest['preferences']}; make it again"
            )
        out.begin(KIND)
        out.write_manifest(KIND, {name: out.adopt(Path(made, name)) for name in COLUMNS})


def _in_order(folder: Folder, files: Sequence[str], dataset: PreferenceDataset) -> Iterator[pa.Table]:
    """Yield batches of coded answers, sorted by group and question."""
    filesystem, path = folder.location
    quiet_ray_data()
    # By default Ray Data replaces the class of an error that a task raises.
    ray.data.DataContext.get_current().raise_original_map_exception = True
    tables = ray.put((dataset.questions, dataset.groups))
    try:
        answers = (
            ray.data.read_parquet([f"{path}/{n}" for n in files], filesystem=filesystem, partitioning=None)
            .select_columns(PREFERENCES.names)
            .map_batches(_coded, fn_args=(tables, str(folder)), batch_format="pyarrow", batch_size=BATCH)
            .sort(SORTED)
        )
        yield from answers.iter_batches(batch_format="pyarrow", batch_size=None)
    except (ray.exceptions.RayTaskError, pa.ArrowException, OSError) as e:
        raise user_error(e) or DataError(f"{folder}: its answers cannot be read: {_last(e)}") from e
    except (ray.exceptions.RayError, *stalled()) as e:
        raise ResourceError(f"sorting the answers of {folder} stopped: {_last(e)}") from e


def _last(error: Exception) -> str:
    return " ".join(str(error).split())[-300:]


def _coded(batch: pa.Table, tables: ray.ObjectRef, survey: str) -> pa.Table:
    """Check a batch of answers, and replace the ids of groups and questions by their row numbers."""
    questions, groups = ray.get(tables)
    part = PreferenceDataset(questions, groups, batch.cast(PREFERENCES), pa.table({}))
    group, question = part.check_answers(f"{survey}: in a batch of {batch.num_rows} answers")
    return pa.table(
        {
            "group": group.astype(np.int32),
            "question": question.astype(np.int32),
            "choice": pc.fill_null(batch["choice"], -1).cast(pa.int16()),
            "sampling": part.sampling_variance(),
            "share": batch["share"],
        }
    )


def _write(batches: Iterable[pa.Table], dataset: PreferenceDataset, folder: Path, survey: str) -> int:
    """Write the files of sorted answers from sorted batches, and return the number of answers."""
    groups, questions = dataset.groups.num_rows, dataset.questions.num_rows
    starts, share_starts = np.zeros(groups + 1, np.int64), np.zeros(groups + 1, np.int64)
    last = -1
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in COLUMNS}
        for batch in batches:
            if not batch.num_rows:
                continue
            group, question = (batch[name].to_numpy() for name in SORTED)
            pair = group.astype(np.int64) * questions + question
            again = np.flatnonzero(np.diff(pair, prepend=last) <= 0)
            if len(again):
                i = int(again[0])
                key = [
                    dataset.groups["group_id"][int(group[i])],
                    dataset.questions["question_id"][int(question[i])],
                ]
                raise DataError(
                    f"{survey}: preferences: ({', '.join(repr(k.as_py()) for k in key)}) occurs twice"
                )
            last = int(pair[-1])
            lengths = pc.fill_null(pc.list_value_length(batch["share"]), 0).to_numpy()
            starts[1:] += np.bincount(group, minlength=groups)
            share_starts[1:] += np.bincount(group, lengths, minlength=groups).astype(np.int64)
            values = {
                "question": question,
                "choice": batch["choice"].to_numpy(),
                "sampling": batch["sampling"].to_numpy(),
                "share": batch["share"].combine_chunks().flatten().to_numpy(zero_copy_only=False),
            }
            for name, column in values.items():
                column.astype(COLUMNS[name]).tofile(files[name])
        np.cumsum(starts).tofile(files["starts"])
        np.cumsum(share_starts).tofile(files["share_starts"])
    return int(starts.sum())
