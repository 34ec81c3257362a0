"""Means of a training's scalars between log steps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor

from clan.runs.environment import peak_bytes
from clan.runs.folder import RunFolder
from clan.runs.guard import refuse_broken


class Means:
    """Collects the scalars of each step until a log step takes their means.

    Scalars stay on the device until then, so that a step does not wait for it. Scalars that are not
    logged yet are saved in checkpoints, so that a resumed run logs the same means.

    Args:
        run: named where a scalar is not finite.
        fabric: averages over its processes.
        images: images per step, over all processes.
    """

    def __init__(self, run: RunFolder, fabric: Fabric, images: int) -> None:
        self.run, self.fabric, self.images = run, fabric, images
        self._names: list[str] = []
        self._rows: list[Tensor] = []
        self._since = time.perf_counter()

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Note the scalars of one step; they stay on the device."""
        self._names = self._names or list(scalars)
        self._rows.append(torch.stack([scalars[name].float() for name in self._names]))

    def skip(self, seconds: float) -> None:
        """Leave time that was not spent on steps out of the speed."""
        self._since += seconds

    def state(self, step: int) -> dict[str, Any]:
        """Return the scalars not logged yet, for a checkpoint after ``step``; on all processes.

        Raises:
            RunError: a scalar is not a finite number.
        """
        rows = self._collect(step)
        seconds = time.perf_counter() - self._since
        return {"names": list(self._names), "rows": rows, "seconds": seconds}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the scalars of a checkpoint that were not logged yet."""
        self._names = list(state["names"])
        self._rows = list(state["rows"].to(self.fabric.device))
        self._since = time.perf_counter() - state["seconds"]

    def take(self, step: int) -> tuple[dict[str, float], dict[str, float]]:
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

    def _collect(self, step: int) -> Tensor:
        """Copy the scalars to the host, (steps, scalars) float32, averaged over the processes."""
        if not self._rows:
            return torch.zeros(0, len(self._names))
        rows = cast(Tensor, self.fabric.all_reduce(torch.stack(self._rows), reduce_op="mean")).cpu()
        refuse_broken(self.run, self._names, rows, step)
        return rows
