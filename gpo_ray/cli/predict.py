"""The command ``gpo predict``."""

from __future__ import annotations

import gc
from typing import Annotated, Any

import typer

from gpo_ray.cli.options import Guesses, GuessesModel, Json, guess_folders
from gpo_ray.cli.output import print_json, progress
from gpo_ray.runtime.terminal_text import shown

WHO = {
    True: "  (seen: meta-train groups answered it)",
    False: "  (unseen: no meta-train group answered it)",
    None: "",
}


def predict(
    bundle: Annotated[str, typer.Option(help="Bundle folder made by `gpo train`.")],
    context: Annotated[
        str, typer.Option(help="JSON list of {prompt, responses, and share, percent, count or choice}.")
    ],
    questions: Annotated[str, typer.Option(help="JSON list of {prompt, responses}.")],
    model: Annotated[str | None, typer.Option(help="Language model; by default the bundle's.")] = None,
    embeddings: Annotated[
        str | None,
        typer.Option(help="Folder made by `gpo embed`: its questions need no language model."),
    ] = None,
    guesses: Guesses = None,
    guesses_model: GuessesModel = None,
    role: Annotated[
        str | None, typer.Option(help="Group as which a language model guesses for this one.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="Write a table too, to this .csv or .parquet file: a row for each response."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Adapt to a group from a few of its answers and predict its preferences over other questions."""
    gc.disable()  # garbage collection would take a tenth of this short process's time
    from gpo_ray.preferences.export import SUFFIXES, predictions_table, write_table
    from gpo_ray.runtime.one_file import check_target

    if out is not None:
        check_target(out, SUFFIXES)  # before a model is loaded
    from gpo_ray.api import GuessesGiven, predict_file

    result = predict_file(
        bundle,
        context,
        questions,
        model,
        embeddings,
        progress(as_json),
        GuessesGiven(guess_folders(guesses, guesses_model), guesses_model, role),
    )
    if out is not None:
        write_table(predictions_table(result["predictions"]), out)
    if as_json:
        print_json(result | ({} if out is None else {"out": out}))
        return
    _show(result["predictions"])
    if out is not None:
        print(shown(f"table: {out}"))


def _show(predictions: list[dict[str, Any]]) -> None:
    """Print each question with its shares, their 90 % intervals, and whether it is a seen one."""
    from rich.console import Console
    from rich.padding import Padding

    from gpo_ray.runtime.terminal_text import ShownText as Text

    console = Console(highlight=False)
    for p in predictions:
        console.print(Text(p["prompt"], style="bold").append(WHO[p["seen"]], style="not bold"))
        for i, (response, share) in enumerate(zip(p["responses"], p["share"], strict=True)):
            ends = p["interval"]
            between = f" ({ends[i][0]:6.1%} to {ends[i][1]:6.1%})" if ends else ""
            console.print(Padding(Text(f"{share:6.1%}{between}  {response}"), (0, 0, 0, 2)))
    if any(p["interval"] for p in predictions):
        print("In brackets: 90 % intervals.")
