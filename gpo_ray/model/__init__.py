"""The in-context transformer, its episodes, the bundle and the public estimator."""

from gpo_ray.model.estimator import AdaptedGroup, GroupPreferenceModel

__all__ = ["AdaptedGroup", "GroupPreferenceModel"]
