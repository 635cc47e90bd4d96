"""The parts of the OpenAPI document beyond the signatures: API keys, and every problem that can come back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from gpo_ray.serving.api.problems import MEDIA_TYPE
from gpo_ray.serving.api.schemas import NotReady, Problem

BEARER = "bearer"
_ALWAYS = (401, 403, 413, 422, 429, 500, 503)
_REFERENCE = "#/components/schemas/{model}"
_TEXT = {"schema": {"type": "string"}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How an API key is sent.", **_TEXT}},
    403: {"WWW-Authenticate": {"description": "The scope that the API key lacks.", **_TEXT}},
    429: {
        "Retry-After": {
            "description": "The seconds to wait before the request is sent again.",
            "schema": {"type": "integer"},
        }
    },
    503: {
        "Retry-After": {
            "description": "The seconds to wait before the request is sent again.",
            "schema": {"type": "integer"},
        }
    },
    504: {
        "Retry-After": {
            "description": "The seconds to wait before the request is sent again.",
            "schema": {"type": "integer"},
        }
    },
}


class DescribedAPI(FastAPI):
    """A FastAPI application whose document also holds the problems and the API keys."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            _, shared = models_json_schema(
                [(Problem, "validation"), (NotReady, "validation")], ref_template=_REFERENCE
            )
            parts = document.setdefault("components", {})
            parts["schemas"] = dict(sorted((parts.get("schemas", {}) | shared["$defs"]).items()))
            parts["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
        return super().openapi()


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of the problems of a guarded route: those of every route, and ``statuses``."""
    return {status: problem_reply(status) for status in sorted({*_ALWAYS, *statuses})}


def problem_reply(status: int, body: type[Problem] = Problem) -> dict[str, Any]:
    """Return the documentation of one problem."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model=body.__name__)}}}
    headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
    return {"description": HTTPStatus(status).phrase, "content": content, **headers}
