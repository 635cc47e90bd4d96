"""The HTTP API: what its document says, and requests that are generated from it."""

import json
import os

import pytest
from http_caller import PROBLEM, Caller, make_context
from serving_backend import LocalBackend, make_service

from gpo_ray.serving.api.http import DOCUMENT, document

FUZZ_CASES = int(os.environ.get("GPO_FUZZ_CASES", "15"))  # for each operation and each phase


def test_the_document_that_is_shipped_is_the_live_one(service):
    shipped = json.loads(DOCUMENT.read_text())
    assert shipped == document(), "run: python -m gpo_ray.serving.api.http"
    assert Caller(service, None)("GET", "/openapi.json").json() == shipped
    for path, operations in shipped["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == path.startswith("/v1")
            for status, reply in operation["responses"].items():
                kinds = list(reply.get("content", {}))
                assert kinds == (
                    [PROBLEM] if status[0] in "45" else [] if status == "204" else ["application/json"]
                )


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory, tiny_language_model):
    """A service for all generated requests, and its operations as schemathesis knows them."""
    import schemathesis

    service = make_service(tmp_path_factory.mktemp("fuzz"), LocalBackend(tiny_language_model))
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.api)
    operations = [found.ok() for found in schema.get_all_operations()]
    return service, {o.definition.raw["operationId"]: o for o in operations}


PROBES = {"health", "ready"}  # which take nothing that could be wrong
OPERATIONS = sorted(o["operationId"] for path in document()["paths"].values() for o in path.values())


def help_along(case):
    """Have a generated request name a group that there is, and answers that are consistent."""
    if "group_id" in (case.path_parameters or {}):
        case.path_parameters["group_id"] = "0"
    if case.method in {"PUT", "DELETE"}:
        case.headers = {}
    if isinstance(case.body, dict):
        for a in case.body.get("context", []):
            a |= {"share": None, "choice": 0}


@pytest.mark.filterwarnings("ignore")  # schemathesis' own
@pytest.mark.parametrize(
    ("operation", "mode"),
    [(o, "positive") for o in OPERATIONS] + [(o, "negative") for o in OPERATIONS if o not in PROBES],
)
def test_generated_requests_get_what_the_document_says(fuzzed, operation, mode, record_property):
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    # no schema can say that shares sum to 1, so not all that fits it is accepted
    left_out = [CHECKS.get_one("positive_data_acceptance")]
    if mode == "positive":  # a request that was helped along counts as a violation
        left_out.append(CHECKS.get_one("negative_data_rejection"))
    service, operations = fuzzed
    service.registry.put("north", "0", "", make_context(0))
    cases = operations[operation].as_strategy(generation_mode=schemathesis.GenerationMode(mode))

    statuses = []

    @given(case=cases, helped=st.booleans())
    @settings(max_examples=FUZZ_CASES, suppress_health_check=list(HealthCheck))
    def check(case, helped):
        if helped and mode == "positive":
            help_along(case)
        response = case.call_and_validate(headers=service.headers("admin"), excluded_checks=left_out)
        statuses.append(response.status_code)

    check()
    record_property("cases", len(statuses))
    assert mode == "negative" or any(s < 300 for s in statuses)
