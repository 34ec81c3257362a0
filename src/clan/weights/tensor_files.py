"""Reading files of named tensors, without running code from them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clan.core.errors import WeightsError

_SAFE_WAY = (
    "Loading a pickle can run any code. If you trust its makers, load it with their code in an "
    "environment that may be thrown away, and save its tensors alone: "
    "torch.save(model.state_dict(), 'weights.pth')"
)
_NESTED = ("state_dict", "model")
"""Where checkpoints that hold more than a network keep its tensors."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of named tensors without running code from it.

    Raises:
        WeightsError: the file is missing, truncated, or holds more than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"no weight file at {path}")
    run = path.absolute().parent.parent
    if path.parent.name == "checkpoints" and (run / "config.yaml").is_file():
        raise WeightsError(
            f"{path} is a checkpoint of a run, which holds more than a network. To start from that "
            f"network, name the run's folder, {run}, once it is finished; to go on with the run: "
            f"clan resume {run}"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # a pickle of another kind is refused below; torch asks for a report about it, too
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refusal(path, error)) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as a file of tensors ({first_line(error)}). Is it complete? "
            "Expected a .pth state dict or a .safetensors file."
        ) from error
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise WeightsError(f"{path} holds {_held(content)}, not named tensors")
    return dict(content)


def _held(content: Any) -> str:
    """Say what a file holds, and below which of its keys named tensors lie."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    inside = [
        str(key)
        for key, value in content.items()
        if isinstance(value, Mapping) and any(isinstance(t, Tensor) for t in value.values())
    ]
    keys = ", ".join(str(key) for key in list(content)[:8])
    more = ", ..." if len(content) > 8 else ""
    hint = f" (some lie below {' and '.join(inside)}: save them alone)" if inside else ""
    return f"a {type(content).__name__} of {keys}{more}{hint}"


def _refusal(path: Path, error: pickle.UnpicklingError) -> str:
    """Say which code a pickle wants to run; torch's own message tells how to let it."""
    wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
    if wanted is None and path.read_bytes()[:1] == b"\x80":
        return f"{path} is a pickle that only Python itself could load, and is refused. {_SAFE_WAY}"
    if wanted is None:
        return f"{path} is not a file of tensors; expected a .pth state dict or a .safetensors file"
    return f"{path} wants to run code when it is loaded ({wanted[1]}), and is refused. {_SAFE_WAY}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type's name if there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
