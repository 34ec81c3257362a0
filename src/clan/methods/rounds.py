"""Rounds of self-training, each on a larger share of pseudo-labels."""

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
    """Divide a training into a first stage and rounds of equal length.

    Args:
        steps: number of updates of the training.
        first: the stage before the rounds; left out if it has no steps.
        option: the method's option that gives the first stage's steps, for messages.
        rounds: number of rounds; they are named ``round_1`` and so on, and are prepared.

    Raises:
        ValueError: fewer steps are left than rounds.
    """
    left = steps - first.steps
    if left < rounds:
        raise ValueError(
            f"training.steps {steps} leaves {max(left, 0)} for {rounds} rounds after "
            f"method.{option} {first.steps}; each round needs at least one: raise training.steps "
            f"to {first.steps + rounds} or more, or lower method.{option}"
        )
    ends = [left * r // rounds for r in range(rounds + 1)]
    return ((first,) if first.steps else ()) + tuple(
        Stage(f"round_{r}", ends[r] - ends[r - 1], prepared=True, labelled_by=option)
        for r in range(1, rounds + 1)
    )


def check_portions(portion: float, most: float) -> None:
    """Refuse a `portion` above `portion_max`.

    Raises:
        ValueError: ``portion`` is above ``most``.
    """
    if portion > most:
        raise ValueError(
            f"portion {portion:g} is above portion_max {most:g}, so every round would label "
            f"{most:g}: raise method.portion_max, or lower method.portion"
        )


def round_number(stage: Stage) -> int:
    """Return the number, from 1, of a round that `divide` made."""
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
