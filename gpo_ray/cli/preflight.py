"""The command ``gpo preflight``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gpo_ray.cli.output import print_json
from gpo_ray.errors import ResourceError
from gpo_ray.planning.preflight import OPTIONS, examine, stage_requests


def preflight(
    stage: Annotated[str | None, typer.Option(help=f"One of: {', '.join(OPTIONS)}; by default all.")] = None,
    config: Annotated[str | None, typer.Option(help="The stage's file (tune, serve).")] = None,
    actors: Annotated[int | None, typer.Option(min=1, help="Of --stage embed.")] = None,
    cpus_per_actor: Annotated[float | None, typer.Option(help="Of --stage embed.")] = None,
    gpus_per_actor: Annotated[float | None, typer.Option(help="Of --stage embed.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Of --stage train; by default 1.")] = None,
    gpus_per_worker: Annotated[float | None, typer.Option(min=0, help="Of --stage train.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Of --stage tune.")] = None,
    storage: Annotated[str | None, typer.Option(help="Folder or URI that must be writable.")] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster; by default RAY_ADDRESS, else this machine is looked at.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on one line.")] = False,
) -> None:
    """Compare what the stages need with what the cluster has; exit code 3 if something does not fit."""
    given = {
        "config": config,
        "actors": actors,
        "cpus_per_actor": cpus_per_actor,
        "gpus_per_actor": gpus_per_actor,
        "workers": workers,
        "gpus_per_worker": gpus_per_worker,
        "concurrent": concurrent,
    }
    needs = stage_requests(stage, {k: v for k, v in given.items() if v is not None})
    result = examine(needs, storage, address)
    if as_json:
        print_json(result)
    else:
        _show(result)
    if result["problems"]:
        raise ResourceError("; ".join(result["problems"]))


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    nodes = Table(title=f"Nodes of {result['where']}", title_justify="left")
    for column in ("node", "alive", "CPU", "GPU", "memory", "object store", "versions"):
        nodes.add_column(column, overflow="fold")
    for n in result["nodes"]:
        row = (n["name"], "yes" if n["alive"] else "no", f"{n['cpus']:g}", f"{n['gpus']:g}")
        found = n["versions"] or {}
        text = ", ".join(f"{package} {version or 'none'}" for package, version in found.items())
        nodes.add_row(*map(Text, (*row, _size(n["memory"]), _size(n["object_store"]), text)))
    console.print(nodes)
    free, mine = result["unused"], result["versions"]
    print(f"unused: {free['cpus']:g} CPU, {free['gpus']:g} GPU")
    mine = mine | {"CUDA": "yes" if result["cuda"] else "no"}
    print("here: " + ", ".join(f"{k} {v}" for k, v in mine.items()))
    if result["storage"] is not None:
        s = result["storage"]
        print(f"storage {s['uri']}: {s['problem'] or 'writable'}, {_size(s['free'])} free")
    stages = Table(title="Stages", title_justify="left")
    for column in ("stage", "needs", "fits"):
        stages.add_column(column, overflow="fold")
    for s in result["stages"]:
        stages.add_row(*map(Text, (s["stage"], s["needs"], s["problem"] or "yes")))
    console.print(stages)


def _size(count: int | None) -> str:
    return "-" if not count else f"{count / 2**30:.1f} GiB"
