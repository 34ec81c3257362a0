"""What a resumed training may change, and what it goes on from."""

from __future__ import annotations

from typing import Any

from lightning.fabric import Fabric

from clan.checkpoint import load_newest, set_aside
from clan.config import Config, anchored, differences
from clan.display import Display
from clan.errors import RunError
from clan.processes import together
from clan.runs import RunFolder

FREE_TO_CHANGE = (
    "description",
    "data.root",
    "data.workers",
    "training.accelerator",
    "training.checkpoint_every",
    "training.devices",
    "training.keep_checkpoints",
    "training.nodes",
    "training.snapshot_every",
)
"""Keys that a resumed run may change: the result does not depend on them."""


def prepare_folder(run: RunFolder, config: Config, resume: bool) -> None:
    """Create the run's folder, or note what a resume changed."""
    if not resume:
        RunFolder.create(run.path, config)
    elif run.config != config:
        run.write_config(config)


def is_finished(run: RunFolder, config: Config) -> bool:
    """Tell whether there is nothing left to do; refuse another configuration than the run's."""
    found = differences(anchored(run.config), config)
    changed = [f"{k} was {old!r}, now {new!r}" for k, old, new in found if k not in FREE_TO_CHANGE]
    if changed:
        raise RunError(
            f"{run.path} cannot be resumed with another configuration: {'; '.join(changed)}. "
            f"These may change: {', '.join(FREE_TO_CHANGE)}."
        )
    return run.finished


def read_checkpoint(run: RunFolder, fabric: Fabric, display: Display) -> dict[str, Any] | None:
    """Read the newest checkpoint that is in order, setting damaged ones aside."""
    content, damaged = load_newest(run.checkpoints)
    # no process may still look for what the first one renames
    fabric.barrier()
    together(fabric, lambda: set_aside(damaged))
    for problem in damaged.values():
        display.message(f"{problem}. Going on from an older checkpoint.")
    return content
