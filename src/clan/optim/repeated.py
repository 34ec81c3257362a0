"""The published codes' optimizer, which lists encoder tensors up to four times.

Their parameter group goes through the modules of each of a ResNet's parts and takes, for every
module, all parameters below it. A convolution in a block is so listed by its layer, its block and
itself; one in a shortcut by the shortcut too. An optimizer that is given such a list warns, and
then takes one step per mention, so that a rate of 2.5e-4 acts like 7.5e-4 to 1e-3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def published_repeats(encoder: nn.Module) -> Counter[nn.Parameter]:
    """Return how often the published codes list each trainable parameter of an encoder."""
    return Counter(
        parameter
        for part in encoder.children()
        for module in part.modules()
        for parameter in module.parameters()
        if parameter.requires_grad
    )


class RepeatedSGD(torch.optim.SGD):
    """SGD that takes ``step_repeats`` steps in a row with each tensor of a group, of one gradient.

    `torch.optim.SGD` without ``foreach`` does the same with a list that holds each tensor several
    times. Every repeat computes the weight decay from the tensor's present value and updates the
    tensor's one momentum buffer. Only in the first update does each repeat make a new buffer; the
    last one stays. The order of the tensors does not matter.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state; checkpoints of older versions say ``listings``."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for group in self.param_groups:
            if "listings" in group:
                group["step_repeats"] = group.pop("listings")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Do one update; there is no closure to evaluate again."""
        if closure is not None:
            raise ValueError("RepeatedSGD takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        former = state.get("momentum_buffer")
        for _ in range(group["step_repeats"]):
            step = gradient.add(parameter, alpha=group["weight_decay"])
            if momentum:
                buffer = step.clone() if former is None else former.mul_(momentum).add_(step)
                state["momentum_buffer"] = buffer
                step = step.add(buffer, alpha=momentum) if group["nesterov"] else buffer
            parameter.add_(step, alpha=-group["lr"])
