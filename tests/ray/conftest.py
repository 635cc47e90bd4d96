"""One local Ray cluster for all of these tests."""

import os

import pytest


@pytest.fixture(scope="session")
def cluster():
    """A local cluster of 4 logical CPUs, left connected for the whole session."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()
