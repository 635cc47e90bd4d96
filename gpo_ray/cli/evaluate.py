"""The command ``gpo evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gpo_ray.cli.options import (
    Address,
    Embeddings,
    Guesses,
    GuessesModel,
    Json,
    Objective,
    Out,
    Survey,
    guess_folders,
)
from gpo_ray.cli.output import progress, report
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.terminal_text import shown

if TYPE_CHECKING:
    from gpo_ray.evaluation.plan import EvaluationPlan, SplitPlan
    from gpo_ray.evaluation.protocols import Protocol

N = TypeVar("N", int, float)
PROTOCOLS = (
    "paper",
    "new-questions",
    "new-attribute",
    "new-survey",
    "individuals",
)
"""Names in :data:`gpo_ray.evaluation.protocols.PROTOCOLS`, repeated since its module takes long to import."""
DEFAULT_METHODS = (
    "gpo,paper,uniform,lm-base,train-mean,context-mean,ridge-mix,low-rank,gaussian-process,kernel"
)
"""Names, in :data:`gpo_ray.evaluation.methods.METHODS`, of those that are compared if none are named."""
ContextSizes = Annotated[
    str | None,
    typer.Option(
        help="Context sizes of the curve, e.g. 1,5,20; empty for no curve. By default 1 to 200, "
        "as far as half of the answers allow."
    ),
]
MaxTestGroups = Annotated[
    int | None, typer.Option(min=1, help="Most test groups of a split; by default all.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Meta-training steps, if not the preset's.")]
GpusPerTask = Annotated[
    float | None, typer.Option(min=0, help="GPUs of each copy of the model; by default 1 if there is one.")
]
MaxQuestions = Annotated[
    int | None,
    typer.Option(min=1, help="Most target questions of each test group, drawn at random; by default all."),
]
Ask = Annotated[str, typer.Option(help="What lm-steered-* ask for: logprobs or distribution.")]
Orders = Annotated[
    int, typer.Option(help="Cyclic orders of the options that lm-steered-* and few-shot take the mean of.")
]
Window = Annotated[
    int | None, typer.Option(min=1, help="Most tokens of few-shot prompts; by default the model's.")
]


def evaluate(
    survey: Survey,
    embeddings: Embeddings,
    out: Out,
    methods: Annotated[str, typer.Option(help="Comma-separated.")] = DEFAULT_METHODS,
    protocol: Annotated[str, typer.Option(help=f"One of: {', '.join(PROTOCOLS)}.")] = "paper",
    test_survey: Annotated[
        str | None, typer.Option(help="Survey folder to test on (new-survey); same --embeddings.")
    ] = None,
    fractions: Annotated[str, typer.Option(help="Shares of groups for meta-training.")] = "0.4,0.6,0.8",
    seeds: Annotated[int, typer.Option(min=1, help="Splits for each fraction.")] = 3,
    context: Annotated[int, typer.Option(min=1, help="Context questions of each test group.")] = 20,
    context_sizes: ContextSizes = None,
    max_test_groups: MaxTestGroups = None,
    max_questions: MaxQuestions = None,
    steps: Steps = None,
    objective: Objective = None,
    model: Annotated[str, typer.Option(help="Language model, for methods that ask one.")] = "smollm2",
    dtype: Annotated[str, typer.Option(help="The model's: float32, bfloat16 or float16.")] = "float32",
    gpus_per_task: GpusPerTask = None,
    ask: Ask = "logprobs",
    orders: Orders = 1,
    window: Window = None,
    guesses: Guesses = None,
    guesses_model: GuessesModel = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Meta-train and score methods on many splits in parallel, and write tables and a report."""
    given = locals()
    from gpo_ray.evaluation.protocols import protocol_named
    from gpo_ray.runtime.ray_session import joined
    from gpo_ray.runtime.resources import evaluate_request

    chosen, (plan, splits) = protocol_named(protocol), _plans(given)
    with joined(address) as capacity:
        capacity.check(evaluate_request())
        from gpo_ray.evaluation.runner import evaluate as run

        result = run(survey, embeddings, out, plan, splits, address, progress(as_json), test_survey)
    if not as_json:
        _show_scores(result, chosen)
    report(result, as_json, "report: {report}")


def _plans(given: dict[str, Any]) -> tuple[EvaluationPlan, SplitPlan]:
    """Return the plans that the command's options make."""
    from gpo_ray.evaluation.methods import LanguageModelSettings
    from gpo_ray.evaluation.plan import EvaluationPlan, SplitPlan

    sizes = given["context_sizes"]
    asked = (given[name] for name in ("model", "dtype", "gpus_per_task", "ask", "orders", "window"))
    plan = EvaluationPlan(
        methods=tuple(dict.fromkeys(m.strip() for m in given["methods"].split(","))),
        context=given["context"],
        steps=given["steps"],
        context_sizes=None if sizes is None else tuple(_numbers(sizes, "--context-sizes", int)),
        objective=given["objective"],
        language_model=LanguageModelSettings(*asked),
        guesses=guess_folders(given["guesses"], given["guesses_model"]),
        guesses_model=given["guesses_model"],
        max_questions=given["max_questions"],
    )
    fractions = _numbers(given["fractions"], "--fractions", float)
    return plan, SplitPlan(given["protocol"], fractions, given["seeds"], given["max_test_groups"])


def _numbers(text: str, option: str, kind: Callable[[str], N]) -> list[N]:
    try:
        return [kind(part) for part in text.split(",")] if text.strip() else []
    except ValueError as e:
        raise ConfigError(f"{option} {text!r}: expected numbers separated by commas") from e


def _show_scores(result: dict[str, Any], protocol: Protocol) -> None:
    from gpo_ray.evaluation.summary import prompt_notes

    print(shown(protocol.table(result)))
    for note in filter(None, (result["note"], result["overlap"])):
        print(fill(f"Note: {note}.", 80))
    for note in prompt_notes(result["cells"]):
        print(fill(f"Note: {shown(note)}.", 80))
    if result["cannot_answer"]:
        print(shown(f"cannot answer under this protocol: {', '.join(result['cannot_answer'])}"))
