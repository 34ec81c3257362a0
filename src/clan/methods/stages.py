"""The stages of a method: their steps, and how the data of each are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from clan.data.loading import Batch


class StageDomains(Protocol):
    """The whole data sets, as a method sees them before a stage.

    Each process passes over its own share of the images, one image at a time and unaugmented; a
    method that counts something must sum its counts over the processes.
    """

    folder: Path
    """The stage's folder within the run's folder; all processes share it."""

    @property
    def target_images(self) -> int:
        """How many images the target has, over all processes."""

    def source(self, most: int | None = None) -> Iterator[Batch]:
        """Yield this process's source images with their labels (at the size they are stored).

        With ``most``, at most that many images, chosen evenly from the whole data set.
        """

    def target(self) -> Iterator[Batch]:
        """Yield this process's target images, without labels."""

    def write_label(self, name: str, label: Tensor) -> None:
        """Keep a label (H, W) uint8 of the target image ``name`` for this stage's training."""


@dataclass(frozen=True)
class Stage:
    """Consecutive steps of a training."""

    name: str
    """Unique in its method and fit for a folder's name."""
    steps: int
    """Updates; those of all stages add up to the training's."""
    prepared: bool = False
    """Whether `Method.begin_stage` is called before it, with the data sets at hand."""
    labelled_by: str = ""
    """The option with the number of steps that train G before it labels the target; empty if the
    stage has no pseudo-labels."""


def steps_left(steps: int, first: int, option: str) -> int:
    """Return how many steps of a training follow its first ones; at least one must.

    Args:
        steps: of the whole training.
        first: the number of first steps.
        option: the method's option that gives ``first``, for messages.

    Raises:
        ValueError: no step follows.
    """
    if steps <= first:
        raise ValueError(
            f"training.steps {steps} leaves {max(0, steps - first)} after method.{option} {first}; "
            "at least one step must learn from the target. Raise training.steps, or lower "
            f"method.{option}"
        )
    return steps - first


@dataclass(frozen=True)
class Reading:
    """How the training batches of a stage are read."""

    target_labels: bool = False
    """The target has the pseudo-labels written before the stage (never its own labels)."""
    rare_classes: tuple[int, ...] = ()
    """Classes that crops of labelled images are drawn towards."""
    rare_chance: float = 0.0
    """Probability that a crop is centred on a pixel of such a class, if the image has one."""
    rare_temperature: float = 0.0
    """Above 0, source images are drawn by class, a class of frequency f with a probability
    proportional to exp((1 - f) / temperature); 0: each image once an epoch."""
