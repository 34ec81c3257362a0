"""Gradients that are no longer finite are caught before the update that they would spoil."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from clan.core.errors import RunError


class NotFinite(RunError):
    """An update that was not done: a gradient is NaN or infinite; the weights are as before."""


def refuse_not_finite(players: Mapping[str, Optimizer], terms: Mapping[str, Tensor]) -> None:
    """Refuse an update by gradients that are not finite.

    It waits for the device once. Gradients are shared among processes by then, so all refuse.

    Args:
        players: the networks that are about to step, by name.
        terms: scalars noted so far in this update; those that are not finite are named.

    Raises:
        NotFinite: says whose gradient and which terms.
    """
    names = list(players)
    largest = [_largest(optimizer) for optimizer in players.values()]
    if all(map(math.isfinite, torch.stack(largest).tolist())):
        return
    broken = [n for n, x in zip(names, largest, strict=True) if not bool(x.isfinite())]
    found = [f"{n} {float(x):g}" for n, x in terms.items() if not bool(x.isfinite().all())]
    because = f" (of its terms, {', '.join(found)})" if found else " (all terms here are finite)"
    raise NotFinite(f"the gradient of the {' and the '.join(broken)} is NaN or infinite{because}")


def _largest(optimizer: Optimizer) -> Tensor:
    """Return the largest absolute value of a network's gradients; NaN if one is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros((), device=parameters[0].device)
    norms = torch._foreach_norm(gradients, math.inf)
    return torch.stack([norm.float() for norm in norms]).max()
