"""The check of references between files.

They concern Secrets, volumes, images, locations in storage, and the resources that jobs ask for.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from gpo_ray.cluster.kubernetes import containers, pod_templates, quantity
from gpo_ray.cluster.pods import GPU
from gpo_ray.cluster.problems import Document, FileProblem, at, walk
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.documents import parse_yaml

Commands = Mapping[str, AbstractSet[str]]
"""The options of every command, such as ``{"survey import": {"--out", ...}}``."""


def check_set(documents: Sequence[Document], commands: Commands) -> Iterator[FileProblem]:
    """Yield the contradictions between objects that are applied together."""
    yield from _named(documents)
    yield from _namespaces(documents)
    yield from _images(documents)
    yield from _budgets(documents)
    for document in documents:
        yield from _entrypoint(document, commands)
        yield from _service(document)
    yield from _places(documents)


def secrets(documents: Sequence[Document]) -> set[str]:
    """Return the names of the Secrets that the documents make."""
    found = {d.name for d in documents if d.kind == "Secret"}
    for d in documents:
        if d.kind == "Kustomization":
            found |= {s.get("name", "") for s in d.values.get("secretGenerator") or []}
    return found


def _named(documents: Sequence[Document]) -> Iterator[FileProblem]:
    """Yield the references to objects that no document makes."""
    made = {
        "Secret": secrets(documents),
        "ConfigMap": {d.name for d in documents if d.kind == "ConfigMap"},
        "PersistentVolumeClaim": {d.name for d in documents if d.kind == "PersistentVolumeClaim"},
        "ServiceAccount": {d.name for d in documents if d.kind == "ServiceAccount"} | {"default"},
    }
    for d in documents:
        for path, value in walk(d.values):
            for kind, key, name in _reference(path, value):
                if name not in made[kind]:
                    yield d.problem(
                        f"{path}{key}", f"no {kind} {name!r} is made; there are {sorted(made[kind])}"
                    )
        for path, template in pod_templates(d):
            volumes = {v.get("name") for v in at(template, "spec", "volumes") or []}
            for i, container in enumerate(at(template, "spec", "containers") or []):
                for j, mount in enumerate(container.get("volumeMounts") or []):
                    if mount.get("name") not in volumes:
                        key = f"{path}.spec.containers.{i}.volumeMounts.{j}.name"
                        yield d.problem(key, f"no volume {mount.get('name')!r} in this pod")


def _reference(path: str, value: Any) -> Iterator[tuple[str, str, str]]:
    last = path.rpartition(".")[2]
    if last in {"secretKeyRef", "secretRef"} and not at(value, "optional"):
        yield "Secret", ".name", str(at(value, "name"))
    elif last in {"configMapKeyRef", "configMapRef"} and not at(value, "optional"):
        yield "ConfigMap", ".name", str(at(value, "name"))
    elif last == "persistentVolumeClaim" and isinstance(value, dict):
        yield "PersistentVolumeClaim", ".claimName", str(value.get("claimName"))
    elif last == "serviceAccountName":
        yield "ServiceAccount", "", str(value)
    elif last == "authOptions" and at(value, "secretName"):
        yield "Secret", ".secretName", str(value["secretName"])


def _namespaces(documents: Sequence[Document]) -> Iterator[FileProblem]:
    spaces = {d.name for d in documents if d.kind == "Namespace"}
    for d in documents:
        if d.kind in {"Namespace", ""}:
            continue
        key = "namespace" if d.kind == "Kustomization" else "metadata.namespace"
        mine = at(d.values, *key.split("."))
        if spaces and mine not in spaces:
            yield d.problem(key, f"{mine!r} is not the namespace that is made, {', '.join(sorted(spaces))}")


def _images(documents: Sequence[Document]) -> Iterator[FileProblem]:
    """Check that all containers use the two targets of one image, and all clusters one version of Ray."""
    first: tuple[str, str] | None = None
    ray: tuple[str, str] | None = None
    for d in documents:
        for path, container in containers(d):
            image, gpus = str(container.get("image")), at(container, "resources", "limits", GPU)
            base, _, target = image.rpartition("-")
            first = first or (base, d.file)
            if base != first[0]:
                yield d.problem(
                    f"{path}.image", f"{image!r} is not the image of {first[1]}, {first[0]}-{target}"
                )
            if target != ("cuda" if gpus else "cpu"):
                said = f"has {gpus} GPUs" if gpus else "has no GPU"
                yield d.problem(f"{path}.image", f"{image!r}, but the pod {said}")
        for path, value in walk(d.values):
            if path.rpartition(".")[2] == "rayVersion":
                ray = ray or (value, d.file)
                if value != ray[0]:
                    yield d.problem(path, f"{value} is not the Ray of {ray[1]}, {ray[0]}")


def _budgets(documents: Sequence[Document]) -> Iterator[FileProblem]:
    labelled = [at(t, "metadata", "labels") or {} for d in documents for _, t in pod_templates(d)]
    for d in documents:
        if d.kind == "PodDisruptionBudget":
            wanted = at(d.values, "spec", "selector", "matchLabels") or {}
            ours = {k: v for k, v in wanted.items() if not k.startswith("ray.io/")}  # KubeRay adds ray.io/
            if not any(ours.items() <= have.items() for have in labelled):
                yield d.problem("spec.selector.matchLabels", f"no pod has the labels {ours}")


def calls(entrypoint: str) -> list[list[str]]:
    """Split an entrypoint into its commands, each a list of words.

    Raises:
        ValueError: if quotes are open, or the shell of KubeRay's submitter would cut the entrypoint.
    """
    words = shlex.split(entrypoint)
    if words[:2] == ["bash", "-c"] and len(words) == 3:
        return [shlex.split(command) for command in words[2].split("&&")]
    cut = [w for w in words if w in {"&&", "||", "|", ";", "&", ">", "<"} or w.endswith(";")]
    if cut:
        raise ValueError(f"{cut[0]!r} would be taken by the submitter's shell; write bash -c '...'")
    return [words]


def split_call(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Split a call such as ``gpo survey import gss --out DIR`` into the command's name and its options."""
    options = [i for i, w in enumerate(words) if w.startswith("--")]
    plain = list(words[1 : options[0] if options else None])
    name = " ".join(plain[:2]) if plain[:1] == ["survey"] else " ".join(plain[:1])
    values = {}
    for i in options:
        following = words[i + 1] if i + 1 < len(words) and not words[i + 1].startswith("--") else ""
        values[words[i]] = following
    return name, values


