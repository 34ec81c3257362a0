"""The published codes' optimizer, which lists encoder tensors up to four times.

Their parameter group goes through the modules of each of a ResNet's parts and takes, for every
module, all parameters below it. A convolution in a block is so listed by its layer, its block and
itself; one in a shortcut by the shortcut too. An optimizer that is given such a list warns, and
then takes one step per mention, so that a rate of 2.5e-4 acts like 7.5e-4 to 1e-3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

Tensors = tuple[Tensor, ...] | list[Tensor]
"""What torch's functions of many tensors take and return."""


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
            learning = [p for p in group["params"] if p.grad is not None]
            # those that have a buffer and those that are new to the optimizer
            for known in (True, False):
                chosen = [p for p in learning if ("momentum_buffer" in self.state[p]) == known]
                for parameters in _portions(chosen):
                    self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update some tensors together, all of which have a momentum buffer, or none."""
        gradients = [cast(Tensor, p.grad) for p in parameters]
        states, momentum = [self.state[p] for p in parameters], group["momentum"]
        former = [state["momentum_buffer"] for state in states if "momentum_buffer" in state]
        for _ in range(group["step_repeats"]):
            decay = group["weight_decay"]
            steps: Tensors = torch._foreach_add(gradients, parameters, alpha=decay)
            if momentum:
                if former:
                    torch._foreach_mul_(former, momentum)
                    torch._foreach_add_(former, steps)
                buffers = former or [step.clone() for step in steps]
                for state, buffer in zip(states, buffers, strict=True):
                    state["momentum_buffer"] = buffer
                nesterov = group["nesterov"]
                steps = torch._foreach_add(steps, buffers, alpha=momentum) if nesterov else buffers
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])


def _portions(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """Divide tensors into those that are updated together.

    On a GPU all of them, in a dozen launches instead of one per tensor; on a CPU each by itself,
    which then stays in the cache and needs no copy of all gradients.
    """
    if not parameters:
        return
    if parameters[0].is_cuda:
        yield parameters
    else:
        yield from ([parameter] for parameter in parameters)
