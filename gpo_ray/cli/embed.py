"""The command ``gpo embed``."""

from __future__ import annotations

from typing import Annotated

import typer

from gpo_ray.cli.options import Address, Json, Out, Survey, parse_options
from gpo_ray.cli.output import progress, report
from gpo_ray.cli.places import absolute
from gpo_ray.runtime.terminal_text import shown


def embed(
    survey: Survey,
    out: Out,
    model: Annotated[
        str, typer.Option(help="smollm2, a Hub id, a local folder, or a .gguf file.")
    ] = "smollm2",
    actors: Annotated[
        int | None, typer.Option(help="Copies of the model; by default one for each GPU or core.")
    ] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(help="More than 1 spreads the model's layers.")
    ] = None,
    cpus_per_actor: Annotated[float, typer.Option(max=10_000, help="Logical CPUs for each copy.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    store_dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    batch_tokens: Annotated[int, typer.Option(help="Padded tokens of a forward pass on a GPU.")] = 4096,
    readings: Annotated[
        bool, typer.Option(help="Read everything again, as preset gpo needs and paper does not.")
    ] = True,
    too_long: Annotated[
        str, typer.Option(help="Questions longer than the model can read: refuse, or drop to leave them out.")
    ] = "refuse",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Embed a survey's questions with a frozen language model (Ray Data); embeds only what is missing."""
    from gpo_ray.embedding.job import EmbedConfig
    from gpo_ray.embedding.job import embed as run
    from gpo_ray.preferences.checks import require_two_answers
    from gpo_ray.preferences.dataset import PreferenceDataset
    from gpo_ray.runtime.ray_session import joined

    config = parse_options(EmbedConfig, locals(), "embed")
    dataset = PreferenceDataset.load(survey, answers=False)
    require_two_answers(survey, dataset)
    with joined(address) as capacity:
        capacity.check(config.resource_request(capacity))
        result = run(dataset, absolute(out), config, address, progress(as_json))
    if result["dropped"] and not as_json:
        for question, tokens in result["dropped"].items():
            print(shown(f"left out, too long for the model: {question} ({tokens} tokens)"))
    report(
        result | {"out": out}, as_json, "{embedded} questions embedded, {reused} were there already: {out}"
    )
