"""A training's curves: means of its scalars at log steps, in metrics.jsonl and the run's sinks."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor

from clan.core.errors import RunError
from clan.runs.environment import describe, peak_bytes
from clan.runs.folder import RunFolder
from clan.runs.health import Verdict, Watcher
from clan.runs.sinks.contract import numbers
from clan.runs.sinks.fan_out import Sinks
from clan.weights.model_files import LoadReport


class Journal:
    """Collects the scalars of each step and writes their means, one line per log step.

    Scalars wait on the device, so that a step does not wait for the device. Those that wait while
    a checkpoint is written go into it: a resumed run writes the lines of an uninterrupted one.

    Args:
        run: the folder to write to.
        fabric: averages over its processes; the first one writes.
        images: images per step, over all processes.
        sinks: where the numbers go beside metrics.jsonl.

    Attributes:
        news: the trouble that the last line showed for the first time; on the first process.
    """

    def __init__(self, run: RunFolder, fabric: Fabric, images: int, sinks: Sinks) -> None:
        self.run, self.fabric, self.images = run, fabric, images
        self._sinks = sinks
        self._names: list[str] = []
        self._rows: list[Tensor] = []
        self._since = time.perf_counter()
        self._watcher: Watcher | None = None
        self.news: list[Verdict] = []

    def begin(self, step: int, steps: int, loaded: LoadReport | None = None) -> None:
        """Open the files after ``step`` of ``steps``, forgetting what is written of later ones.

        ``loaded`` says what became of the weights that a new training starts from.
        """
        # the last scores come after the last checkpoint: resumed from there, they come again
        kept = [
            record
            for record in self.run.read_metrics()
            if record["step"] <= step and not (record["step"] == steps and "miou" in record)
        ]
        self._watcher = Watcher(steps)
        for record in kept:
            # what was said before the run stopped is not said again
            self._watcher.feed(record["step"], record)
        self.run.rewrite_metrics(kept)
        self.run.note_environment(step, describe(self.fabric))
        if loaded is not None:
            self.run.write_weights_report(loaded.listing())
        self._sinks.begin(self.run, step)

    def close(self) -> None:
        """Let the sinks write what waits."""
        self._sinks.close()

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Note the scalars of one step; they stay on the device."""
        self._names = self._names or list(scalars)
        self._rows.append(torch.stack([scalars[name].float() for name in self._names]))

    def skip(self, seconds: float) -> None:
        """Leave time that was not spent on steps out of the speed."""
        self._since += seconds

    def state(self, step: int) -> dict[str, Any]:
        """Return what waits, for a checkpoint after ``step``; all processes must call.

        Raises:
            RunError: a scalar is not a finite number.
        """
        rows = self._collect(step)
        seconds = time.perf_counter() - self._since
        return {"names": list(self._names), "rows": rows, "seconds": seconds}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what waited in a checkpoint."""
        self._names = list(state["names"])
        self._rows = list(state["rows"].to(self.fabric.device))
        self._since = time.perf_counter() - state["seconds"]

    def means(self, step: int) -> tuple[dict[str, float], dict[str, float]]:
        """Return the means since the last log step, speed and peak memory; all processes must call.

        Raises:
            RunError: a scalar is not a finite number; names the first such step and scalar.
        """
        rows = self._collect(step)
        seconds = time.perf_counter() - self._since
        self._since = time.perf_counter()
        means = dict(zip(self._names, rows.mean(dim=0).tolist(), strict=True))
        timing = {"images_per_second": len(rows) * self.images / seconds, "seconds": seconds}
        timing["memory"] = peak_bytes(self.fabric.device)
        self._names, self._rows = [], []
        return means, timing

    def write(self, step: int, record: Mapping[str, Any]) -> None:
        """Add one line, and pass its numbers to the sinks; on the first process."""
        clean = {key: None if _undefined(value) else value for key, value in record.items()}
        self.run.append_metrics({"step": step, **clean})
        assert self._watcher is not None, "begin comes first"
        self.news = self._watcher.feed(step, clean)
        self._sinks.scalars(step, numbers(clean))

    def _collect(self, step: int) -> Tensor:
        """Bring what waits to the host, (steps, scalars) float32, averaged over the processes."""
        if not self._rows:
            return torch.zeros(0, len(self._names))
        rows = cast(Tensor, self.fabric.all_reduce(torch.stack(self._rows), reduce_op="mean")).cpu()
        broken = (~rows.isfinite()).nonzero()
        if len(broken):
            row, column = broken[0].tolist()
            raise broken_run(
                self.run,
                f"{self._names[column]} became {rows[row, column].item()} at step "
                f"{step - len(rows) + 1 + row}",
            )
        return rows


def broken_run(run: RunFolder, what: str) -> RunError:
    """Return the error that stops a training whose numbers are no longer finite."""
    newest = run.newest_checkpoint() or "not written yet"
    return RunError(
        f"{what}; the training stops. The last good checkpoint is {newest}. Lower the learning "
        "rate (optim.segmenter.lr), lengthen the warm-up (optim.segmenter.warmup_steps), or check "
        "the weights and labels that it started from."
    )


def _undefined(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
