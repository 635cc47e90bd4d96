"""Whatever Ray raises as it starts is one line for the user, and leaves no processes."""

import pytest
import ray

from gpo_ray.errors import ConfigError, ResourceError
from gpo_ray.runtime.ray_session import ray_session

SLOW = "The current node timed out during startup. This could happen because\nthe raylet failed to startup."


@pytest.fixture
def ray_raises(monkeypatch):
    """Make Ray raise something as it starts; the list grows each time that Ray is stopped."""
    stopped = []

    def prepare(error):
        def init(**_):
            raise error

        monkeypatch.setattr(ray, "init", init)
        return stopped

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: stopped.append(1))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return prepare


def connect(address=None):
    with ray_session(address):
        pytest.fail("Ray did not start")


@pytest.mark.parametrize("kind", [Exception, ConnectionError, KeyError, OSError, AssertionError])
def test_a_local_cluster_that_does_not_start_is_told_in_one_line(ray_raises, kind):
    stopped = ray_raises(kind(SLOW))
    with pytest.raises(ResourceError, match=r"Ray did not start on this machine: .*timed out") as caught:
        connect()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert stopped == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConfigError("as it is")])
def test_interruptions_and_errors_of_the_users_are_passed_on(ray_raises, error):
    stopped = ray_raises(error)
    with pytest.raises(type(error)) as caught:
        connect()
    assert caught.value is error
    assert stopped == [1]


def test_a_cluster_that_cannot_be_joined_is_named(ray_raises):
    ray_raises(Exception(""))
    with pytest.raises(ResourceError, match="no Ray cluster answers at auto: Exception; check --address"):
        connect("auto")
    ray_raises(RuntimeError("Version mismatch: 2.1"))
    with pytest.raises(ResourceError, match="at auto cannot be joined: Version mismatch"):
        connect("auto")
