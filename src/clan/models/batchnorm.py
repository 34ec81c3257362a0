"""Whose statistics batch normalisation uses, and whose it remembers.

Domain adaptation feeds two domains through one network, so every pass has to say which statistics
normalise it and whether they enter the running ones, which evaluation uses. Four named modes:

========  ===========================  ===============================================
mode      source pass                  target pass
========  ===========================  ===============================================
frozen    running (as initialised)     running (as initialised)
source    own batch, remembered        running (the source's, as evaluation will)
target    own batch                    own batch, remembered
both      own batch, remembered        own batch, remembered (the published codes)
========  ===========================  ===============================================

There is one set of running statistics, shared by the domains: what evaluation sees is what the
last column of remembered passes left there. `both` ends with a mixture of the two domains.
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
    """True: by the statistics of the pass's own batch; False: by the running ones."""
    remembered: bool
    """True: the batch's statistics enter the running ones with momentum 0.1."""


_RUNNING = Statistics(own_batch=False, remembered=False)
_BATCH = Statistics(own_batch=True, remembered=False)
_REMEMBERED = Statistics(own_batch=True, remembered=True)

POLICY: dict[Mode, dict[Domain, Statistics]] = {
    "frozen": {"source": _RUNNING, "target": _RUNNING},
    "source": {"source": _REMEMBERED, "target": _RUNNING},
    "target": {"source": _BATCH, "target": _REMEMBERED},
    "both": {"source": _REMEMBERED, "target": _REMEMBERED},
}


def set_statistics(module: nn.Module, statistics: Statistics) -> None:
    """Make every batch-norm layer below ``module`` normalise its next passes as told."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.training = statistics.own_batch
            # momentum 0 normalises by the batch and leaves the running statistics as they are
            layer.momentum = MOMENTUM if statistics.remembered else 0.0


def freeze_affine(module: nn.Module) -> None:
    """Exclude the scale and shift of every batch-norm layer from training (published codes)."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.weight.requires_grad_(False)
            layer.bias.requires_grad_(False)