def _entrypoint(document: Document, commands: Commands) -> Iterator[FileProblem]:
    """Check that the commands and options of a job exist, and that they fit into its cluster."""
    if document.kind != "RayJob":
        return
    key = "spec.entrypoint"
    try:
        found = calls(str(at(document.values, "spec", "entrypoint")))
    except ValueError as e:
        yield document.problem(key, str(e))
        return
    for words in found:
        name, options = split_call(words)
        if words[:1] != ["gpo"] or name not in commands:
            yield document.problem(key, f"no command {' '.join(words[:3])!r}")
            continue
        for option in options:
            if option not in commands[name]:
                yield document.problem(key, f"gpo {name} has no option {option}")
        yield from _demand(document, key, name, options)
        yield from _mounted(document, key, options)


def _demand(document: Document, key: str, name: str, options: dict[str, str]) -> Iterator[FileProblem]:
    groups = at(document.values, "spec", "rayClusterSpec", "workerGroupSpecs") or []
    have = {r: sum(_of(g, r) for g in groups) for r in ("cpu", GPU)}
    try:
        copies = int(options.get("--actors", options.get("--workers", options.get("--concurrent", "0"))))
        gpus = float(options.get("--gpus-per-actor", options.get("--gpus-per-worker", "0")))
        cpus = float(options.get("--cpus-per-actor", "1"))
    except ValueError as e:
        yield document.problem(key, f"gpo {name}: {e}")
        return
    for resource, need in (("cpu", copies * cpus), (GPU, copies * gpus)):
        if need > have[resource]:
            yield document.problem(
                key, f"gpo {name} asks for {need:g} {resource}, the worker groups have {have[resource]:g}"
            )


