"""Who prefers what: the data set, readers of real sources, splits."""

from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question

__all__ = ["Group", "PreferenceDataset", "Question"]
