"""The check of Kubernetes objects against their schemas, and of this project's rules for every pod."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
from pydantic import ValidationError

from gpo_ray.cluster.pods import GPU
from gpo_ray.cluster.problems import Document, FileProblem, at, below, walk
from gpo_ray.cluster.ray_crds import CRDS

KUBERNETES = "1.33"
"""The Kubernetes version whose schemas are used; the schemas of such plain objects hardly change."""
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi|)")
UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15} | {
    u: 1024.0**i for i, u in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), 1)
}
MIN_MEMORY, MAX_MEMORY = 64 * 2**20, 32 * 2**40
MAX_CPUS = 1024


def check_object(document: Document) -> Iterator[FileProblem]:
    """Yield the mistakes in one object, without looking at other objects."""
    for key in ("kind", "apiVersion"):
        if not isinstance(document.values.get(key), str):
            yield document.problem(key, "missing")
            return
    if document.kind in CRDS:
        yield from _our_schema(document)
    else:
        yield from _core_schema(document, document.values)
    for path, template in pod_templates(document):
        yield from below(path, _pod_template(document, template))
    yield from _quantities(document)


def pod_templates(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all pod templates in an object, with their keys."""
    for path, value in walk(document.values):
        if path.rpartition(".")[2] == "template" and isinstance(value, dict):
            yield path, value


def containers(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all containers in an object, with their keys."""
    for path, template in pod_templates(document):
        for kind in ("initContainers", "containers"):
            for i, container in enumerate(at(template, "spec", kind) or []):
                if isinstance(container, dict):
                    yield f"{path}.spec.{kind}.{i}", container


def quantity(value: Any) -> float | None:
    """Convert a Kubernetes quantity to a number, or return None if it is not a quantity."""
    found = QUANTITY.fullmatch(str(value))
    return float(found[1]) * UNITS[found[2]] if found else None


def _our_schema(document: Document) -> Iterator[FileProblem]:
    try:
        CRDS[document.kind].model_validate(document.values)
    except ValidationError as e:
        yield from document.invalid(e, "spec")


def _core_schema(document: Document, values: dict[str, Any]) -> Iterator[FileProblem]:
    """Yield the first mistake against the schema that Kubernetes publishes; unknown keys are mistakes too."""
    try:
        text = json.dumps(values)
    except TypeError as e:  # YAML has dates, which JSON has not
        yield document.problem("(top level)", str(e))
        return
    found = _schema_error(text)
    if found is not None:
        yield document.problem(*found)


@functools.cache
def _schema_error(text: str) -> tuple[str, str] | None:
    """Return the key and message of a mistake, or None.

    The result is cached, since many pods are the same and reading the schemas is slow.
    """
    values = json.loads(text)
    try:
        kubernetes_validate.validate(values, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return "apiVersion", f"no kind {values['kind']} in {values['apiVersion']}"
    except kubernetes_validate.ValidationError as e:
        path = [str(k) for k in e.absolute_path]
        if e.validator == "additionalProperties":
            known = e.schema.get("properties", {})
            path.append(next(k for k in e.instance if k not in known))
        elif e.validator == "required":
            path.append(next(k for k in e.validator_value if k not in e.instance))
        return ".".join(path), e.message[:200]
    return None


def _pod_template(document: Document, template: dict[str, Any]) -> Iterator[FileProblem]:
    wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
    for problem in _core_schema(document, wrapped):
        yield FileProblem(problem.file, problem.key.removeprefix("template").lstrip("."), problem.message)
        return
    if at(template, "spec", "securityContext", "runAsNonRoot") is not True:
        yield document.problem("spec.securityContext.runAsNonRoot", "must be true")
    for i, container in enumerate(at(template, "spec", "containers") or []):
        if isinstance(container, dict):
            yield from below(f"spec.containers.{i}", _container(document, container))
        else:
            yield document.problem(f"spec.containers.{i}", "empty")


def _container(document: Document, container: dict[str, Any]) -> Iterator[FileProblem]:
    image = container.get("image")
    if not image:
        yield document.problem("image", "missing")
    elif not re.fullmatch(r"[^\s:]+(:\d+/[^\s:]+)?:[A-Za-z0-9_][\w.-]*|\S+@sha256:[0-9a-f]{64}", image):
        yield document.problem("image", f"{image!r} has no version")
    elif image.endswith(":latest"):
        yield document.problem("image", f"{image!r} may change under a running cluster; name a version")
    for what in ("requests", "limits"):
        for name in ("cpu", "memory"):
            if at(container, "resources", what, name) is None:
                yield document.problem(
                    f"resources.{what}.{name}", "missing: Ray takes the whole node for its own"
                )
    for name, limit in (at(container, "resources", "limits") or {}).items():
        request = at(container, "resources", "requests", name)
        have, need = quantity(limit), quantity(request)
        if need is not None and have is not None and need > have:
            yield document.problem(f"resources.requests.{name}", f"{request} is more than the limit, {limit}")


def _quantities(document: Document) -> Iterator[FileProblem]:
    """Yield the quantities that Kubernetes would refuse, or whose units are probably mistaken."""
    for path, value in walk(document.values):
        if path.rpartition(".")[2] not in {"requests", "limits"} or not isinstance(value, dict):
            continue
        for name, amount in value.items():
            key, number = f"{path}.{name}", quantity(amount)
            if number is None:
                yield document.problem(key, f"{amount!r} is not a quantity, such as 2, 500m or 16Gi")
            elif (
                name in {"memory", "storage", "ephemeral-storage"} and not MIN_MEMORY <= number <= MAX_MEMORY
            ):
                yield document.problem(key, f"{amount!r} is {number:g} bytes; write 16Gi for 16 GiB")
            elif name == "cpu" and not 0 < number <= MAX_CPUS:
                yield document.problem(key, f"{amount!r} is {number:g} cores")
            elif name == GPU and (number != int(number) or number < 1):
                yield document.problem(key, f"{amount!r}: GPUs are whole")
