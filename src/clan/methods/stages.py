"""The stages of a method: what it declares, and what it asks the data to be like in each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stretch of a training's steps."""

    name: str
    """Unique in its method and fit for a folder's name."""
    steps: int
    """Updates; those of all stages add up to the training's."""
    prepared: bool = False
    """Whether `Method.begin_stage` is called before it, with the data sets at hand."""


@dataclass(frozen=True)
class Reading:
    """How the training batches of a stage are read."""

    target_labels: bool = False
    """The target has the labels that were written before the stage (never its own)."""
    rare_classes: tuple[int, ...] = ()
    """Classes that crops of labelled images are drawn towards."""
    rare_chance: float = 0.0
    """Probability that a crop is centred on a pixel of such a class, if the image has one."""
