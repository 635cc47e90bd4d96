"""What is done about replicas that die or have too much to do."""

import asyncio
import pickle

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from gpo_ray.errors import DataError
from gpo_ray.serving.inference import calls
from gpo_ray.serving.inference.backend import Overloaded, Unavailable
from gpo_ray.serving.inference.calls import ATTEMPTS, Failure, InProcess, answer, ask
from gpo_ray.serving.settings import ServeSettings


def asked(*outcomes):
    """What ``ask`` makes of outcomes one after the other, and how many it took."""
    left = list(outcomes)

    async def call():
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    try:
        found = asyncio.run(ask(call))
    except (DataError, Overloaded, Unavailable) as e:
        found = e
    return found, len(outcomes) - len(left)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    async def sleep(_):
        pass

    monkeypatch.setattr(calls.asyncio, "sleep", sleep)


def test_another_replica_is_asked_when_one_dies():
    assert asked(ActorDiedError(), "answer") == ("answer", 2)
    found, count = asked(*[ActorDiedError()] * (ATTEMPTS + 1))
    assert (type(found), count) == (Unavailable, ATTEMPTS)


def test_an_overload_is_told_at_once():
    found, count = asked(BackPressureError(5, 4), "answer")
    assert (type(found), count) == (Overloaded, 1)


@pytest.mark.parametrize("error", [DataError("too long"), Overloaded(), Unavailable()])
def test_failures_are_raised_where_they_are_received(error):
    found, count = asked(pickle.loads(pickle.dumps(Failure(error))), "answer")
    assert (type(found), str(found), count) == (type(error), str(error), 1)


def test_one_process_needs_one_ingress_and_one_predictor():
    assert ServeSettings(bundle="b", one_process=True).processes == 2
    assert ServeSettings(bundle="b").processes == 3
    named = {b.name for b in ServeSettings(bundle="b", one_process=True).resource_request().bundles}
    assert named == {"ingress replica", "encoder replica"}
    for many in ({"ingress": {"max": 2}}, {"predictor": {"max": 2}}, {"predictor": {"gpus": 1}}):
        with pytest.raises(ValueError, match=r"one_process: needs ingress\.max and predictor\.max 1"):
            ServeSettings(bundle="b", one_process=True, **many)
        assert not ServeSettings(bundle="b", **many).may_be_one_process


def test_an_object_in_this_process_is_asked_as_a_handle_is():
    class There:
        async def twice(self, x):
            return 2 * x

        async def wait(self, begun):
            begun.set()
            await asyncio.Event().wait()

    async def run():
        there, begun = InProcess(There()), asyncio.Event()
        assert await answer(there.twice.remote(3)) == 6
        waiting = asyncio.create_task(answer(there.wait.remote(begun)))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
