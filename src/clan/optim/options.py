"""Options of the optimizers of G and D."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clan.core.options import Options

Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerOptions(Options):
    """One optimizer and its schedule."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    """Update rule."""
    lr: float = Field(2.5e-4, gt=0)
    """Base learning rate."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of sgd; adam and adamw do not read it."""
    nesterov: bool = False
    """Nesterov's form of sgd's momentum (TAN's paper; its code has plain momentum)."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of adam's and adamw's moments."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty (sgd, adam) or decoupled decay (adamw)."""
    schedule: Literal["poly", "constant"] = "poly"
    """poly: the rate falls as (1 - step / steps)^power; constant: it does not change."""
    power: float = Field(0.9, gt=0)
    """Exponent of poly."""
    warmup_steps: int = Field(0, ge=0)
    """Number of first steps in which the rate rises linearly from 0."""
    warmup: Literal["smooth", "jump"] = "smooth"
    """smooth: the schedule times a linear rise; jump: the rise without the schedule, then the
    schedule without the rise, so that the rate jumps between them (published code of CLAN)."""

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
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Learning rate of each block of a transformer relative to the next deeper one: the last block
    has the encoder's rate, the embeddings before the first the lowest; 1: all alike."""
    norm_decay: bool = True
    """Whether weight decay holds for the encoder's norms and position embeddings; the published
    code of DAFormer leaves them out."""
    step_repeats: Literal["once", "published"] = "once"
    """How many steps an update takes with each encoder tensor. published: as the published codes
    do with ResNets: one with conv1, three with a block's convolutions, four with a shortcut's."""

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
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Decay rates of adam's and adamw's moments."""


class OptimOptions(Options):
    """Both players' optimizers."""

    segmenter: SegmenterOptimizerOptions = SegmenterOptimizerOptions()
    """The optimizer of G."""
    accumulate: int = Field(1, ge=1)
    """Number of parts that an update is split into to save memory; the batch stays the same."""
    discriminator: DiscriminatorOptimizerOptions = DiscriminatorOptimizerOptions()
    """The optimizer of D; methods without D do not read it."""
