"""The page as an application of its own, served in a thread."""

import socket
import threading
import time
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from page_backend import InProcessBackend

from gpo_ray.serving.page.mount import mount_page
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.groups import Registry
from gpo_ray.serving.registry.keys import KeyRing
from gpo_ray.serving.settings import ServeSettings


class FaultyBackend:
    """Passes calls on, but for what ``fault`` says."""

    def __init__(self, inner):
        self.inner, self.fault = inner, None

    async def predict(self, context, questions, caller=""):
        if self.fault:
            raise self.fault
        return await self.inner.predict(context, questions, caller)

    async def ready(self):
        return await self.inner.ready()


class Service:
    """What one application is made of."""

    def __init__(self, folder, bundle, survey, **changes):
        settings = {"bundle": str(bundle), "survey": survey and str(survey), "require_keys": False}
        self.settings = ServeSettings.model_validate(settings | changes)
        self.engine = open_database(f"sqlite:///{folder}/groups.sqlite")
        self.registry, self.keys = Registry(self.engine), KeyRing(self.engine)
        self.backend = FaultyBackend(InProcessBackend.load(bundle))
        self.app = FastAPI()
        self.app.get("/v1/own")(lambda: "own")
        mount_page(self.app, self.settings, self.backend, self.registry, self.keys)

    @contextmanager
    def running(self):
        """Serve in a thread; yields the address."""
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(self.app, log_level="warning", ws="websockets-sansio"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            deadline = time.monotonic() + 60
            while not server.started and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert server.started
            yield self
        finally:
            server.should_exit = True
            thread.join(30)
            self.engine.dispose()
