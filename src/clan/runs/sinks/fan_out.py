"""All sinks of a run as one; a sink that fails is named and not used any further."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clan.config.tree import Config
from clan.runs.folder import RunFolder
from clan.runs.sinks.contract import Sink
from clan.runs.sinks.table import make_sink


class Sinks:
    """Passes a run's numbers on to the sinks that its configuration names.

    Args:
        config: of the run.
        say: tells the user a line.
    """

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config, self._say = config, say
        self._open: dict[str, Sink] = {}

    def begin(self, run: RunFolder, step: int) -> None:
        """Open all sinks before the step ``step + 1``."""
        for name in self._config.training.sinks:

            def begin(name: str = name) -> None:
                sink = make_sink(name)
                self._open[name] = sink
                sink.begin(run, self._config, step)

            self._try(name, begin)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Pass finite numbers on."""
        for name, sink in list(self._open.items()):
            self._try(name, lambda sink=sink: sink.scalars(step, values))  # type: ignore[misc]

    def close(self) -> None:
        """Close all sinks."""
        for name, sink in list(self._open.items()):
            self._try(name, sink.close)
        self._open.clear()

    def _try(self, name: str, action: Callable[[], object]) -> None:
        try:
            action()
        # no error of a tracker may end a training
        except Exception as error:
            self._open.pop(name, None)
            self._say(
                f"warning: the sink {name} failed and is not used any further "
                f"({type(error).__name__}: {error}); metrics.jsonl has all numbers"
            )
