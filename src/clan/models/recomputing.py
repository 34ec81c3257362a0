"""Less memory for more time: an encoder's parts keep their inputs alone and run again in backward.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from clan.core.errors import ConfigError
from clan.models.encoders.contract import Encoder


def recompute(encoder: Encoder, name: str) -> None:
    """Let an encoder's parts run again in backward, instead of keeping what they computed.

    Gradients, running statistics and random draws stay what they were, bit by bit.

    Args:
        encoder: E; passes without gradients run as before.
        name: of it, for the message.

    Raises:
        ConfigError: the encoder names no parts.
    """
    parts = encoder.parts()
    if not parts:
        raise ConfigError(
            f"training.checkpointing=encoder: encoder {name} names no parts that could run again; "
            "leave it out, or set optim.accumulate for less memory"
        )
    for part in parts:
        # only the call changes: names in the state, and so checkpoints, stay what they are
        part.forward = partial(_recomputed, part, type(part).forward)


def _recomputed(part: nn.Module, forward: Any, *arguments: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(part, *arguments, **options)
    layers = [(m, m.training) for m in part.modules() if isinstance(m, _BatchNorm)]
    return checkpoint(
        forward,
        part,
        *arguments,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _normalising(layers)),
        **options,
    )


@contextmanager
def _normalising(layers: list[tuple[_BatchNorm, bool]]) -> Iterator[None]:
    """Let batch norm normalise as it did in the first pass, and remember nothing a second time.

    Before backward the layers may have been told to normalise in another way, for the other domain.
    """
    now = [(layer.training, layer.momentum) for layer, _ in layers]
    counted = [layer.num_batches_tracked.clone() for layer, _ in layers]  # type: ignore[union-attr]
    for layer, training in layers:
        # momentum 0 leaves the running statistics as they are, bit by bit
        layer.training, layer.momentum = training, 0.0
    try:
        yield
    finally:
        for (layer, _), (training, momentum), count in zip(layers, now, counted, strict=True):
            layer.training, layer.momentum = training, momentum
            layer.num_batches_tracked = count
