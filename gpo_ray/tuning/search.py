"""The search itself: HyperOpt proposes trials, Ray Tune runs them, ASHA stops some, the ledger records all.

A search resumes from its ledger (ledger.py) rather than from Tune's own snapshots: Tune takes these every few
seconds, so that a trial that ended in between would be run again. HyperOpt and ASHA are given the results of
all trials that ended before. Interrupted trials run first; a trial that lost its process or its host runs
again once the others have ended.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import uuid
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.hyperopt import HyperOptSearch

from gpo_ray.preferences.splits import Split
from gpo_ray.prior.fitted import PriorKey
from gpo_ray.runtime.ray_session import interruptibly, user_error, worker_threads
from gpo_ray.runtime.resources import device_of
from gpo_ray.runtime.storage import Folder
from gpo_ray.runtime.terminal import Step, Steps, is_verbose
from gpo_ray.tuning.failures import one_line, reason, was_lost
from gpo_ray.tuning.ledger import FAILED, FINISHED, RUNNING, STOPPED, Ledger, TrialRecord
from gpo_ray.tuning.shared import SharedArrays, SharedPriors
from gpo_ray.tuning.space import SearchConfig, Space
from gpo_ray.tuning.tracking import MlflowLog
from gpo_ray.tuning.trial import METRIC, PLACEMENT_GROUP, REPORTED, run_trial

RANDOM_TRIALS = 20
"""Most trials that are drawn at random before TPE models the results."""
MAX_LOST = 2
"""How often a trial that lost its process runs again; one that runs out of memory would lose it each time."""


def run_trials(
    search: SearchConfig,
    space: Space,
    shared: SharedArrays,
    split: Split,
    ledger: Ledger,
    logs: Folder,
    log: MlflowLog | None = None,
    steps: Steps | None = None,
) -> None:
    """Run the remaining trials, and record each of them in the ledger, failed ones with their reason.

    Args:
        search: the search, which says how many trials run, and how many at a time.
        space: the space that trials are drawn from.
        shared: the data.
        split: the split whose validation groups are scored.
        ledger: the trials so far.
        logs: folder for Tune's logs and TensorBoard events.
        log: MLflow log, if trials are tracked there too.
        steps: progress display, in which the trials are one step; None shows nothing.
    """
    if log is not None:
        log.write(ledger)
    if not is_verbose():
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the ledger reports failures
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the older reporter is quiet at verbose=0
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # an interrupt would end the trials and start the finals
    ended = len(ledger.ended())
    before = f"; {ended} had ended before" if ended else ""
    with (steps or Steps("tune", 1, shown=False)).step("try", search.trials, "trials", ended) as step:
        while (left := search.trials - len(ledger.ended())) > 0:
            tuner = tune.Tuner(
                _trainable(search, space, shared, split, logs),
                tune_config=tune.TuneConfig(
                    search_alg=make_searcher(search, space, ledger),
                    scheduler=_scheduler(search, space, ledger),
                    num_samples=left,
                    max_concurrent_trials=_at_a_time(search),
                    reuse_actors=search.workers == 1,  # the next trial need not import modules again
                ),
                run_config=_run_config(logs, Recorder(ledger, log, step)),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Tune warns of what the ledger tells users in full
                interruptibly(tuner.fit)
            if not any(r.lost for r in ledger.interrupted()):  # trials that were lost run again
                break
        failed = sum(r.status == FAILED for r in ledger.ended())
        step.outcome = f"{len(ledger.ended())} trials, {failed} failed{before}"


def _run_config(logs: Folder, recorder: Recorder) -> tune.RunConfig:
    """Configure where Tune keeps its logs, and that ``recorder`` follows the trials."""
    filesystem, place = logs.location
    return tune.RunConfig(
        name=f"tune-{uuid.uuid4().hex[:8]}",
        storage_path=place,
        storage_filesystem=filesystem,
        callbacks=[recorder],
        failure_config=tune.FailureConfig(max_failures=0),
        verbose=1 if is_verbose() else 0,
    )


def _at_a_time(search: SearchConfig) -> int:
    if search.workers == 1:
        return search.concurrent
    from gpo_ray.tuning.distributed import trials_at_a_time

    return trials_at_a_time(search)


def _trainable(search: SearchConfig, space: Space, shared: SharedArrays, split: Split, logs: Folder) -> Any:
    """Return the function that Tune runs for each trial, with the resources that it takes."""
    settings: dict[str, Any] = {
        "space": space,
        "shared": dict(shared),
        "priors": fit_priors(search, space, shared, split),
        "split": split,
        "threads": worker_threads(search.concurrent * search.workers, search.cpus),
    }
    if search.workers == 1:
        resources = {"CPU": search.cpus, "GPU": search.gpus}
        return tune.with_resources(partial(run_trial, **settings, device=device_of(search.gpus)), resources)
    from gpo_ray.tuning.distributed import DRIVER, run_distributed_trial

    storage = logs.child("train").absolute
    return tune.with_resources(
        partial(run_distributed_trial, **settings, search=search, storage=storage), DRIVER
    )


def fit_priors(
    search: SearchConfig, space: Space, shared: SharedArrays, split: Split
) -> dict[PriorKey, ray.ObjectRef]:
    """Fit all priors that some sample needs, before the trials start and take the CPUs.

    Raises:
        GPOError: if a prior cannot be fitted.
    """
    if "memory" not in space.possible("model.prior"):
        return {}
    priors, context = (
        SharedPriors(shared, search.cpus, search.concurrent),
        space.base.validation.context_questions,
    )
    pairs = itertools.product(space.possible("model.pooling"), space.possible("standardize"))
    keys = {PriorKey(p, s, context, split.train_groups, split.question_order) for p, s in pairs}
    found = {k: priors.get(k) for k in keys}
    try:
        ray.get(list(found.values()))
    except ray.exceptions.RayTaskError as e:
        raise user_error(e) or e from e
    return found


def make_searcher(search: SearchConfig, space: Space, ledger: Ledger) -> HyperOptSearch:
    """Make HyperOpt's searcher, with the results of all trials that ended and the points to try next."""
    ended = ledger.ended()
    tried = [r.sample for r in ledger]
    points = [r.sample for r in (*ended, *ledger.interrupted())]
    points += [s for s in space.starts if s not in tried]
    random = max(len(space.starts) + 1, min(RANDOM_TRIALS, search.trials // 3))
    searcher = HyperOptSearch(
        space.expressions(),
        metric=METRIC,
        mode="max",
        points_to_evaluate=points or None,
        n_initial_points=random if search.algorithm == "tpe" else len(points) + search.trials,
        # The number of trials is in the seed, since the same seed would propose the same trials again.
        random_state_seed=int(np.random.default_rng([search.seed, len(tried)]).integers(2**31)),
    )
    for record in ended:
        searcher.suggest(f"ended-{record.number}")
        failed = record.score is None
        result = None if failed else {METRIC: record.score}
        searcher.on_trial_complete(f"ended-{record.number}", result, error=failed)
    return searcher


def _scheduler(search: SearchConfig, space: Space, ledger: Ledger) -> TrialScheduler:
    """Make the ASHA scheduler, and fill its rungs with the results of the trials that ended."""
    if search.scheduler.kind == "none":
        return FIFOScheduler()
    most = max(space.most_steps(), 2)
    asha = ASHAScheduler(
        time_attr="step",
        metric=METRIC,
        mode="max",
        max_t=most,
        grace_period=min(search.scheduler.grace, most - 1),
        reduction_factor=search.scheduler.reduction,
    )
    for record in ledger.ended():
        if record.alignment is not None:
            past = SimpleNamespace(trial_id=f"ended-{record.number}")
            asha.on_trial_add(None, past)
            for result in record.history:
                asha.on_trial_result(None, past, result)
    return asha


class Recorder(tune.Callback):  # type: ignore[misc]
    """A callback that records every trial in the ledger when it starts and when it ends."""

    def __init__(self, ledger: Ledger, log: MlflowLog | None = None, step: Step | None = None) -> None:
        self._ledger, self._log, self._step = ledger, log, step
        self._waiting = ledger.interrupted()
        self._records: dict[str, TrialRecord] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """Take up the trial's record."""
        self._record(trial)

    def _record(self, trial: Any) -> TrialRecord:
        """Return the trial's record: a new one, or that of the interrupted trial that it repeats."""
        if trial.trial_id not in self._records:
            sample = {k: getattr(v, "item", lambda v=v: v)() for k, v in trial.config.items()}
            again = next((r for r in self._waiting if r.sample == sample), None)
            if again is not None:
                self._waiting.remove(again)
            self._records[trial.trial_id] = again or self._ledger.start(sample)
        return self._records[trial.trial_id]

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        """Record what the trial reports, unless it reports again what a lost process had."""
        record = self._records[trial.trial_id]
        if result["step"] > record.steps:
            record.history.append({k: result[k] for k in REPORTED})
            record.seconds = round(float(result["time_total_s"]), 3)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """Record that the trial ended or was stopped early."""
        record = self._records[trial.trial_id]
        self._end(trial, record, FINISHED if record.history and record.history[-1]["ended"] else STOPPED)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """Record that the trial failed, or runs again if it lost its process."""
        record = self._record(trial)
        why, lost = _why(trial)
        if lost and record.lost < MAX_LOST:
            record.lost, record.history = record.lost + 1, []
            self._end(trial, record, RUNNING)
        else:
            self._end(trial, record, FAILED, why)

    def _end(self, trial: Any, record: TrialRecord, status: str, reason: str = "") -> None:
        record.status, record.reason = status, reason
        self._ledger.write(record)
        if self._step is not None:
            ended = self._ledger.ended()
            self._step.reach(len(ended))
            best = max((r.alignment for r in ended if r.alignment is not None), default=None)
            self._step.note = "" if best is None else f"best alignment {best:.4f}"
        if self._log is not None:
            self._log.write(self._ledger)
        held = (trial.last_result or {}).get(PLACEMENT_GROUP)
        if held is not None:
            from gpo_ray.tuning.distributed import release

            release(held)


def _why(trial: Any) -> tuple[str, bool]:
    """Return why a trial failed, in one line, and whether the reason is that it lost its process."""
    # These are Tune's files on this machine; it copies them into the search's folder only later.
    if trial.pickled_error_file is not None:
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())  # noqa: S301 - Tune wrote it
        return reason(error), was_lost(error)
    if trial.error_file is not None:
        return one_line(Path(trial.error_file).read_text()), False
    return "its process was lost", True
