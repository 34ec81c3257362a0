"""Parameter groups with their learning rates, and the optimizer over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from clan.optim.options import OptimizerOptions, SegmenterOptimizerOptions
from clan.optim.repeated import RepeatedSGD, published_repeats

if TYPE_CHECKING:
    from clan.models.encoders.contract import Encoder
    from clan.models.segmenter import Segmenter


NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)
"""Modules whose scale and shift `SegmenterOptimizerOptions.norm_decay` is about."""
POSITIONS = "position_embedding"
"""What the names of position embeddings hold."""


def segmenter_groups(
    segmenter: Segmenter, options: SegmenterOptimizerOptions
) -> list[dict[str, Any]]:
    """Group G's parameters, each exactly once: the encoder, and the faster classifiers.

    The published codes of this field list encoder tensors up to four times, which multiplies
    their steps. With ``step_repeats: published`` the encoder falls into a group per number of
    repeats, which `RepeatedSGD` reads; a tensor in two groups is an error in any case. With
    ``layer_decay`` below 1 it falls into a group per layer, the deepest first.
    """
    parts = segmenter.groups()
    groups = [
        {"name": "encoder", "params": parameters, **settings}
        for parameters, settings in _encoder_groups(segmenter.encoder, parts["encoder"], options)
    ]
    rate = options.lr * options.head_multiplier
    groups.append(
        {"name": "classifiers", "params": parts["classifiers"], "step_repeats": 1, "lr": rate}
    )
    return [{**group, "base_lr": group["lr"]} for group in groups if group["params"]]


def _encoder_groups(
    encoder: Encoder, learning: list[nn.Parameter], options: SegmenterOptimizerOptions
) -> list[tuple[list[nn.Parameter], dict[str, Any]]]:
    """Return the trainable parameters, grouped by the optimizer's settings for them."""
    repeats = published_repeats(encoder) if options.step_repeats == "published" else {}
    layers = encoder.parameters_by_layer()
    depth = {p: len(layers) - 1 - index for index, layer in enumerate(layers) for p in layer}
    free = set() if options.norm_decay else undecayed(encoder)
    groups: dict[tuple[int, int, bool], list[nn.Parameter]] = {}
    for parameter in learning:
        above = 0 if options.layer_decay == 1 else depth[parameter]
        key = (above, repeats.get(parameter, 1), parameter in free)
        groups.setdefault(key, []).append(parameter)
    return [
        (
            groups[above, times, without],
            {
                "step_repeats": times,
                "lr": options.lr * options.layer_decay**above,
                **({"weight_decay": 0.0} if without else {}),
            },
        )
        for above, times, without in sorted(groups)
    ]


def undecayed(encoder: nn.Module) -> set[nn.Parameter]:
    """Return an encoder's scales and shifts of norms, and its position embeddings."""
    norms = (module for module in encoder.modules() if isinstance(module, NORMS))
    found = {parameter for norm in norms for parameter in norm.parameters()}
    return found | {p for name, p in encoder.named_parameters() if POSITIONS in name}


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
