"""Calls of the HTTP API through ASGI, and what tests say of its answers."""

import asyncio

import httpx
from asgi_lifespan import LifespanManager
from serving_backend import answer, question

from gpo_ray.model.texts import AnsweredSlate

PROBLEM = "application/problem+json"
GROUP = {"context": [answer(0), answer(1, choice=2)], "description": "those who rarely agree"}
ENDPOINTS = {
    "put": ("PUT", "/v1/groups/{}", GROUP, "write"),
    "get": ("GET", "/v1/groups/{}", None, "read"),
    "delete": ("DELETE", "/v1/groups/{}", None, "write"),
    "predict": ("POST", "/v1/groups/{}/predict", {"questions": [question()]}, "read"),
    "rank": ("POST", "/v1/groups/{}/rank", question(), "read"),
    "list": ("GET", "/v1/groups", None, "read"),
    "inline": ("POST", "/v1/predict", {"context": [answer()], "questions": [question()]}, "read"),
}
"""Requests that need a key: the method, the path, the body, and the scope of the key."""


class Caller:
    """Plain calls of the application, each on an event loop of its own."""

    def __init__(self, service, key="admin", **options):
        self.service, self.key, self.options = service, key, options

    def __call__(self, method, path, value=None, **more):
        return asyncio.run(self.send(method, path, value, **more))

    async def send(self, method, path, value=None, headers=None, **more):
        mine = self.service.headers(self.key) if self.key else {}
        if value is not None:
            more["json"] = value
        async with LifespanManager(self.service.api) as running:
            transport = httpx.ASGITransport(running.app, **self.options)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, headers={**mine, **(headers or {})}, **more)


def check_problem(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body = response.json()
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def make_context(i):
    return (AnsweredSlate.model_validate(answer(i)),)
