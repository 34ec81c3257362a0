"""What both players' optimizers may be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from clan.core.options import Options


class OptimizerOptions(Options):
    """One optimizer and its schedule."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    """Update rule."""
    lr: float = Field(2.5e-4, gt=0)
    """Base learning rate."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of sgd; adam and adamw do not read it."""
    nesterov: bool = False
    """Nesterov's form of sgd's momentum (the paper of TAN; its code is plain)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of adam's and adamw's moments."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty (sgd, adam) or decoupled decay (adamw)."""
    schedule: Literal["poly", "constant"] = "poly"
    """poly: the rate falls as (1 - step / steps)^power; constant: it stays."""
    power: float = Field(0.9, gt=0)
    """Exponent of poly."""
    warmup_steps: int = Field(0, ge=0)
    """Linear rise from 0 over so many first steps."""
    warmup: Literal["smooth", "jump"] = "smooth"
    """smooth: the rise multiplies the schedule; jump: the rise alone, from exactly 0, and then the
    schedule, which is below 1 by then (published code of CLAN)."""

    @model_validator(mode="after")
    def _warmup_read(self) -> OptimizerOptions:
        if self.warmup == "jump" and not self.warmup_steps:
            raise ValueError("warmup=jump is read only with warmup_steps above 0")
        return self


class SegmenterOptimizerOptions(OptimizerOptions):
    """The optimizer of G, whose classifiers learn faster than its pretrained encoder."""

    weight_decay: float = Field(5e-4, ge=0)
    """L2 penalty (sgd, adam) or decoupled decay (adamw)."""
    head_multiplier: float = Field(10.0, gt=0)
    """Learning rate of the classifiers relative to the encoder's (DeepLab: 10)."""
    step_repeats: Literal["once", "published"] = "once"
    """How often a step takes each encoder tensor. published: as often as the published codes list
    it, which are ResNet's conv1 once, the convolutions of blocks three times, of shortcuts four."""

    @model_validator(mode="after")
    def _step_repeats_read(self) -> SegmenterOptimizerOptions:
        if self.step_repeats == "published" and self.name != "sgd":
            raise ValueError(f"step_repeats=published belongs to sgd, not to {self.name}")
        return self


class DiscriminatorOptimizerOptions(OptimizerOptions):
    """The optimizer of D; the paper's: Adam 5e-5 fixed, betas .9 and .99, decay 5e-4."""

    name: Literal["sgd", "adam", "adamw"] = "adam"
    """Update rule."""
    lr: float = Field(1e-4, gt=0)
    """Base learning rate."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of adam's and adamw's moments."""


class OptimOptions(Options):
    """Both players' optimizers."""

    segmenter: SegmenterOptimizerOptions = SegmenterOptimizerOptions()
    """Of G."""
    accumulate: int = Field(1, ge=1)
    """Split each update into so many parts to save memory; the batch stays the same."""
    discriminator: DiscriminatorOptimizerOptions = DiscriminatorOptimizerOptions()
    """Of D; methods without one do not read it."""
