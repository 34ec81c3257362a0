"""How long a training waits for images, and whether that holds it up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

MUCH = 0.2
"""Share of the time from which waiting holds a training up."""
IN_A_ROW = 2
"""Log lines in a row that have to say so: workers that start fill the first one."""


class Waiting:
    """Times how long a training waits for its batches, between log steps.

    Args:
        workers: loader processes per domain, named in the warning.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._waited, self._row, self._said = 0.0, 0, False

    def watched(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches; the time until each comes counts as waiting."""
        iterator = iter(batches)
        while True:
            began = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited += time.perf_counter() - began
            yield batch

    def share(self, seconds: float) -> float:
        """Return the share of the last ``seconds`` that was waiting, 0..1, and begin anew."""
        share = min(1.0, self._waited / seconds) if seconds > 0 else 0.0
        self._waited = 0.0
        self._row = self._row + 1 if share >= MUCH else 0
        return share

    def warning(self, share: float) -> str:
        """Return what to do about much waiting, once; empty where there is nothing to say."""
        if self._said or self._row < IN_A_ROW:
            return ""
        self._said = True
        return (
            f"reading images holds the training up: it waited {100 * share:.0f} % of the time. "
            f"Raise data.workers (now {self._workers} per domain, on {os.cpu_count()} cores) or "
            "store smaller images"
        )
