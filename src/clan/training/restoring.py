"""A method and its optimizers back to the state of a checkpoint, or a word about what differs."""

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
        method: of the same configuration, set up.
        content: of a checkpoint, as `clan.runs.checkpoint.load_checkpoint` returns it.
        run: named in errors.
        steps: of the whole training.

    Raises:
        RunError: it is of another training.
    """
    try:
        if content["step"] > steps:
            raise ValueError(f"it is of step {content['step']}, and the training has {steps}")
        method.load_state_dict(content["method"])
        for name, optimizer in method.optimizers.items():
            _load(name, optimizer, content["optimizers"][name])
    # what torch raises for states that are not those of its optimizer
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise RunError(
            f"the checkpoints of {run.path} do not fit its configuration ({error}); was "
            "config.yaml changed?"
        ) from error


def _load(name: str, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    groups = optimizer.state_dict()["param_groups"]
    for own, found in zip(groups, state["param_groups"], strict=True):
        other = [key for key in own if not _alike(own[key], found.get(key))]
        if own.keys() != found.keys() or other:
            raise ValueError(f"optimizer {name}: options {', '.join(other or found)} are others")
    optimizer.load_state_dict(dict(state))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in optimizer.state.get(parameter, {}).items():
                _check(f"optimizer {name}: {key}", value, parameter)


def _alike(own: Any, found: Any) -> bool:
    number = isinstance(own, int | float) and not isinstance(own, bool)
    return isinstance(found, int | float) if number else type(own) is type(found)


def _check(what: str, value: Any, parameter: Tensor) -> None:
    """See that a value of an optimizer's state is a number, or of its parameter's shape."""
    if isinstance(value, Tensor):
        if value.dim() and value.shape != parameter.shape:
            raise ValueError(f"{what} is {tuple(value.shape)}, expected {tuple(parameter.shape)}")
        if not value.isfinite().all():
            raise ValueError(f"{what} is not finite")
    elif value is not None and not isinstance(value, int | float):
        raise TypeError(f"{what} is a {type(value).__name__}")
