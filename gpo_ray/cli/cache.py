"""The commands ``gpo cache ...``."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gpo_ray.cli.options import Json
from gpo_ray.cli.output import print_json, report
from gpo_ray.runtime.terminal_text import shown

app = typer.Typer(no_args_is_help=True, help="What this machine keeps for quick predictions.")


@app.command("list")
def cache_list(as_json: Json = False) -> None:
    """Show which converted language models, and how much of what they read, this machine keeps, and where.

    GPO_CACHE is the folder, GPO_CACHE_GIB its bound.
    """
    from gpo_ray.embedding.question_cache import question_cache_bytes
    from gpo_ray.finetuning.adapters import adapter_bytes
    from gpo_ray.guesses.kept import kept_bytes
    from gpo_ray.lm.cache import cache_folder, cached_models

    models = cached_models()
    if as_json:
        rows = [{"name": m.name, "bytes": m.nbytes, "used": m.used, "out": str(m.folder)} for m in models]
        sizes = {"question_bytes": question_cache_bytes(), "guess_bytes": kept_bytes()}
        sizes["adapter_bytes"] = adapter_bytes()
        print_json({"models": rows, **sizes, "out": str(cache_folder())})
        return
    print(f"{len(models)} converted models in {cache_folder()}")
    for m in models:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(m.used))
        print(f"  {m.nbytes / 2**20:8.1f} MiB  used {used}  {shown(m.name)}")
    print(f"  {question_cache_bytes() / 2**20:8.1f} MiB  of questions that were read")
    print(f"  {kept_bytes() / 2**20:8.1f} MiB  of guesses that an evaluation asked for")
    print(f"  {adapter_bytes() / 2**20:8.1f} MiB  of adapters that an evaluation trained")


@app.command("clear")
def cache_clear(as_json: Json = False) -> None:
    """Delete all converted language models, what they read and guessed and their adapters.

    All is made again when needed.
    """
    from gpo_ray.embedding.question_cache import clear_question_cache, question_cache_bytes
    from gpo_ray.finetuning.adapters import adapter_bytes, clear_adapters
    from gpo_ray.guesses.kept import clear_kept, kept_bytes
    from gpo_ray.lm.cache import cache_folder, clear_cache

    nbytes = question_cache_bytes() + kept_bytes() + adapter_bytes()
    gone = clear_cache()
    clear_question_cache()
    clear_kept()
    clear_adapters()
    nbytes += sum(m.nbytes for m in gone)
    result = {"deleted": len(gone), "bytes": nbytes, "out": str(cache_folder())}
    report(result, as_json, "{deleted} converted models deleted ({bytes:,} bytes): {out}")


@app.command("add")
def cache_add(
    model: Annotated[str, typer.Argument(help="smollm2, or a .gguf file.")] = "smollm2", as_json: Json = False
) -> None:
    """Convert a language model now rather than when it is first loaded."""
    from gpo_ray.lm.find import find_model
    from gpo_ray.lm.load import make_ready

    folder = make_ready(find_model(model))
    report({"model": model, "out": folder}, as_json, "{model} loads from {out}")
