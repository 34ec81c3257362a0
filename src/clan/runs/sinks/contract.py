"""What a sink is: a place that a run's numbers are copied to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from clan.config.tree import Config
from clan.runs.folder import RunFolder


@runtime_checkable
class Sink(Protocol):
    """A place for a run's scalars, such as a file or a tracker.

    It lives on the first process alone. An error that it raises is told once, and the training
    goes on without it: metrics.jsonl has all numbers.
    """

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Open it before the step ``step + 1``.

        A resumed run has forgotten what came later, and maybe the last scores at ``step`` itself:
        `RunFolder.read_metrics` yields what counts.

        Args:
            run: the folder; it exists.
            config: of the run.
            step: updates done, 0 for a new run.
        """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Note finite numbers after ``step`` updates; a step may come twice, with other names."""

    def close(self) -> None:
        """Write what waits; called once, whether the training ended or broke."""


def numbers(record: Mapping[str, object]) -> dict[str, float]:
    """Return what a line of metrics.jsonl has for sinks: its fractions, seconds left out."""
    return {
        name: value
        for name, value in record.items()
        if isinstance(value, float) and name != "seconds"
    }
