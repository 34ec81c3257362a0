"""What a resumed training may change, and the checkpoint that it continues from."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clan.config.flat import differences
from clan.config.loading import anchored
from clan.config.tree import Config
from clan.core.errors import RunError
from clan.runs.checkpoint import load_newest, set_aside
from clan.runs.folder import RunFolder
from clan.training.display import Display
from clan.training.processes import on_rank_zero

if TYPE_CHECKING:
    # for its types alone: who compares two configurations need not wait for it
    from lightning.fabric import Fabric

FREE_TO_CHANGE = (
    "description",
    "data.cache",
    "data.cache_gib",
    # of the steps that are done, none met a file that would have been skipped, or all were
    "data.on_error",
    "data.root",
    "data.workers",
    "training.accelerator",
    "training.checkpoint_every",
    "training.checkpointing",
    "training.compile",
    "training.devices",
    "training.evaluate_every",
    "training.keep_checkpoints",
    "training.nodes",
    "training.sinks",
    "training.snapshot_every",
)
"""Keys that a resumed run may change: the result does not depend on them."""


def changes(
    old: Config, new: Config, free: Collection[str] = (*FREE_TO_CHANGE, "name")
) -> list[str]:
    """Return the differences of two configurations that affect the training, a clause each.

    Args:
        old: what a run was trained with.
        new: what is asked for.
        free: keys that make no difference.
    """
    return [f"{key} was {a!r}, now {b!r}" for key, a, b in differences(old, new) if key not in free]


def content(config: Config, free: Collection[str] = (*FREE_TO_CHANGE, "name")) -> str:
    """Return the options that affect a training, as text."""
    tree = config.model_dump(mode="json")
    for key in free:
        *groups, last = key.split(".")
        inner = tree
        for group in groups:
            inner = inner[group]
        del inner[last]
    return json.dumps(tree, sort_keys=True)


def prepare_folder(run: RunFolder, config: Config, resume: bool) -> None:
    """Create the run's folder, or note what a resume changed."""
    if not resume:
        RunFolder.create(run.path, config)
    elif run.config != config:
        run.write_config(config)


def is_finished(run: RunFolder, config: Config) -> bool:
    """Whether the run is finished; refuse another configuration than the run's."""
    if changed := changes(anchored(run.config), config, FREE_TO_CHANGE):
        raise RunError(
            f"{run.path} cannot be resumed with another configuration: {'; '.join(changed)}. "
            f"These may change: {', '.join(FREE_TO_CHANGE)}."
        )
    return run.finished


def read_checkpoint(run: RunFolder, fabric: Fabric, display: Display) -> dict[str, Any] | None:
    """Read the newest checkpoint that is in order, setting damaged ones aside."""
    found, damaged = load_newest(run.checkpoints)
    # no process may still look for what the first one renames
    fabric.barrier()
    on_rank_zero(fabric, lambda: set_aside(damaged))
    for problem in damaged.values():
        display.message(f"{problem}. Going on from an older checkpoint.")
    return found


def refuse_other_data(
    run: RunFolder, content: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]]
) -> None:
    """Check that data sets from Python are those of the checkpoint.

    Args:
        run: that is resumed.
        content: of its checkpoint.
        given: what is known of the data sets now, as `Domains.given`.

    Raises:
        RunError: one has another length, or images of another size.
    """
    for name, now in given.items():
        then = content.get("given", {}).get(name)
        if then is not None and then != now:
            raise RunError(
                f"{run.path} was trained on a {name} of {_said(then)}; the one passed now has "
                f"{_said(now)}. Pass the same data set to resume the run"
            )


def _said(facts: Mapping[str, Any]) -> str:
    (first, last) = (f"{height}x{width}" for height, width in facts["sizes"])
    return f"{facts['images']} images, the first {first} (height x width), the last {last}"


def refuse_other_classes(run: RunFolder, content: Mapping[str, Any], names: Sequence[str]) -> None:
    """Check that a checkpoint has the classes of the data.

    Raises:
        RunError: it has others.
    """
    found, expected = content["classes"]["names"], list(names)
    if found != expected:
        raise RunError(
            f"the checkpoints of {run.path} are of the classes {', '.join(found)}, the data now "
            f"have {', '.join(expected)}"
        )
