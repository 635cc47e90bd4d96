"""The check of Ray's own files: Serve configs, cluster files for ``ray up``, and jobs' environments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any, get_args

import jsonschema
from pydantic import BaseModel, ValidationError
from ray.runtime_env import RuntimeEnv
from ray.serve.schema import ServeDeploySchema

from gpo_ray.cluster.problems import Document, FileProblem, at
from gpo_ray.config import parse
from gpo_ray.errors import ConfigError
from gpo_ray.serving.reach import check_reach
from gpo_ray.serving.settings import ServeSettings

OURS = "gpo_ray.serving:build_app"
DEPLOYMENTS = ("Ingress", "Predictor", "Encoder")
NEEDED = {"aws": "InstanceType", "gcp": "machineType"}


def check_serve(document: Document) -> Iterator[FileProblem]:
    """Yield the mistakes in a Serve config, including keys that Serve would silently ignore."""
    for key in unknown_keys(ServeDeploySchema, document.values):
        yield document.problem(key, "Serve knows no such key, and would ignore it")
    try:
        deployed = ServeDeploySchema.model_validate(document.values)
    except (AttributeError, TypeError) as e:  # Ray's validators raise these for values that are no mappings
        yield document.problem("applications", str(e))
        return
    except ValidationError as e:
        yield from document.invalid(e)
        return
    for i, application in enumerate(document.values.get("applications", [])):
        yield from _application(document, f"applications.{i}", application, deployed.http_options.host)


def _application(
    document: Document, key: str, application: dict[str, Any], host: str
) -> Iterator[FileProblem]:
    if application.get("import_path") != OURS:
        yield document.problem(f"{key}.import_path", f"{application.get('import_path')!r} is not {OURS}")
        return
    args = application.get("args", {})
    try:
        settings = parse(ServeSettings, args, "args")
        if settings.page:
            settings.check_page()
        check_reach(settings.require_keys, host, "http_options.host")
    except ConfigError as e:
        where, _, reason = str(e).removeprefix("args: ").partition(": ")
        yield document.problem(f"{key}.args.{where}", reason)
        return
    for i, deployment in enumerate(application.get("deployments", [])):
        here = f"{key}.deployments.{i}"
        if deployment["name"] not in DEPLOYMENTS:
            yield document.problem(
                f"{here}.name", f"{deployment['name']!r} is none of {', '.join(DEPLOYMENTS)}"
            )
        swapped = at(deployment, "user_config", "bundle")
        if swapped is not None and swapped != settings.bundle:
            yield document.problem(
                f"{here}.user_config.bundle", f"{swapped!r} is not args.bundle, {settings.bundle!r}"
            )


def unknown_keys(model: type[BaseModel], values: dict[str, Any], where: str = "") -> Iterator[str]:
    """Yield the keys that a pydantic model, or a model nested in it, does not have."""
    fields = {f.alias or name: f for name, f in model.model_fields.items()}
    for key, value in values.items():
        if key not in fields:
            yield f"{where}{key}"
            continue
        for inner in _models(fields[key].annotation):
            parts = enumerate(value) if isinstance(value, list) else [(None, value)]
            for i, part in parts:
                if isinstance(part, dict):
                    yield from unknown_keys(inner, part, f"{where}{key}." + ("" if i is None else f"{i}."))


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in get_args(annotation) for m in _models(a)]


def check_launcher(document: Document) -> Iterator[FileProblem]:
    """Yield the mistakes in a cluster file for ``ray up``."""
    schema = json.loads((resources.files("ray.autoscaler") / "ray-schema.json").read_text())
    values = document.values
    errors = list(jsonschema.Draft7Validator(schema).iter_errors(values))
    for error in errors:
        path = [str(k) for k in error.absolute_path]
        if error.validator == "additionalProperties":
            path.append(next(k for k in error.instance if k not in error.schema.get("properties", {})))
        yield document.problem(".".join(path), error.message[:200])
    if errors:
        return
    types = values.get("available_node_types") or {}
    if values.get("head_node_type") not in types:
        yield document.problem(
            "head_node_type", f"{values.get('head_node_type')!r} is none of {sorted(types)}"
        )
    least = sum(t.get("min_workers", 0) for t in types.values() if isinstance(t, dict))
    if least > values.get("max_workers", 0):
        yield document.problem(
            "max_workers", f"{values.get('max_workers')} is less than all min_workers, {least}"
        )
    cloud = at(values, "provider", "type")
    if cloud not in NEEDED:
        yield document.problem("provider.type", f"{cloud!r} is none of {', '.join(NEEDED)}")
        return
    for name, kind in types.items():
        if not at(kind, "node_config", NEEDED[cloud]):
            yield document.problem(f"available_node_types.{name}.node_config.{NEEDED[cloud]}", "missing")
    commands = " ".join(values.get("head_start_ray_commands") or [])
    if "RAY_AUTH_MODE=token" not in commands:
        yield document.problem(
            "head_start_ray_commands", "RAY_AUTH_MODE=token is missing: anybody could run jobs"
        )


def check_runtime_env(document: Document) -> Iterator[FileProblem]:
    """Yield the mistakes in a file for ``ray job submit --runtime-env``, including keys that Ray ignores."""
    unknown = set(document.values) - RuntimeEnv.known_fields
    for key in sorted(map(str, unknown)):
        yield document.problem(key, "Ray knows no such key")
    for key in ("working_dir", "excludes"):
        if not document.values.get(key):
            yield document.problem(key, "missing: jobs get the code from the one, and no data by the other")
    try:
        RuntimeEnv(**{str(k): v for k, v in document.values.items()})
    except (AttributeError, TypeError, ValueError) as e:
        named = next((k for k in document.values if str(k) in str(e)), "(top level)")
        yield document.problem(str(named), " ".join(str(e).split())[:200])
