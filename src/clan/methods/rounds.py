"""What self-training methods share: rounds that learn from a growing share of the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from clan.losses.pseudo_labels import confidence_counts
from clan.methods.stages import Stage, StageDomains

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def divide(steps: int, first: Stage, option: str, rounds: int) -> tuple[Stage, ...]:
    """Divide a training into a first stage, left out if it has no steps, and even rounds.

    Args:
        steps: of the training.
        first: what comes before the rounds.
        option: of the method, which says how long that is.
        rounds: ``round_1`` and so on, prepared.

    Raises:
        ValueError: fewer steps are left than rounds.
    """
    left = steps - first.steps
    if left < rounds:
        raise ValueError(
            f"training.steps {steps} leaves {left} for {rounds} rounds after "
            f"method.{option} {first.steps}; each round needs at least one"
        )
    ends = [left * r // rounds for r in range(rounds + 1)]
    return ((first,) if first.steps else ()) + tuple(
        Stage(f"round_{r}", ends[r] - ends[r - 1], prepared=True, labelled_by=option)
        for r in range(1, rounds + 1)
    )


def check_portions(portion: float, most: float) -> None:
    """Refuse a share of labelled pixels that is above its end from the start.

    Raises:
        ValueError: it does.
    """
    if portion > most:
        raise ValueError(
            f"portion {portion:g} is above portion_max {most:g}, which would hold in all rounds: "
            "set method.portion_max as well"
        )


def round_number(stage: Stage) -> int:
    """Return which round a stage of `divide` is, from 1."""
    return int(stage.name.removeprefix("round_"))


def count_confidences(
    domains: StageDomains, confidence: Callable[[Tensor], Tensor], classes: int, fabric: Fabric
) -> Tensor:
    """Count the confidences of all target images, over all processes.

    Args:
        domains: of a stage.
        confidence: from images to (N, C, H, W) in 0..1.
        classes: C.
        fabric: gives device and processes.

    Returns:
        As `clan.losses.pseudo_labels.confidence_counts`.
    """
    nothing = torch.zeros(0, classes, 1, 1, device=fabric.device)
    counts = confidence_counts(nothing, classes)
    for batch in domains.target():
        counts += confidence_counts(confidence(batch["image"]), classes)
    return cast(Tensor, fabric.all_reduce(counts, reduce_op="sum"))
