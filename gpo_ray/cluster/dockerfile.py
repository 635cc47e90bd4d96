"""The check of the Dockerfile."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from gpo_ray.cluster.problems import FileProblem
from gpo_ray.cluster.profile import RAY_VERSION

KNOWN = {
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
} | {
    *("SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR", "ONBUILD"),
}
TARGETS = ("cpu", "cuda")


def check_dockerfile(path: Path, file: str, context: Path) -> Iterator[FileProblem]:
    """Yield the mistakes in a Dockerfile that is built with the folder ``context``."""
    steps = list(instructions(path.read_text(encoding="utf-8")))
    stages: dict[str, str] = {}
    user: dict[str, str] = {}
    current = ""
    for line, name, rest in steps:
        if name not in KNOWN:
            yield FileProblem(file, f"line {line}", f"no instruction {name}")
        elif name == "FROM":
            base, _, current = [*rest.split(), "", ""][:3]
            yield from _base(file, line, base, stages)
            stages[current], user[current] = base, user.get(base, "")
        elif name == "USER":
            user[current] = rest
        elif name == "COPY":
            yield from _copy(file, line, rest, stages, context)
    for target in TARGETS:
        if target not in stages:
            yield FileProblem(file, f"FROM ... AS {target}", "missing: manifests use the image's two targets")
        elif user.get(target, "") in {"", "root", "0"}:
            yield FileProblem(file, f"FROM ... AS {target}", "runs as root; end it with USER ray")
    for line, name, rest in steps:
        if name == "RUN" and "pip install" in rest and "-c constraints.txt" not in rest:
            yield FileProblem(
                file, f"line {line}", "pip is not held to the tested versions; add -c constraints.txt"
            )
    versions = [
        rest.partition("=")[2] for _, name, rest in steps if name == "ARG" and rest.startswith("RAY_VERSION")
    ]
    if versions != [RAY_VERSION]:
        yield FileProblem(file, "ARG RAY_VERSION", f"{versions or 'missing'}, manifests say {RAY_VERSION}")


def _copy(file: str, line: int, rest: str, stages: dict[str, str], context: Path) -> Iterator[FileProblem]:
    words = shlex.split(rest)
    stage = next((w.removeprefix("--from=") for w in words if w.startswith("--from=")), None)
    if stage is not None:
        if stage not in stages:
            yield FileProblem(file, f"line {line}", f"COPY --from={stage}: no such stage above")
        return
    for source in [w for w in words if not w.startswith("--")][:-1]:
        if not list(context.glob(source.strip("/"))):
            yield FileProblem(file, f"line {line}", f"COPY {source}: not in the repository")


def _base(file: str, line: int, base: str, stages: dict[str, str]) -> Iterator[FileProblem]:
    if base in stages or base == "scratch":
        return
    if ":" not in base.rpartition("/")[2] and "@" not in base:
        yield FileProblem(
            file, f"line {line}", f"FROM {base}: neither a stage above nor an image with a version"
        )
    elif base.endswith(":latest"):
        yield FileProblem(file, f"line {line}", f"FROM {base}: name a version")


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, name and arguments of every instruction."""
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*(#|$)", line):
            continue
        start = start if pending else number
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        name, _, rest = pending.partition(" ")
        yield start, name, " ".join(rest.split())
        pending = ""
