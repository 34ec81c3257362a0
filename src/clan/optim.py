"""Optimizers, and learning-rate schedules as pure functions of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.optim import Optimizer

from clan.optim_repeated import RepeatedSGD, published_listings
from clan.options import Options

if TYPE_CHECKING:
    from clan.models.segmenter import Segmenter


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
    listings: Literal["once", "published"] = "once"
    """How often a step takes each encoder tensor. published: as often as the published codes list
    it, which are ResNet's conv1 once, the convolutions of blocks three times, of shortcuts four."""

    @model_validator(mode="after")
    def _listings_read(self) -> SegmenterOptimizerOptions:
        if self.listings == "published" and self.name != "sgd":
            raise ValueError(f"listings=published belongs to sgd, not to {self.name}")
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


def schedule_factor(options: OptimizerOptions, step: int, steps: int) -> float:
    """Return the factor on the base learning rate at ``step`` (from 0) of ``steps``."""
    if options.warmup == "jump" and step < options.warmup_steps:
        return step / options.warmup_steps
    smooth = options.warmup == "smooth" and options.warmup_steps > 0
    warmup = min(1.0, (step + 1) / options.warmup_steps) if smooth else 1.0
    if options.schedule == "constant":
        return warmup
    return float(warmup * max(0.0, 1 - step / steps) ** options.power)


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group to its base rate times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def segmenter_groups(
    segmenter: Segmenter, options: SegmenterOptimizerOptions
) -> list[dict[str, Any]]:
    """Group G's parameters, each exactly once: the encoder, and the faster classifiers.

    The published codes of this field list encoder tensors up to four times, which multiplies
    their steps. With ``listings: published`` the encoder falls into a group per number of
    listings, which `RepeatedSGD` reads; a tensor in two groups is an error in any case.
    """
    parts = segmenter.groups()
    encoder: dict[int, list[nn.Parameter]] = {1: parts["encoder"]}
    if options.listings == "published":
        times = published_listings(segmenter.encoder)
        encoder = {n: [p for p in parts["encoder"] if times[p] == n] for n in (1, 2, 3, 4)}
    groups = [
        {"name": "encoder", "params": parameters, "listings": n, "lr": options.lr}
        for n, parameters in encoder.items()
    ]
    rate = options.lr * options.head_multiplier
    groups.append(
        {"name": "classifiers", "params": parts["classifiers"], "listings": 1, "lr": rate}
    )
    return [{**group, "base_lr": group["lr"]} for group in groups if group["params"]]


def build_optimizer(groups: list[dict[str, Any]], options: OptimizerOptions) -> Optimizer:
    """Make the optimizer named by ``options`` over ``groups`` (which carry lr and base_lr)."""
    listed = [id(p) for group in groups for p in group["params"]]
    if len(listed) != len(set(listed)):
        raise ValueError(f"{len(listed) - len(set(listed))} parameters are listed more than once")
    if options.name == "sgd":
        repeated = any(group.get("listings", 1) > 1 for group in groups)
        return (RepeatedSGD if repeated else torch.optim.SGD)(
            groups,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
        )
    rule = torch.optim.Adam if options.name == "adam" else torch.optim.AdamW
    return rule(groups, betas=options.betas, weight_decay=options.weight_decay)
