"""Who prefers what: the data set, readers of real sources, splits."""

from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question, question_key

__all__ = ["Group", "PreferenceDataset", "Question", "question_key"]
