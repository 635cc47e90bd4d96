"""Tracking of a search's trials in MLflow, if the search asks for it."""

from __future__ import annotations

import warnings
from typing import Any

from gpo_ray.errors import ConfigError
from gpo_ray.tuning.ledger import FAILED, Ledger, TrialRecord
from gpo_ray.tuning.space import Space

TRIAL = "gpo_ray.trial"
"""Tag of an MLflow run that holds the trial's number, by which the run is found again."""


class MlflowLog:
    """A log of a search's trials as the runs of one MLflow experiment.

    A trial is written when it has ended, with its values, metrics by step, and, if it failed, the reason. A
    resumed search also writes the trials that an interrupted search did not write.

    Args:
        uri: URI of an MLflow server or database, such as ``http://host:5000`` or ``sqlite:///mlflow.db``.
        experiment: name of the experiment.
        space: the space of hyperparameters.

    Raises:
        ConfigError: if MLflow is not installed, or nothing answers at the URI.
    """

    def __init__(self, uri: str, experiment: str, space: Space) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as e:
            raise ConfigError("mlflow: not installed; pip install 'gpo-ray[mlflow]'") from e
        self._space, self._error = space, MlflowException
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow's database code warns
                self._client = MlflowClient(tracking_uri=uri)
                found = self._client.get_experiment_by_name(experiment)
                made = found.experiment_id if found else self._client.create_experiment(experiment)
        except MlflowException as e:
            raise ConfigError(f"mlflow: {uri}: {' '.join(str(e).split())[:300]}") from e
        self._experiment = str(made)
        self._written = {r.data.tags.get(TRIAL) for r in self._runs()}

    def _runs(self) -> list[Any]:
        found: list[Any] = []
        page: str | None = ""
        while page is not None:
            part = self._client.search_runs(
                [self._experiment], "status != 'RUNNING'", page_token=page or None
            )
            found += part
            page = part.token or None
        return found

    def write(self, ledger: Ledger) -> None:
        """Write the trials that are not written yet; if MLflow fails, the next call tries again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for record in ledger.ended():
                if str(record.number) not in self._written:
                    try:
                        self._write(record)
                    except self._error:  # a search does not end because tracking fails
                        return
                    self._written.add(str(record.number))

    def _write(self, record: TrialRecord) -> None:
        from mlflow.entities import Metric, Param

        tags = {TRIAL: str(record.number), "status": record.status}
        if record.reason:
            tags["reason"] = record.reason
        run = self._client.create_run(
            self._experiment, run_name=f"trial-{record.number}", tags=tags
        ).info.run_id
        params = [Param(k, str(v)) for k, v in self._space.values(record.sample).items()]
        metrics = [
            Metric(key, float(value), 0, int(report["step"]))
            for report in record.history
            for key, value in report.items()
            if key not in ("step", "ended")
        ]
        self._client.log_batch(run, params=params)
        for start in range(0, len(metrics), 1000):  # the most that a server takes at once
            self._client.log_batch(run, metrics=metrics[start : start + 1000])
        self._client.set_terminated(run, "FAILED" if record.status == FAILED else "FINISHED")
