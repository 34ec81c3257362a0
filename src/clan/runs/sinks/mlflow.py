"""MLflow; MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and its other variables are its own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from clan.config.flat import flat
from clan.config.tree import Config
from clan.core.files import write_whole
from clan.runs.folder import RunFolder

LONGEST = 500
"""Characters of a parameter that every version of MLflow takes."""


class MLflow:
    """One run there per run folder; a resumed one goes on in it, by the id in ``mlflow.txt``."""

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Open the run; see `clan.runs.sinks.contract.Sink`."""
        from mlflow import MlflowClient

        self._client: Any = MlflowClient()
        note = run.path / "mlflow.txt"
        if note.is_file():
            self._id = note.read_text(encoding="utf-8")
            self._client.update_run(self._id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "clan")
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        title = f"{config.name}/seed{config.seed}"
        self._id = self._client.create_run(number, run_name=title).info.run_id
        write_whole(note, self._id)
        for key, value in flat(config).items():
            self._client.log_param(self._id, key, str(value)[:LONGEST])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers against ``step``, in one request."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._id)
