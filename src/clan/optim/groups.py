"""Parameters in groups with rates of their own, and the optimizer over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from clan.optim.options import OptimizerOptions, SegmenterOptimizerOptions
from clan.optim.repeated import RepeatedSGD, published_repeats

if TYPE_CHECKING:
    from clan.models.segmenter import Segmenter


def segmenter_groups(
    segmenter: Segmenter, options: SegmenterOptimizerOptions
) -> list[dict[str, Any]]:
    """Group G's parameters, each exactly once: the encoder, and the faster classifiers.

    The published codes of this field list encoder tensors up to four times, which multiplies
    their steps. With ``step_repeats: published`` the encoder falls into a group per number of
    repeats, which `RepeatedSGD` reads; a tensor in two groups is an error in any case.
    """
    parts = segmenter.groups()
    encoder: dict[int, list[nn.Parameter]] = {1: parts["encoder"]}
    if options.step_repeats == "published":
        times = published_repeats(segmenter.encoder)
        encoder = {n: [p for p in parts["encoder"] if times[p] == n] for n in (1, 2, 3, 4)}
    groups = [
        {"name": "encoder", "params": parameters, "step_repeats": n, "lr": options.lr}
        for n, parameters in encoder.items()
    ]
    rate = options.lr * options.head_multiplier
    groups.append(
        {"name": "classifiers", "params": parts["classifiers"], "step_repeats": 1, "lr": rate}
    )
    return [{**group, "base_lr": group["lr"]} for group in groups if group["params"]]


def build_optimizer(groups: list[dict[str, Any]], options: OptimizerOptions) -> Optimizer:
    """Make the optimizer named by ``options`` over ``groups`` (which carry lr and base_lr)."""
    listed = [id(p) for group in groups for p in group["params"]]
    if len(listed) != len(set(listed)):
        raise ValueError(f"{len(listed) - len(set(listed))} parameters are listed more than once")
    if options.name == "sgd":
        repeated = any(group.get("step_repeats", 1) > 1 for group in groups)
        momentum, nesterov, decay = options.momentum, options.nesterov, options.weight_decay
        if repeated:
            return RepeatedSGD(groups, momentum=momentum, nesterov=nesterov, weight_decay=decay)
        # fused: one pass over each tensor instead of three or four; the same numbers, bit by bit
        return torch.optim.SGD(
            groups, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True
        )
    rule = torch.optim.Adam if options.name == "adam" else torch.optim.AdamW
    return rule(groups, betas=options.betas, weight_decay=options.weight_decay)
