"""The HTTP API, by which groups are put, got, listed and deleted, and their preferences predicted.

Run ``python -m gpo_ray.serving.api.http`` after a change of the API: it writes the ``openapi.json`` beside
this file, which a test compares with the live document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Header, Path, Query, Request, Response
from pydantic import BaseModel, BeforeValidator

from gpo_ray import __version__
from gpo_ray.guesses.features import NO_GUESS
from gpo_ray.model.texts import Slate
from gpo_ray.prior.recognition import OTHER_RESPONSES
from gpo_ray.serving.api.access import Guard, caller_of
from gpo_ray.serving.api.budget import Bounded
from gpo_ray.serving.api.documentation import BEARER, DescribedAPI, problem_reply, problems
from gpo_ray.serving.api.middleware import API_POLICY, Gate
from gpo_ray.serving.api.problems import Reason, answer_with_problems, problem_response, trace_of
from gpo_ray.serving.api.requests import GuardedRoute, most_values, plain_integer
from gpo_ray.serving.api.schemas import (
    GROUP_ID_PATTERN,
    Group,
    GroupPage,
    GroupPut,
    GroupSummary,
    Health,
    InlinePredictRequest,
    NotReady,
    Prediction,
    Predictions,
    PredictRequest,
    RankedResponse,
    Ranking,
    RankRequest,
    Readiness,
    group_from,
)
from gpo_ray.serving.api.service import Service, quoted
from gpo_ray.serving.inference.backend import Backend, SlatePrediction, SlatePredictions
from gpo_ray.serving.settings import ServeSettings

if TYPE_CHECKING:
    from gpo_ray.serving.registry.groups import Registry, StoredGroup
    from gpo_ray.serving.registry.keys import KeyRing

MAX_PAGE_GROUPS = 100
"""Most groups on one page of the list."""
DOCUMENT = FilePath(__file__).with_name("openapi.json")
_ETAG = {
    "ETag": {
        "description": "The ETag of the group, in quotes, which the header If-Match takes.",
        "schema": {"type": "string"},
    }
}

GroupIdPath = Annotated[str, Path(pattern=GROUP_ID_PATTERN, description="The id of the group.")]
IfMatch = Annotated[
    str | None,
    Header(
        description="An ETag in quotes, several of them with commas between, or `*`. The request is carried "
        "out only if the group has one of these ETags, or exists if it is `*`; otherwise the status is 409."
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        description="Always `*`: the group is registered only if it does not exist yet; otherwise the status "
        "is 409."
    ),
]
Limit = Annotated[
    int,
    Query(ge=1, le=MAX_PAGE_GROUPS, description="The most groups that the page may have."),
    BeforeValidator(plain_integer),
]
After = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00]*$",
        description="The page begins with the group after this id. Without it, the first page is returned.",
    ),
]


def create_api(
    settings: ServeSettings,
    backend: Backend,
    registry: Registry,
    keys: KeyRing,
    page_policy: str = API_POLICY,
    on_refusal: Callable[[Reason], None] | None = None,
) -> FastAPI:
    """Return the API as an ASGI application.

    Args:
        settings: settings, of which ``limits`` and ``require_keys`` are used here.
        backend: the backend that predicts.
        registry: the registry of groups.
        keys: the API keys.
        page_policy: Content-Security-Policy of answers outside /v1 that set none themselves.
        on_refusal: function that metrics use, called for each well-formed request that is not carried out.
    """
    api = DescribedAPI(
        title="Group preferences",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    service = Service(Bounded(backend, settings.limits), registry, settings.limits)
    api.state.guard = Guard(settings, keys)
    api.state.most_values = most_values(settings.limits)
    answer_with_problems(api, on_refusal)
    api.add_middleware(
        Gate,
        body_bytes=settings.limits.body_bytes,
        body_seconds=settings.limits.body_seconds,
        page_policy=page_policy,
        local=not settings.require_keys,
    )
    _add_probes(api, backend)
    _add_groups(api, service)
    _add_predictions(api, service)
    return api


def _add_probes(api: FastAPI, backend: Backend) -> None:
    @api.get("/healthz", operation_id="health")
    async def health() -> Health:
        """Say that the process is alive."""
        return Health()

    unready: dict[int | str, Any] = {503: problem_reply(503, NotReady)}

    @api.get("/readyz", operation_id="ready", response_model=Readiness, responses=unready)
    async def ready(request: Request) -> Any:
        """Say whether predictions can be made now, and by which bundle."""
        found = await backend.ready()
        if found.ready:
            return Readiness(ready=True, bundle=found.bundle, problem=found.problem)
        return problem_response(
            NotReady(
                title=HTTPStatus.SERVICE_UNAVAILABLE.phrase,
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                detail=found.problem or "predictions cannot be made now",
                request_id=trace_of(request.scope).request_id,
                bundle=found.bundle,
                problem=found.problem,
            ),
            {"Retry-After": "1"},
        )


def _add_groups(api: FastAPI, service: Service) -> None:
    async def put_group(
        request: Request,
        group_id: GroupIdPath,
        body: GroupPut,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> Any:
        """Register a group by its answers, or replace the answers of a registered group."""
        tenant, caller = _tenant(request), caller_of(request)
        stored, created = await service.put(tenant, caller, group_id, body, if_match, if_none_match)
        return _shown(stored, HTTPStatus.CREATED if created else HTTPStatus.OK)

    async def get_group(request: Request, group_id: GroupIdPath) -> Any:
        """Return a registered group with its answers."""
        return _shown(await service.group(_tenant(request), group_id))

    async def delete_group(request: Request, group_id: GroupIdPath, if_match: IfMatch = None) -> Response:
        """Delete the answers and the description of a registered group."""
        await service.delete(_tenant(request), caller_of(request), group_id, if_match)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def list_groups(request: Request, limit: Limit = MAX_PAGE_GROUPS, after: After = None) -> GroupPage:
        """List the registered groups, sorted by id, a page at a time."""
        found = await service.list_groups(_tenant(request), after, limit + 1)
        names = GroupSummary.model_fields
        groups = tuple(GroupSummary(**{n: getattr(g, n) for n in names}) for g in found[:limit])
        return GroupPage(groups=groups, next=groups[-1].group_id if len(found) > limit else None)

    tagged: dict[int | str, Any] = {
        200: {"description": "The group as it is registered now.", "headers": _ETAG}
    }
    created = {
        201: {"description": "The group, which was not registered before.", "headers": _ETAG, "model": Group}
    }
    path = "/v1/groups/{group_id}"
    changed = problems(400, 408, 409, 415) | tagged | created
    _route(api, "PUT", path, put_group, changed, response_model=Group)
    _route(api, "GET", path, get_group, problems(404) | tagged, response_model=Group)
    _route(api, "DELETE", path, delete_group, problems(400, 404, 409), status_code=204)
    _route(api, "GET", "/v1/groups", list_groups, problems())


def _add_predictions(api: FastAPI, service: Service) -> None:
    backend = service.backend

    async def predict_group(request: Request, group_id: GroupIdPath, body: PredictRequest) -> Any:
        """Predict the preferences of a registered group over the responses of some questions."""
        group = await service.group(_tenant(request), group_id)
        made = await backend.predict(group.context, body.questions, caller_of(request))
        return _reply(_predictions(body.questions, made, group))

    async def predict_inline(request: Request, body: InlinePredictRequest) -> Any:
        """Predict the preferences of a group that is not registered, from the answers in the request."""
        made = await backend.predict(body.context, body.questions, caller_of(request))
        return _reply(_predictions(body.questions, made))

    async def rank_responses(request: Request, group_id: GroupIdPath, body: RankRequest) -> Ranking:
        """Sort the responses of a question by the preference of a registered group."""
        group = await service.group(_tenant(request), group_id)
        made = await backend.predict(group.context, [body], caller_of(request))
        return _ranking(body, made, group)

    bodies = (400, 408, 415)
    _route(
        api,
        "POST",
        "/v1/groups/{group_id}/predict",
        predict_group,
        problems(404, 504, *bodies),
        response_model=Predictions,
    )
    _route(api, "POST", "/v1/predict", predict_inline, problems(504, *bodies), response_model=Predictions)
    _route(api, "POST", "/v1/groups/{group_id}/rank", rank_responses, problems(404, 504, *bodies))


def _route(
    api: FastAPI, method: str, path: str, endpoint: Any, responses: dict[int | str, Any], **more: Any
) -> None:
    api.router.add_api_route(
        path,
        endpoint,
        methods=[method],
        operation_id=endpoint.__name__,
        responses=responses,
        openapi_extra={"security": [{BEARER: []}]},
        route_class_override=GuardedRoute,
        **more,
    )


def _tenant(request: Request) -> str:
    tenant = trace_of(request.scope).tenant
    assert tenant is not None  # noqa: S101 -- the guard let the request in
    return tenant


def _shown(stored: StoredGroup, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return _reply(group_from(stored), status, {"ETag": quoted(stored.etag)})


def _note(made: SlatePrediction, lacks_guesses: bool) -> str | None:
    if made.recognised is False:
        return OTHER_RESPONSES
    return NO_GUESS if lacks_guesses and made.seen is False else None


def _predictions(
    questions: Sequence[Slate], made: SlatePredictions, group: StoredGroup | None = None
) -> Predictions:
    predictions = tuple(
        Prediction(
            prompt=q.prompt,
            responses=q.responses,
            share=tuple(p.share),
            interval=None if p.interval is None else tuple(p.interval),
            language_model=tuple(p.language_model),
            seen=p.seen,
            recognised=p.recognised,
            note=_note(p, made.lacks_guesses),
        )
        for q, p in zip(questions, made.predictions, strict=True)
    )
    return Predictions(predictions=predictions, bundle=made.bundle, notes=made.notes, **_name(group))


def _reply(
    body: BaseModel, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Return ``body`` as a response, without FastAPI's second validation and its way through plain values."""
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def _ranking(question: Slate, made: SlatePredictions, group: StoredGroup) -> Ranking:
    (predicted,) = made.predictions
    order = sorted(range(len(predicted.share)), key=lambda i: -predicted.share[i])
    ranked = tuple(
        RankedResponse(
            response=question.responses[i],
            index=i,
            share=predicted.share[i],
            interval=None if predicted.interval is None else predicted.interval[i],
        )
        for i in order
    )
    return Ranking(prompt=question.prompt, ranked=ranked, bundle=made.bundle, **_name(group))


def _name(group: StoredGroup | None) -> dict[str, Any]:
    return {} if group is None else {"group": group.group_id, "version": group.version}


def document() -> dict[str, Any]:
    """Return the API's OpenAPI document."""
    nobody: Any = None
    return create_api(ServeSettings(bundle=""), nobody, nobody, nobody).openapi()


if __name__ == "__main__":
    DOCUMENT.write_text(json.dumps(document(), indent=1) + "\n")
