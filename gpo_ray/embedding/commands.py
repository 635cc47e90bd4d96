"""The commands ``gpo cache ...``."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

cache_app = typer.Typer(no_args_is_help=True, help="Language models converted for quick loading.")
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on one line.")]


@cache_app.command("list")
def cache_list(as_json: Json = False) -> None:
    """Show which converted language models this machine keeps, and where (GPO_CACHE, GPO_CACHE_GIB)."""
    from gpo_ray.embedding.model_cache import cache_folder, cached_models

    models = cached_models()
    if as_json:
        rows = [{"name": m.name, "bytes": m.nbytes, "used": m.used, "out": str(m.folder)} for m in models]
        _json({"models": rows, "out": str(cache_folder())})
        return
    print(f"{len(models)} converted models in {cache_folder()}")
    for m in models:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(m.used))
        print(f"  {m.nbytes / 2**20:8.1f} MiB  used {used}  {m.name}")


@cache_app.command("clear")
def cache_clear(as_json: Json = False) -> None:
    """Delete all converted language models; they are converted again when they are next loaded."""
    from gpo_ray.embedding.model_cache import cache_folder, clear_cache

    gone = clear_cache()
    result = {"deleted": len(gone), "bytes": sum(m.nbytes for m in gone), "out": str(cache_folder())}
    if as_json:
        _json(result)
    else:
        print("{deleted} converted models deleted ({bytes:,} bytes): {out}".format(**result))


@cache_app.command("add")
def cache_add(
    model: Annotated[str, typer.Argument(help="smollm2, or a .gguf file.")] = "smollm2", as_json: Json = False
) -> None:
    """Convert a language model now rather than when it is first loaded."""
    from gpo_ray.embedding.language_model import find_model, make_ready

    folder = make_ready(find_model(model))
    if as_json:
        _json({"model": model, "out": folder})
    else:
        print(f"{model} loads from {folder}")


def _json(result: dict[str, Any]) -> None:
    print(json.dumps(result, allow_nan=False), flush=True)
