"""Survey data: the data set of groups' preferences, readers of published sources, and splits."""

from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.labels import question_key, slate_key

__all__ = ["Group", "PreferenceDataset", "Question", "question_key", "slate_key"]
