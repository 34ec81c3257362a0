"""The interface of a sink, to which a run's numbers are copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from clan.config.tree import Config
from clan.runs.folder import RunFolder


@runtime_checkable
class Sink(Protocol):
    """A place for a run's scalars, such as a file or a tracker.

    It exists on the first process only. If it raises an error, a warning is printed and the
    training continues without it; metrics.jsonl has all numbers.
    """

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Open it before the step ``step + 1``.

        A resumed run has removed the lines of later steps, and maybe the last scores at ``step``
        itself; `RunFolder.read_metrics` yields the valid lines.

        Args:
            run: the folder; it exists.
            config: of the run.
            step: updates done, 0 for a new run.
        """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Note finite numbers after ``step`` updates; a step may come twice, with other names."""

    def close(self) -> None:
        """Write buffered numbers; called once, at the end or after an error."""


def numbers(record: Mapping[str, object]) -> dict[str, float]:
    """Return the numbers of a line of metrics.jsonl for sinks: its floats but seconds."""
    return {
        name: value
        for name, value in record.items()
        if isinstance(value, float) and name != "seconds"
    }
