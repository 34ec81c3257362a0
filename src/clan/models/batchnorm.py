"""Which statistics normalise each domain's pass, and which enter the running statistics.

Two domains pass through one network with one set of running statistics, which evaluation uses. A
mode says for each domain's pass whether it is normalised by its own batch or by the running
statistics, and whether its batch updates the running statistics:

========  =============================  =============================
mode      source pass                    target pass
========  =============================  =============================
frozen    running                        running
source    own batch, updates running     running
target    own batch                      own batch, updates running
both      own batch, updates running     own batch, updates running
========  =============================  =============================

With `frozen` the running statistics stay as initialised. `both` is the published codes' mode; its
running statistics are a mixture of the two domains.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import nn

Mode = Literal["frozen", "source", "target", "both"]
Domain = Literal["source", "target"]

MOMENTUM = 0.1


class Statistics(NamedTuple):
    """How one forward pass is normalised."""

    own_batch: bool
    """True: by the statistics of its own batch; False: by the running ones."""
    updates_running: bool
    """Whether the batch's statistics enter the running ones, with momentum 0.1."""


_RUNNING = Statistics(own_batch=False, updates_running=False)
_BATCH = Statistics(own_batch=True, updates_running=False)
_UPDATED = Statistics(own_batch=True, updates_running=True)

POLICY: dict[Mode, dict[Domain, Statistics]] = {
    "frozen": {"source": _RUNNING, "target": _RUNNING},
    "source": {"source": _UPDATED, "target": _RUNNING},
    "target": {"source": _BATCH, "target": _UPDATED},
    "both": {"source": _UPDATED, "target": _UPDATED},
}


def set_statistics(module: nn.Module, statistics: Statistics) -> None:
    """Set how every batch-norm layer in ``module`` normalises its next passes."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.training = statistics.own_batch
            # momentum 0 normalises by the batch and leaves the running statistics as they are
            layer.momentum = MOMENTUM if statistics.updates_running else 0.0


def freeze_affine(module: nn.Module) -> None:
    """Freeze the scale and shift of every batch-norm layer (published codes)."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.weight.requires_grad_(False)
            layer.bias.requires_grad_(False)
