"""Norms of the gradients that single terms of a loss add."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

TOGETHER, LARGE = 64, 2**17
"""Gradients that are measured together at most, and numbers of a gradient that does not wait."""


class GradientNorm:
    """Measures the gradient that the backwards within a ``with`` block add to a network.

    Each parameter's gradient is measured before it is added to those of earlier backwards, on this
    process alone, without a copy and without waiting for the device. Several gradients are measured
    in one launch on a GPU, then released.
    """

    def __init__(self, network: nn.Module) -> None:
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._norms: list[Tensor] = []
        self._waiting: list[Tensor] = []

    def __enter__(self) -> GradientNorm:
        self._handles = [
            p.register_hook(self._measure)  # type: ignore[no-untyped-call]
            for p in self._parameters
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._take()

    @property
    def value(self) -> Tensor:
        """Return the L2 norm over all parameters, a float32 scalar; 0 if none got a gradient."""
        if not self._norms:
            return torch.zeros((), device=self._parameters[0].device)
        return cast(Tensor, torch.linalg.vector_norm(torch.stack(self._norms)))

    def _measure(self, gradient: Tensor) -> None:
        self._waiting.append(gradient.detach().float())
        # a large one is not kept, so that memory does not grow
        if len(self._waiting) == TOGETHER or gradient.numel() >= LARGE:
            self._take()

    def _take(self) -> None:
        """Measure the gradients that wait."""
        if self._waiting:
            self._norms += torch._foreach_norm(self._waiting)
            self._waiting = []


def share(part: Tensor, rest: Tensor) -> Tensor:
    """Return part / (part + rest), from 0 to 1; 0 where both are 0."""
    return part / (part + rest).clamp(min=torch.finfo(part.dtype).tiny)
