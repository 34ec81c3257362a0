"""Optimizers, and learning-rate schedules as pure functions of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from clan.options import Options


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


class SegmenterOptimizerOptions(OptimizerOptions):
    """The optimizer of G, whose classifiers learn faster than its pretrained encoder."""

    weight_decay: float = Field(5e-4, ge=0)
    """L2 penalty (sgd, adam) or decoupled decay (adamw)."""
    head_multiplier: float = Field(10.0, gt=0)
    """Learning rate of the classifiers relative to the encoder's (DeepLab: 10)."""


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
    warmup = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    if options.schedule == "constant":
        return warmup
    return float(warmup * max(0.0, 1 - step / steps) ** options.power)


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group to its base rate times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def segmenter_groups(
    parts: Mapping[str, Sequence[nn.Parameter]], options: SegmenterOptimizerOptions
) -> list[dict[str, Any]]:
    """Group G's parameters, each exactly once: the encoder, and the faster classifiers.

    The published codes of this field list encoder tensors up to four times, which multiplies
    their steps; `build_optimizer` refuses that.
    """
    rates = {"encoder": options.lr, "classifiers": options.lr * options.head_multiplier}
    return [
        {"name": name, "params": list(parameters), "lr": rates[name], "base_lr": rates[name]}
        for name, parameters in parts.items()
        if parameters
    ]


def build_optimizer(groups: list[dict[str, Any]], options: OptimizerOptions) -> Optimizer:
    """Make the optimizer named by ``options`` over ``groups`` (which carry lr and base_lr)."""
    listed = [id(p) for group in groups for p in group["params"]]
    if len(listed) != len(set(listed)):
        raise ValueError(f"{len(listed) - len(set(listed))} parameters are listed more than once")
    if options.name == "sgd":
        return torch.optim.SGD(
            groups,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
        )
    rule = torch.optim.Adam if options.name == "adam" else torch.optim.AdamW
    return rule(groups, betas=options.betas, weight_decay=options.weight_decay)
