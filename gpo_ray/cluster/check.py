"""The check of every file in a cluster folder, by itself and against the others.

Kubernetes objects are checked in kubernetes.py, Ray's own files in ray_schemas.py, the Dockerfile in
dockerfile.py, and references between files in references.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from gpo_ray.cluster.dockerfile import check_dockerfile
from gpo_ray.cluster.kubernetes import check_object
from gpo_ray.cluster.problems import Document, FileProblem, at, below
from gpo_ray.cluster.ray_schemas import check_launcher, check_runtime_env, check_serve
from gpo_ray.cluster.references import Commands, check_set
from gpo_ray.config import StrictConfig
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.documents import parse_yaml, read_json, read_yaml_documents

SECRET_FILES = "secrets"  # noqa: S105 - folders of files that are never shipped


@dataclass(frozen=True)
class Checked:
    """The result of a check."""

    files: int
    """Number of files that were read."""
    problems: list[FileProblem]


class Prometheus(StrictConfig):
    """A Prometheus configuration, with the keys that this project uses."""

    global_: dict[str, str] = Field(default_factory=dict, alias="global")
    rule_files: list[str] = Field(default_factory=list)
    scrape_configs: list[dict[str, Any]] = Field(min_length=1)


class AlertRule(StrictConfig):
    """One alert rule of Prometheus."""

    alert: str
    expr: str = Field(min_length=1)
    for_: str | None = Field(default=None, alias="for")
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class AlertGroup(StrictConfig):
    """A group of alert rules that Prometheus evaluates together."""

    name: str
    rules: list[AlertRule]


class AlertRules(StrictConfig):
    """A file of alert rules."""

    groups: list[AlertGroup]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A YAML loader that rejects a key that occurs twice, of which PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping like the parent class, after checking that no key occurs twice."""
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} occurs twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def check_folder(folder: Path, commands: Commands) -> Checked:
    """Check every file in a folder such as ``cluster``.

    Args:
        folder: the folder to check.
        commands: options of every command that jobs may run.

    Raises:
        ConfigError: if the folder does not exist or has no files to check.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give the one that `gpo cluster render` wrote (--path)")
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and SECRET_FILES not in p.relative_to(folder).parts
    )
    problems: list[FileProblem] = []
    documents: dict[Path, list[Document]] = {}
    for path in files:
        found = list(_file(path, str(path.relative_to(folder)), folder))
        problems += [f for f in found if isinstance(f, FileProblem)]
        documents[path] = [f for f in found if isinstance(f, Document)]
    if not files:
        raise ConfigError(f"{folder}: no files to check")
    for members in _sets(documents, problems, folder):
        wrong = {p.file for p in problems}
        if not any(d.file in wrong for d in members):  # files with problems of their own are not compared
            problems += check_set(members, commands)
    return Checked(len(files), list(dict.fromkeys(problems)))


def _file(path: Path, file: str, folder: Path) -> Iterator[FileProblem | Document]:
    """Yield the Kubernetes objects of a file, and the problems of a file of any kind."""
    if path.name == "Dockerfile":
        yield from check_dockerfile(path, file, folder.resolve().parent)
    elif path.suffix == ".json":
        yield from _dashboard(path, file)
    elif path.suffix in {".yaml", ".yml"}:
        try:
            loaded = read_yaml_documents(path, file, ConfigError, _Loader)
        except ConfigError as e:
            yield FileProblem(file, _line(e.__cause__), str(e).removeprefix(f"{file}: "))
            return
        for values in loaded:
            if not isinstance(values, dict):
                yield FileProblem(file, "(top level)", "expected keys and values")
                continue
            yield from _document(Document(file, values), path)
    else:
        yield FileProblem(file, "(file)", "neither YAML, JSON nor a Dockerfile; nothing checks it")


def _line(error: BaseException | None) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}" if mark is not None else "(file)"


def _document(document: Document, path: Path) -> Iterator[FileProblem | Document]:
    values = document.values
    if "kind" in values or "apiVersion" in values:
        yield document
        yield from check_object(document)
        if document.kind == "RayService":
            yield from _embedded_serve(document)
    elif "applications" in values:
        yield from check_serve(document)
    elif "provider" in values or "cluster_name" in values:
        yield from check_launcher(document)
    elif "scrape_configs" in values:
        yield from _prometheus(document, path)
    elif "working_dir" in values or "excludes" in values:
        yield from check_runtime_env(document)
    elif "groups" in values:
        yield from _shape(document, AlertRules)
    else:
        first = next(iter(values), "(top level)")
        yield document.problem(
            str(first), "a file of no known kind: expected apiVersion and kind, applications, ..."
        )


def _embedded_serve(document: Document) -> Iterator[FileProblem]:
    key = "spec.serveConfigV2"
    try:
        found = parse_yaml(str(at(document.values, "spec", "serveConfigV2")), key, ConfigError, _Loader)
    except ConfigError as e:
        yield document.problem(key, str(e).removeprefix(f"{key}: "))
        return
    values = found[0] if len(found) == 1 else None
    if not isinstance(values, dict):
        yield document.problem(key, "expected a Serve config")
        return
    yield from below(key, check_serve(Document(document.file, values)))


def _prometheus(document: Document, path: Path) -> Iterator[FileProblem]:
    problems = list(_shape(document, Prometheus))
    yield from problems
    for i, name in enumerate([] if problems else document.values.get("rule_files", [])):
        if not list(path.parent.glob(name)):
            yield document.problem(f"rule_files.{i}", f"{name}: no such file")


def _shape(document: Document, model: type[StrictConfig]) -> Iterator[FileProblem]:
    try:
        model.model_validate(document.values)
    except ValidationError as e:
        yield from document.invalid(e)


def _dashboard(path: Path, file: str) -> Iterator[FileProblem]:
    try:
        values = read_json(path, file, ConfigError)
    except ConfigError as e:
        yield FileProblem(file, "(file)", str(e).removeprefix(f"{file}: "))
        return
    for name in ("title", "uid", "panels"):
        if not at(values, name):
            yield FileProblem(file, name, "missing")
    for i, panel in enumerate(at(values, "panels") or []):
        for j, target in enumerate(panel.get("targets") or []):
            if not target.get("expr"):
                yield FileProblem(file, f"panels.{i}.targets.{j}.expr", "missing")


def _sets(
    documents: dict[Path, list[Document]], problems: list[FileProblem], folder: Path
) -> Iterator[list[Document]]:
    """Yield the objects that belong together: a folder's, and those that its kustomization includes."""
    for place in sorted({p.parent for p, found in documents.items() if found}):
        members = [d for p, found in documents.items() if p.parent == place for d in found]
        kustomization = place / "kustomization.yaml"
        for d in documents.get(kustomization, []):
            file = str(kustomization.relative_to(folder))
            for i, name in enumerate(d.values.get("resources") or []):
                target = (place / str(name)).resolve()
                taken = [
                    f
                    for p, found in documents.items()
                    if target in {p.resolve(), p.resolve().parent}
                    for f in found
                    if f not in members and f.kind != "Kustomization"
                ]
                if not target.exists():
                    problems.append(FileProblem(file, f"resources.{i}", f"{name}: no such file or folder"))
                members += taken
        yield members
