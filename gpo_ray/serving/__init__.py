"""A bundle as an online service: groups are registered by a few answers, and their preferences predicted.

``build_app`` takes :class:`~gpo_ray.serving.settings.ServeSettings`; a Serve config file names it as
``gpo_ray.serving:build_app``. ``app`` is the same application with settings from the environment, for
``serve build``.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # importing this package must need neither Ray nor a bundle
    if name == "build_app":
        from gpo_ray.serving.app import build_app

        return build_app
    if name == "app":
        from gpo_ray.serving.app import app_from_environment

        return app_from_environment()
    raise AttributeError(name)
