"""Restoring a method and its optimizers from a checkpoint; errors name what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from clan.core.errors import RunError
from clan.methods import Method
from clan.runs.folder import RunFolder


def restore(method: Method, content: Mapping[str, Any], run: RunFolder, steps: int) -> None:
    """Load a checkpoint's networks and optimizers.

    Args:
        method: a method of the same configuration, after `setup`.
        content: the checkpoint, as `clan.runs.checkpoint.load_checkpoint` returns it.
        run: the run, for errors.
        steps: number of steps of the whole training.

    Raises:
        RunError: the checkpoint is of another training.
    """
    try:
        if content["step"] > steps:
            raise ValueError(f"it is of step {content['step']}, and the training has {steps}")
        method.load_state_dict(content["method"])
        for name, optimizer in method.optimizers.items():
            _load(name, optimizer, content["optimizers"][name])
    # errors of torch if a state does not fit its optimizer
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise RunError(
            f"the checkpoints of {run.path} do not fit its configuration ({error}); was "
            "config.yaml changed?"
        ) from error


def _load(name: str, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    groups = optimizer.state_dict()["param_groups"]
    for own, found in zip(groups, state["param_groups"], strict=True):
        # other options, such as `fused`, may differ between versions and devices
        numbers = {key for key, value in own.items() if _is_number(value)}
        if other := [key for key in found if key in numbers and not _is_number(found[key])]:
            raise ValueError(f"optimizer {name}: {', '.join(other)} should be a number")
    optimizer.load_state_dict(dict(state))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in optimizer.state.get(parameter, {}).items():
                _check(f"optimizer {name}: {key}", value, parameter)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(what: str, value: Any, parameter: Tensor) -> None:
    """Check that a value of an optimizer's state is a number or has its parameter's shape."""
    if isinstance(value, Tensor):
        if value.dim() and value.shape != parameter.shape:
            raise ValueError(f"{what} is {tuple(value.shape)}, expected {tuple(parameter.shape)}")
        if not value.isfinite().all():
            raise ValueError(f"{what} is not finite")
    elif value is not None and not isinstance(value, int | float):
        raise TypeError(f"{what} is a {type(value).__name__}")
