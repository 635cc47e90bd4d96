"""A local Ray cluster for these tests."""

import os

import pytest


@pytest.fixture(scope="module")
def cluster():
    """4 logical CPUs, gone after the module: later tests start clusters of their own."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()
