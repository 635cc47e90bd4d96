"""The commands ``gpo cluster ...``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gpo_ray.errors import ConfigError
from gpo_ray.runtime.terminal_text import one_line

app = typer.Typer(no_args_is_help=True, help="Files for clusters: write them, check them.")
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on one line.")]


@app.command("render")
def cluster_render(
    profile: Annotated[str, typer.Option(help="A profile (gpu, local) or a YAML file.")],
    out: Annotated[str, typer.Option(help="Folder or URI to write below.")] = "cluster",
    as_json: Json = False,
) -> None:
    """Write all manifests and `ray up` files of a profile."""
    from gpo_ray.cluster.profile import load_profile
    from gpo_ray.cluster.render import render
    from gpo_ray.runtime.storage import Folder

    files = render(load_profile(profile))
    folder = Folder(out, ConfigError)
    with folder.writing():
        for place, text in files.items():
            folder.write(place, text.encode())
    print(json.dumps({"files": sorted(files), "out": out}) if as_json else f"{len(files)} files: {out}")


@app.command("check")
def cluster_check(
    context: typer.Context,
    path: Annotated[Path, typer.Option(help="Folder of cluster files.")] = Path("cluster"),
    as_json: Json = False,
) -> None:
    """Validate every file of a cluster folder, by itself and against the others."""
    try:
        from gpo_ray.cluster.check import check_folder
    except ImportError as e:
        raise ConfigError(f"the check needs {e.name}; install it with: pip install 'gpo-ray[cluster]'") from e
    checked = check_folder(path, command_options(context.find_root().command))
    if as_json:
        problems = [{"file": p.file, "key": p.key, "message": p.message} for p in checked.problems]
        print(json.dumps({"files": checked.files, "problems": problems}))
    else:
        for problem in checked.problems:
            print(one_line(problem))
    if checked.problems:
        raise ConfigError(f"{path}: {len(checked.problems)} problems in {checked.files} files")
    if not as_json:
        print(f"{path}: {checked.files} files, no problems")


def command_options(command: Any, name: str = "") -> dict[str, set[str]]:
    """Return the options of every command below ``command``, by the command's name."""
    children = getattr(command, "commands", None)
    if not children:
        return {name: {o for p in command.params for o in p.opts}}
    found: dict[str, set[str]] = {}
    for child, below in children.items():
        found |= command_options(below, f"{name} {child}".strip())
    return found
