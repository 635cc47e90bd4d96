"""``gpo quickstart``: the whole pipeline on the survey and the language model that pip installs."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from textwrap import fill
from typing import TYPE_CHECKING, Any

from gpo_ray.runtime.ray_session import in_background, ray_session, require
from gpo_ray.runtime.resources import train_request
from gpo_ray.runtime.storage import Folder
from gpo_ray.runtime.threads import physical_cores, threads_each, use_threads

if TYPE_CHECKING:
    from gpo_ray.preferences.dataset import PreferenceDataset

FRACTION = 0.6
CONTEXT = 10
STEPS = 20
MAX_WORKERS = 2
HEAVY = ("torch", "scipy.linalg", "matplotlib.figure", "jinja2")
"""Modules that are slow to import, and so are imported while Ray starts."""
SAME = 0.001
"""Alignment difference below which methods count as equal: on other splits its sign may be the opposite."""
METHODS = ("gpo", "uniform", "lm-base", "train-mean", "context-mean", "ridge-mix", "ridge")

_NEXT = """
Next:
  open {report}
  gpo bundle inspect {bundle}
  gpo predict --bundle {bundle} --context CONTEXT.json --questions QUESTIONS.json
  gpo survey import table --from YOUR.csv --out survey   (columns: group, prompt, response, count)"""


def run(
    out: str, address: str | None = None, progress_bar: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Import a survey, embed it, meta-train on it and evaluate the result.

    Each of these stages is also a command of ``gpo``.

    Args:
        out: folder for all results.
        address: address of the Ray cluster; None starts a local one.
        progress_bar: whether to show progress bars.
        quiet: whether to leave out the explanations.

    Returns:
        A dictionary with ``survey, model, methods, report, bundle, seconds``.
    """
    started = time.monotonic()
    say: Callable[..., None] = (lambda *_: None) if quiet else _say
    folder = Folder(Folder(out).absolute)
    say(
        1, "survey: General Social Survey 2018; groups by sex, race, age, party, ideology and their crossings"
    )
    ahead = in_background(partial(_prepare, folder.where("survey")))
    with ray_session(address):
        dataset = ahead.result()
        # Libraries loaded while Ray was starting were limited to the few threads that Ray's workers get.
        use_threads(threads_each(1))
        scored = _embed_train_evaluate(dataset, folder, say, address, progress_bar)
    from gpo_ray.embedding.job import EmbedConfig

    if not quiet:
        _show(scored, folder.where("bundle"))
    return {
        "survey": folder.where("survey"),
        "model": EmbedConfig().model,
        "methods": {m: {"alignment": _mean(scored["cells"], m)} for m in METHODS},
        "report": scored["report"],
        "bundle": folder.where("bundle"),
        "seconds": round(time.monotonic() - started, 1),
    }


def _embed_train_evaluate(
    dataset: PreferenceDataset,
    folder: Folder,
    say: Callable[..., None],
    address: str | None,
    progress_bar: bool,
) -> dict[str, Any]:
    """Run the stages that follow the import of the survey, and return the evaluation's result.

    Args:
        dataset: the survey, which is also saved in ``folder``.
        folder: where each stage writes its results.
        say: called with the number of a stage (or an empty string) and a text about it.
        address: address of the Ray cluster; None is a local one.
        progress_bar: whether to show progress bars.
    """
    from gpo_ray.config import load_train_config
    from gpo_ray.embedding.job import EmbedConfig, embed
    from gpo_ray.evaluation.plan import EvaluationPlan, SplitPlan
    from gpo_ray.evaluation.runner import evaluate
    from gpo_ray.meta_training.driver import train_distributed
    from gpo_ray.meta_training.run import TrainJob
    from gpo_ray.preferences.splits import draw_split

    workers = max(1, min(MAX_WORKERS, physical_cores() // 2))  # each takes ten seconds of a core to start
    names = ("survey", "embeddings", "bundle", "evaluation", "runs")
    survey, embeddings, bundle, report, runs = map(folder.where, names)
    say("", f"{dataset.questions.num_rows} questions, {dataset.groups.num_rows} groups; Ray is running")
    require(train_request(workers))
    say(2, "embed: SmolLM2-135M reads every question with every response (Ray Data)")
    embedded = embed(dataset, embeddings, EmbedConfig(), address, progress_bar)
    say("", f"{embedded['responses']} responses, {embedded['tokens']} tokens")
    say(3, f"train: {FRACTION:.0%} of the groups (Ray Train, DeepSpeed; workers: {workers})")
    config = load_train_config("gpo", steps=STEPS)
    job = TrainJob(survey, embeddings, bundle, runs, "bundle", config, draw_split(dataset, FRACTION, 0))
    trained = train_distributed(job, workers, 1, 0, address, progress_bar)
    say("", f"validation alignment {trained['validation_alignment']:.4f} at step {trained['best_step']}")
    say(4, f"evaluate: groups never seen in training, {CONTEXT} answers of each as context, 2 splits")
    plan, splits = EvaluationPlan(METHODS, CONTEXT, STEPS), SplitPlan("paper", [FRACTION], 2)
    return evaluate(survey, embeddings, report, plan, splits, address, progress_bar)


def _show(scored: dict[str, Any], bundle: str) -> None:
    """Print the table of results, the finding in words, and what to do next."""
    from gpo_ray.evaluation.summary import text_table

    print("\n" + text_table(scored["cells"], scored))
    print(f"\n{fill(finding(scored['cells'], scored['best_baseline'], CONTEXT), 79)}")
    print(f"\nbundle: {bundle}\nreport: {scored['report']}")
    print(_NEXT.format(report=scored["report"], bundle=bundle))


def _prepare(survey: str) -> PreferenceDataset:
    """Read the survey, save it, and import slow modules; this runs while Ray starts."""
    from gpo_ray.preferences.dataset import PreferenceDataset
    from gpo_ray.preferences.readers import read_survey

    read_survey("gss").save(survey)
    dataset = PreferenceDataset.load(survey)
    for module in HEAVY:
        importlib.import_module(module)
    return dataset


def finding(cells: Sequence[dict[str, Any]], best: Sequence[dict[str, Any]], context: int) -> str:
    """Say in one sentence how ``gpo`` compares with the best plain baseline and with uniform shares.

    Args:
        cells: the cells of one fraction; ``gpo`` and ``uniform`` must be among the methods.
        best: the best plain baseline, as :func:`gpo_ray.evaluation.statistics.statistics` returns it.
        context: number of context answers of each group.
    """
    gpo, uniform = _mean(cells, "gpo"), _mean(cells, "uniform")
    text = (
        f"From {context} answers of a group that training never saw, gpo predicts its shares of the other "
        f"questions' answers with alignment {gpo:.3f}; "
    )
    if best:
        plain = float(best[0]["alignment"])
        text += f"the best plain baseline ({best[0]['method']}) reaches {plain:.3f}, {_told(gpo - plain)}; "
    return text + f"guessing all answers alike gives {uniform:.3f}."


def _told(gain: float) -> str:
    if abs(gain) < SAME:
        return "no difference to speak of"
    return f"{abs(gain):.3f} {'less' if gain > 0 else 'more'} than gpo"


def _say(step: int | str, text: str) -> None:
    print(f"{f'[{step}/4] ' if step else '      '}{text}", flush=True)


def _mean(cells: Sequence[dict[str, Any]], method: str) -> float:
    values = [c["alignment"] for c in cells if c["method"] == method]
    return float(sum(values) / len(values))
