"""Writes a run's log: a line of metrics.jsonl per log step, numbers to sinks, health checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning.fabric import Fabric

from clan.runs.environment import describe
from clan.runs.folder import RunFolder
from clan.runs.health import Verdict, Watcher
from clan.runs.sinks.contract import numbers
from clan.runs.sinks.fan_out import Sinks
from clan.weights.model_files import LoadReport


class Journal:
    """Writes one line per log step and passes its numbers on; on the first process.

    Args:
        run: the folder to write to.
        fabric: what the training runs on, which is noted.
        sinks: where the numbers go beside metrics.jsonl.

    Attributes:
        news: problems that the last line showed for the first time; on the first process.
    """

    def __init__(self, run: RunFolder, fabric: Fabric, sinks: Sinks) -> None:
        self.run, self.fabric, self._sinks = run, fabric, sinks
        self._watcher: Watcher | None = None
        self.news: list[Verdict] = []

    def begin(self, step: int, steps: int, loaded: LoadReport | None = None) -> None:
        """Open the files after ``step`` of ``steps``, removing lines of later steps.

        ``loaded`` is the report on a new training's initial weights.
        """
        # the last scores are written after the last checkpoint: a resumed run writes them again
        kept = [
            record
            for record in self.run.read_metrics()
            if record["step"] <= step and not (record["step"] == steps and "miou" in record)
        ]
        self._watcher = Watcher(steps)
        for record in kept:
            # problems reported before the run stopped are not reported again
            self._watcher.feed(record["step"], record)
        self.run.rewrite_metrics(kept)
        self.run.note_environment(step, describe(self.fabric))
        if loaded is not None:
            self.run.write_weights_report(loaded.listing())
        self._sinks.begin(self.run, step)

    def close(self) -> None:
        """Close the sinks."""
        self._sinks.close()

    def write(self, step: int, record: Mapping[str, Any]) -> None:
        """Add one line, and pass its numbers to the sinks; on the first process."""
        clean = {key: None if _undefined(value) else value for key, value in record.items()}
        self.run.append_metrics({"step": step, **clean})
        assert self._watcher is not None, "begin comes first"
        self.news = self._watcher.feed(step, clean)
        self._sinks.scalars(step, numbers(clean))


def _undefined(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
