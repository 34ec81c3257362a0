"""TensorBoard's event files in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter

from clan.config.tree import Config
from clan.runs.folder import RunFolder
from clan.runs.sinks.contract import numbers


class TensorBoard:
    """Writes events; a resumed run opens a new file, which purges events of later steps."""

    _writer: SummaryWriter

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Open a file of events; see `clan.runs.sinks.contract.Sink`."""
        _sort_behind(run)
        # the scores at the step itself may be removed too, so it is purged and written again
        self._writer = SummaryWriter(str(run.path), purge_step=step)
        for record in run.read_metrics():
            if record["step"] == step:
                self.scalars(step, numbers(record))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()


def _sort_behind(run: RunFolder) -> None:
    """Rename existing event files so that a new one sorts after them.

    TensorBoard reads event files in the order of their names, which begin with the time in seconds
    and the process number. The file of a run that is resumed within a second, or after the clock
    was set back, would be read before the earlier ones, which would then purge its events.
    """
    past = sorted(run.path.glob("events.out.tfevents.*.*"))
    stamps = [int(path.name.split(".")[3]) for path in past]
    now = int(time.time())
    if any(stamp > now for stamp in stamps):
        for before, path in zip(range(len(past), 0, -1), past, strict=True):
            head, tail = path.name.split(".")[:3], path.name.split(".")[4:]
            path.rename(path.with_name(".".join([*head, f"{now - before:010d}", *tail])))
    elif now in stamps:
        time.sleep(1.01 - time.time() % 1)
