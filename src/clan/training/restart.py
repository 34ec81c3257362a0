"""Going on with a run from its folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clan.config.tree import load_written
from clan.data.python import MapStyle
from clan.runs.folder import RunFolder
from clan.training.display import Display
from clan.training.loop import train


def resume(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    source: MapStyle | None = None,
    target: MapStyle | None = None,
    validation: MapStyle | None = None,
    display: Display | None = None,
) -> RunFolder:
    """Go on with a run from its newest checkpoint; on the CPU as if it had never stopped.

    Args:
        run: the folder of an unfinished run; a finished one is left as it is.
        overrides: ``key=value`` changes of what the result does not depend on: device, number of
            processes, loader workers, ``data.root``, how often is scored and saved.
        source: the data set that was passed to `train`, if one was: folders hold no such data.
        target: likewise.
        validation: likewise.
        display: shows progress, such as `clan.training.display.Bar`; None shows nothing.

    Returns:
        The run's folder.

    Raises:
        RunError: no run there, a change that makes it another training, or a data set of another
            length or of images of another size.
        ClanError: as `train`.

    Example:
        run = clan.resume("runs/clan", ["training.devices=2"])
    """
    config = load_written(RunFolder.open(run).config_file, overrides)
    return train(
        config,
        run,
        source=source,
        target=target,
        validation=validation,
        resume=True,
        display=display,
    )
