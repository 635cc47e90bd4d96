"""What is done about replicas that die or have too much to do."""

import asyncio
import pickle
import time
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError
from serving_backend import answer as ask_for
from serving_backend import write_service_bundle
from synthetic import survey

from gpo_ray.errors import DataError
from gpo_ray.model.bundle import read_bundle, write_bundle
from gpo_ray.model.texts import AnsweredSlate
from gpo_ray.prior.keyed import KeyedGroupPrior
from gpo_ray.serving import deployments
from gpo_ray.serving.inference import calls
from gpo_ray.serving.inference.backend import Overloaded, Unavailable
from gpo_ray.serving.inference.calls import (
    ATTEMPTS,
    Call,
    Context,
    Failure,
    InProcess,
    answer,
    ask,
)
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


KNOWN = [*survey(groups=8, count=12).iter_questions()]
"""The questions of :func:`write_service_bundle`."""


class SwapsMeanwhile:
    """An encoder during whose work another bundle is swapped in."""

    def __init__(self, encoder):
        self.encoder, self.swap = encoder, None

    async def measure(self, *call):
        if self.swap is not None:
            await self.swap()
        return await self.encoder.measure(*call)

    async def encode(self, *call):
        return await self.encoder.encode(*call)


def bundle_that_saw_nothing_known(folder, like):
    """A bundle of the same embeddings, whose questions have other prompts."""
    bundle = read_bundle(like)
    asked = [replace(q, prompt=f"Unheard of: {q.prompt}") for q in KNOWN]
    prior = KeyedGroupPrior.keyed(bundle.prior.prior, asked)
    write_bundle(folder, bundle.model.state_dict(), bundle.config, {}, prior)
    return folder


def test_a_request_uses_one_bundle_even_if_another_is_swapped_in_meanwhile(
    tmp_path, tiny_language_model, monkeypatch
):
    monkeypatch.setattr(deployments, "Metrics", lambda: MagicMock())
    first = str(write_service_bundle(tmp_path / "first", tiny_language_model))
    second = str(bundle_that_saw_nothing_known(tmp_path / "second", first))
    settings = ServeSettings(bundle=first)

    async def run():
        encoder = SwapsMeanwhile(deployments.EncoderDeployment(settings))
        predictor = deployments.Predictor(settings, InProcess(encoder))
        await predictor.reconfigure({"bundle": first})
        old = (await predictor.ready()).bundle
        encoder.swap = lambda: predictor.reconfigure({"bundle": second})
        found = []
        context = Context.of([AnsweredSlate(**ask_for(0, choice=1))])
        for q in KNOWN[3:5]:
            asked = ((q.prompt, tuple(q.responses)),)
            found.append(await predictor.predict(Call(context, asked, "someone", time.time() + 60)))
        new = (await predictor.ready()).bundle
        assert old != new
        return found, [old, new]

    found, bundles = asyncio.run(run())
    assert [f.bundle for f in found] == bundles
    assert [f.predictions[0].seen for f in found] == [True, False]
