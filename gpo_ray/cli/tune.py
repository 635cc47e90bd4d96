"""The command ``gpo tune``."""

from __future__ import annotations

from typing import Annotated

import typer

from gpo_ray.cli.options import Address, Embeddings, Json, Out, Survey
from gpo_ray.cli.output import progress, report
from gpo_ray.cli.places import absolute


def tune(
    survey: Survey,
    embeddings: Embeddings,
    out: Out,
    config: Annotated[str, typer.Option(help="What to search: a file such as tune_configs/default.yaml.")],
    trials: Annotated[int | None, typer.Option(help="Trials in all, if not the file's.")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Trials at a time, if not the file's.")] = None,
    restart: Annotated[bool, typer.Option(help="Forget an earlier search in --out.")] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Search for better hyperparameters (HyperOpt on Ray Tune) and write the winner's bundle."""
    from gpo_ray.runtime.ray_session import joined
    from gpo_ray.runtime.resources import tune_request
    from gpo_ray.runtime.storage import Folder
    from gpo_ray.tuning.space import load_search

    search, space = load_search(config, trials=trials, concurrent=concurrent)
    with joined(address) as capacity:
        capacity.check(tune_request(search))
        from gpo_ray.tuning.job import run_search

        places = (absolute(survey), absolute(embeddings), absolute(out))
        result = run_search(search, space, *places, address, progress(as_json), restart)
    report(
        result | {"out": out, "config": Folder(out).where("best.yaml")},
        as_json,
        "{trials} trials, {failed} failed; best: trial {best[number]}, validation alignment "
        "{best[validation_alignment]:.4f}: {config}, {bundle}",
    )