def _of(group: dict[str, Any], resource: str) -> float:
    replicas = group.get("replicas")
    return _each(group, resource) * (replicas if isinstance(replicas, int) else 0)


def _each(group: dict[str, Any], resource: str) -> float:
    """Return how much of a resource a pod of a worker group has."""
    return quantity(at(group, "template", "spec", "containers", 0, "resources", "limits", resource)) or 0


def _mounted(document: Document, key: str, options: dict[str, str]) -> Iterator[FileProblem]:
    """Check that the local paths of a job's data are on a volume that every pod mounts."""
    mounts = [{m.get("mountPath") for m in c.get("volumeMounts") or []} for _, c in containers(document)]
    for option in ("--survey", "--embeddings", "--out", "--storage"):
        place = options.get(option, "")
        if place.startswith("/") and not all(any(place.startswith(f"{m}/") for m in ms) for ms in mounts):
            yield document.problem(key, f"{option} {place}: no volume is mounted there in every pod")


def _service(document: Document) -> Iterator[FileProblem]:
    """Check that a worker pod has as many GPUs as a replica of the service needs."""
    if document.kind != "RayService":
        return
    spec = document.values.get("spec") or {}
    groups = at(spec, "rayClusterConfig", "workerGroupSpecs") or []
    most = max((_each(g, GPU) for g in groups), default=0)
    for app in at(_serve(spec), "applications") or []:
        for name in ("ingress", "predictor", "encoder"):
            gpus = at(app, "args", name, "gpus") or 0
            if gpus > most:
                yield document.problem(
                    f"spec.serveConfigV2.applications.0.args.{name}.gpus",
                    f"{gpus:g}, a worker pod has {most:g}",
                )


def _serve(spec: dict[str, Any]) -> Any:
    try:
        found = parse_yaml(str(spec.get("serveConfigV2", "")), "spec.serveConfigV2", ConfigError)
    except ConfigError:
        return None  # another check reports this
    return found[0] if found else None


def _places(documents: Sequence[Document]) -> Iterator[FileProblem]:
    """Check that each stage reads the locations that other stages of the documents write."""
    written: dict[str, set[str]] = {}
    for d in documents:
        for name, options in _all_calls(d):
            written.setdefault(name, set()).add(options.get("--out", ""))
            if name == "tune":
                written.setdefault("train", set()).add(options.get("--out", "") + "/bundle")
    for d in documents:
        for name, options in _all_calls(d):
            for option, writers in (("--survey", ("survey import",)), ("--embeddings", ("embed",))):
                yield from _read(
                    d, "spec.entrypoint", f"gpo {name} {option}", options.get(option), written, writers
                )
        for app in (
            (at(_serve(d.values.get("spec") or {}), "applications") or []) if d.kind == "RayService" else []
        ):
            key = "spec.serveConfigV2.applications.0.args"
            yield from _read(d, f"{key}.bundle", "the bundle", at(app, "args", "bundle"), written, ("train",))
            read = at(app, "args", "embeddings")
            yield from _read(d, f"{key}.embeddings", "the store", read, written, ("embed",))


def _read(
    d: Document,
    key: str,
    what: str,
    place: str | None,
    written: dict[str, set[str]],
    writers: tuple[str, ...],
) -> Iterator[FileProblem]:
    made = set().union(*(written.get(w, set()) for w in writers))
    if place is not None and made and place not in made:
        yield d.problem(key, f"{what} is {place!r}; gpo {writers[0]} writes {', '.join(sorted(made))}")


def _all_calls(document: Document) -> Iterator[tuple[str, dict[str, str]]]:
    if document.kind == "RayJob":
        with contextlib.suppress(ValueError):  # another check reports this
            yield from map(split_call, calls(str(at(document.values, "spec", "entrypoint"))))
