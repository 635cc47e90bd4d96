"""The command ``gpo plan``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpo_ray.errors import ConfigError

if TYPE_CHECKING:
    from gpo_ray.planning.hardware import Processor
    from gpo_ray.planning.stages import Stage
    from gpo_ray.planning.workload import Workload

MIN_PARAMETERS, MAX_PARAMETERS = 1e7, 2e11
"""Fewest and most parameters of a language model for which estimates are made."""
NAMES = "h200, h100, a100, a10g, l4, t4, cpu"
"""Names of :data:`gpo_ray.planning.hardware.PROCESSORS`, repeated since its module takes long to import."""
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}


def plan(
    questions: Annotated[int, typer.Option(help="Questions of the survey.")],
    model_params: Annotated[str, typer.Option(help="Parameters of the language model: 135M, 8B, 7e10.")],
    responses: Annotated[
        int | None, typer.Option(help="Responses of all questions together; by default four each.")
    ] = None,
    groups: Annotated[int, typer.Option(help="Groups, or people.")] = 100,
    answers: Annotated[
        int | None,
        typer.Option(help="Questions each answered; by default all, 100 where there are over 10,000 groups."),
    ] = None,
    gpu: Annotated[str, typer.Option(help=f"One of: {NAMES} (a core).")] = "h100",
    count: Annotated[int, typer.Option(min=1, help="GPUs, or cores, for embedding.")] = 1,
    train_workers: Annotated[int, typer.Option(min=1, help="Cores for training.")] = 1,
    config: Annotated[str, typer.Option(help="Training preset (gpo, paper) or YAML file.")] = "gpo",
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, if not the preset's.")] = None,
    batch_tokens: Annotated[int, typer.Option(min=64, help="As of gpo embed.")] = 32768,
    store_dtype: Annotated[str, typer.Option(help="As of gpo embed: float32 or float16.")] = "float32",
    readings: Annotated[bool, typer.Option(help="As of gpo embed.")] = True,
    prompt_tokens: Annotated[float, typer.Option(help="Tokens of a prompt, on average.")] = 96,
    response_tokens: Annotated[float, typer.Option(help="Tokens of a response, on average.")] = 6,
    node_memory: Annotated[float, typer.Option(min=1, help="GiB of a worker's or the head's pod.")] = 64,
    price: Annotated[float | None, typer.Option(min=0, help="US dollars an hour of a GPU, or core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on one line.")] = False,
) -> None:
    """Estimate tokens, operations, memory, time and cost of every stage, and what limits it."""
    from gpo_ray.planning.language_model import shape_of
    from gpo_ray.planning.stages import embed_stage, serve_stage, train_stage

    work = _workload(questions, responses, groups, answers, prompt_tokens, response_tokens)
    size = _number_bytes(store_dtype)
    model, processor = shape_of(_parameters(model_params)), _processor(gpu, price)
    stages = [
        embed_stage(work, model, processor, count, batch_tokens, size, node_memory, readings),
        train_stage(
            work, model.width, train_workers, config, steps, node_memory=node_memory, readings=readings
        ),
        serve_stage(work, model, processor, config),
    ]
    if as_json:
        print(json.dumps({"stages": [_described(s) for s in stages]}, allow_nan=False))
    else:
        _show(stages, f"{work.questions:,} questions, {work.responses:,} responses, {work.groups:,} groups")


def _workload(
    questions: int,
    responses: int | None,
    groups: int,
    answers: int | None,
    prompt_tokens: float,
    response_tokens: float,
) -> Workload:
    """Return the sizes of the survey that the options give, checked."""
    from gpo_ray.config import parse
    from gpo_ray.planning.workload import Workload

    values = {
        "questions": questions,
        "responses": 4 * questions if responses is None else responses,
        "groups": groups,
        "answers": answers,
        "prompt_tokens": prompt_tokens,
        "response_tokens": response_tokens,
    }
    return parse(Workload, values, "plan")


def _number_bytes(store_dtype: str) -> int:
    """Return how many bytes a number of an embedding takes in the store."""
    if store_dtype not in {"float32", "float16"}:
        raise ConfigError(f"--store-dtype {store_dtype!r} is not one of float32, float16")
    return 4 if store_dtype == "float32" else 2


def _parameters(text: str) -> float:
    """Read a number of parameters such as ``8B``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)([kmb]?)", text.strip().lower())
    value = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not MIN_PARAMETERS <= value <= MAX_PARAMETERS:
        raise ConfigError(f"--model-params {text!r}: expected 10M to 200B, such as 135M, 8B or 7e10")
    return value


def _processor(name: str, price: float | None) -> Processor:
    """Return a processor by its name; ``price``, if given, replaces its known price."""
    from gpo_ray.planning.hardware import PROCESSORS

    if name not in PROCESSORS:
        raise ConfigError(f"--gpu {name!r} is not one of {', '.join(PROCESSORS)}")
    found = PROCESSORS[name]
    return found if price is None else found.model_copy(update={"price": price})


def _described(stage: Stage) -> dict[str, Any]:
    return stage.model_dump(mode="json") | {
        "hours": stage.hours,
        "cost": stage.cost,
        "bottleneck": stage.bottleneck,
    }


def _show(stages: list[Stage], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    # Each stage is a column: as a line, its values would not fit into 80 characters.
    table = Table(title=title, title_justify="left")
    for column in ("", *(s.name for s in stages)):
        table.add_column(column, overflow="fold")
    shown = [_shown(s) for s in stages]
    for what in shown[0]:
        table.add_row(what, *(one[what] for one in shown))
    Console().print(table)
    for s in stages:
        for problem in s.problems:
            print(f"{s.name} is not possible: {problem}")


def _shown(s: Stage) -> dict[str, str]:
    time, cost = _time_and_cost(s)
    return {
        "tokens": _amount(s.tokens),
        "operations": _amount(s.flops),
        "workers": f"{s.workers}" if s.processors == s.workers else f"{s.workers} on {s.processors}",
        "memory each": f"{s.memory:,.1f} GiB",
        "written": f"{s.stored:,.1f} GiB" if s.stored else "",
        "time": time,
        "cost": cost,
        "bottleneck": "" if s.name == "serve" else s.bottleneck,
    }


def _time_and_cost(stage: Stage) -> tuple[str, str]:
    if stage.problems:
        return "not possible", ""
    if stage.name == "serve":
        return "", f"${stage.cost:,.2f} an hour"
    return _time(stage.hours), f"${stage.cost:,.2f}"


def _amount(value: float) -> str:
    return f"{value:.2g}" if value else ""


def _time(hours: float) -> str:
    if hours < 1 / 30:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 3 else f"{hours:,.1f} h"
