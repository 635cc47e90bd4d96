"""What a survey's answers alone say of whether it can be learnt from, checked before anything is started."""

from __future__ import annotations

import numpy as np

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.dataset import KIND, PreferenceDataset
from gpo_ray.preferences.splits import Split
from gpo_ray.runtime.storage import Folder


def require_two_answers(survey: str, dataset: PreferenceDataset) -> None:
    """Check that some group answered two questions, since a context needs one and a prediction another.

    Args:
        survey: folder of the survey.
        dataset: the survey, with or without its answers; without them they are read only if they are few.

    Raises:
        DataError: if every group answered at most one question.
    """
    if not dataset.preferences.num_rows:
        manifest = Folder(survey, DataError).read_manifest(KIND, fields={"preferences": int})
        if manifest["preferences"] > dataset.groups.num_rows:
            return  # then one of the groups has two answers
        dataset = PreferenceDataset.load(survey)
    if np.bincount(dataset.group_codes()).max() < 2:
        raise DataError(
            f"{survey}: groups answered 1 question, 2 are needed (one to learn about a group, one to "
            "predict); import a survey with more questions"
        )


def require_validation(dataset: PreferenceDataset, split: Split) -> None:
    """Check that a validation group answered two training questions, if the answers were loaded.

    Raises:
        ConfigError: if none did.
    """
    if (
        dataset.preferences.num_rows
        and not _answered(dataset, split.validation_groups, split.question_order, 2).any()
    ):
        raise ConfigError("no validation group answered two of the training questions; use another --seed")


def require_test(dataset: PreferenceDataset, split: Split) -> None:
    """Check that a test group has answers for a context and to predict.

    Raises:
        ConfigError: if none has, or there is no test group.
    """
    if not split.test_groups:
        raise ConfigError(f"fraction {split.fraction:g} leaves no group to test on; use less than 1")
    if split.new_questions:
        able = _answered(dataset, split.test_groups, split.context_order, 1)
        able &= _answered(dataset, split.test_groups, split.new_questions, 1)
    else:
        able = _answered(dataset, split.test_groups, split.context_order, 2)
    if not able.any():
        raise ConfigError(f"split {split.fraction:g}/{split.seed}: no test group has answers to predict")


def _answered(
    dataset: PreferenceDataset, groups: tuple[str, ...], questions: tuple[str, ...], least: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which of all groups are among ``groups`` and answered at least so many of ``questions``."""
    group = dataset.group_codes()
    asked = np.isin(dataset.questions["question_id"].to_pylist(), questions)
    count = np.bincount(group[asked[dataset.question_codes()]], minlength=dataset.groups.num_rows)
    return np.isin(dataset.groups["group_id"].to_pylist(), groups) & (count >= least)
