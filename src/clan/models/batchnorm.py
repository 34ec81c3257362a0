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

A batch is the images of a pass on all processes: `share_statistics`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
        if isinstance(layer, _BatchNorm):
            layer.training = statistics.own_batch
            # momentum 0 normalises by the batch and leaves the running statistics as they are
            layer.momentum = MOMENTUM if statistics.updates_running else 0.0


def freeze_affine(module: nn.Module) -> None:
    """Freeze the scale and shift of every batch-norm layer (published codes)."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.weight.requires_grad_(False)
            layer.bias.requires_grad_(False)


def share_statistics(module: nn.Module, device: torch.device) -> None:
    """Make the batch-norm layers below ``module`` normalise by the images of all processes.

    On a GPU they become torch's SyncBatchNorm, which a CPU does not have: there, `SharedBatchNorm`.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return
    for parent in list(module.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, _BatchNorm):
                setattr(parent, name, SharedBatchNorm.of(layer))


class SharedBatchNorm(_BatchNorm):
    """Batch norm whose batch is spread over processes; all of them must call it alike.

    Statistics are those of one process that has all images: sums over all, divided by their count.
    """

    @classmethod
    def of(cls, layer: _BatchNorm) -> SharedBatchNorm:
        """Return a layer with the very same parameters and buffers."""
        shared = cls(layer.num_features, layer.eps, layer.momentum, affine=False)
        shared.affine = layer.affine
        shared.weight, shared.bias = layer.weight, layer.bias
        shared.running_mean, shared.running_var = layer.running_mean, layer.running_var
        shared.num_batches_tracked = layer.num_batches_tracked
        shared.training = layer.training
        return shared

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected (N, C, ...), got {x.dim()} dimensions")

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, ...) over all but C."""
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        over = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        wide = x if x.dtype == torch.float64 else x.float()
        count = wide.new_full((1,), x.numel() / x.shape[1])
        total = _sum_over_processes(torch.cat([wide.sum(over), count]))
        mean, n = total[:-1] / total[-1], total[-1].detach()
        centred = wide - mean.view(shape)
        var = _sum_over_processes(centred.square().sum(over)) / n
        with torch.no_grad():
            self._remember(mean, var * n / (n - 1).clamp(min=1))
        y = centred * (var + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    def _remember(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, cast(float, self.momentum))
        self.running_var.lerp_(var, cast(float, self.momentum))


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _reduced(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _reduced(gradient)


def _reduced(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def _sum_over_processes(x: Tensor) -> Tensor:
    return cast(Tensor, _Sum.apply(x))  # type: ignore[no-untyped-call]
