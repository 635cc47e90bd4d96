"""A bundle as an online service: groups are registered by a few answers and predicted at once.

``build_app`` takes :class:`~gpo_ray.serving.settings.ServeSettings` and is what a Serve config file names
as ``gpo_ray.serving:build_app``; ``app`` is the same with its settings from the environment, for
``serve build``.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Ray, and a bundle, are needed only by those who ask for them.
    if name == "build_app":
        from gpo_ray.serving.app import build_app

        return build_app
    if name == "app":
        from gpo_ray.serving.app import app_from_environment

        return app_from_environment()
    raise AttributeError(name)
