"""Train without a word on the terminal, a report to anybody, or a trace in global state."""

from __future__ import annotations

import contextlib
import logging
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from gpo_ray.runtime.terminal import is_verbose

TALKATIVE = ("trl", "peft", "accelerate", "datasets")
"""Loggers of the libraries that train, besides those of transformers."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let the libraries that train show errors only, and send no telemetry."""
    import datasets
    from huggingface_hub import constants
    from transformers.utils import logging as of_transformers

    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [each.level for each in loggers]
    verbosity, telemetry = of_transformers.get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY
    bars = datasets.are_progress_bars_disabled()
    constants.HF_HUB_DISABLE_TELEMETRY = True
    datasets.disable_progress_bars()
    with warnings.catch_warnings():
        if not is_verbose():
            warnings.simplefilter("ignore")
            of_transformers.set_verbosity_error()
            for each in loggers:
                each.setLevel(logging.ERROR)
        try:
            yield
        finally:
            constants.HF_HUB_DISABLE_TELEMETRY = telemetry
            of_transformers.set_verbosity(verbosity)
            if not bars:
                datasets.enable_progress_bars()
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)


@contextlib.contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Seed the random numbers of Python, NumPy and torch in the block, and restore them after it."""
    python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 -- the libraries use it
    with torch.random.fork_rng():
        _seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(of_numpy)  # noqa: NPY002


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


def unchanged(config: Any) -> contextlib.AbstractContextManager[None]:
    """Return a context that restores the attributes of a configuration object, which trainers change."""

    @contextlib.contextmanager
    def restoring() -> Iterator[None]:
        before = dict(vars(config))
        try:
            yield
        finally:
            vars(config).clear()
            vars(config).update(before)

    return restoring()
