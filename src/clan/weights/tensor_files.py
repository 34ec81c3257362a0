"""Reading files of named tensors, without running code from them."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from clan.core.archives import damaged_member
from clan.core.errors import WeightsError
from clan.core.jsonfile import parse_json

_ABOUT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])

_SAFE_WAY = (
    "Loading a pickle can run any code. If you trust its makers, load it with their code in an "
    "environment that may be thrown away, and save its tensors alone: "
    "torch.save(model.state_dict(), 'weights.pth')"
)
_COPY_AGAIN = "Copy it again from where it came from"
SHA256 = "sha256"
"""Key of a model file's checksum in what the file says about itself."""
_NESTED = ("state_dict", "model")
"""Where checkpoints that hold more than a network keep its tensors."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of named tensors without running code from it.

    Raises:
        WeightsError: the file is missing, truncated, damaged, or holds more than tensors or values
            that are not finite.
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
            return _finite(_checked(path), path)
        if zipfile.is_zipfile(path) and (damage := damaged_member(path)) is not None:
            raise WeightsError(f"{path} is damaged: {damage}. {_COPY_AGAIN}")
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
    return _finite(dict(content), path)


def digest(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Return the SHA-256 of named tensors (values, shapes, types) and of what is said about them.

    Args:
        tensors: on the host.
        about: fit for JSON; its own ``sha256`` does not count.
    """
    said = {key: value for key, value in about.items() if key != SHA256}
    found = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Return what a safetensors file of ours says about itself, unchecked; None for another's.

    Raises:
        WeightsError: no safetensors file, or what it says is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("clan")
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} is not a safetensors file: {first_line(error)}") from error
    if text is None:
        return None
    return parse_json(text, _ABOUT, f"{path}: what it says about itself", WeightsError)


def unverified(path: Path) -> str:
    """Return what a user should know of a file without checksums; empty for one that has them."""
    if path.suffix == ".safetensors":
        has = SHA256 in (read_metadata(path) or {})
    else:
        has = zipfile.is_zipfile(path)
    return "" if has else "it has no checksum, so damage to its values would not be noticed"


def _checked(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; one of ours must have the sum that it names."""
    tensors, about = load_file(path), read_metadata(path)
    named = None if about is None else about.get(SHA256)
    if named is not None and about is not None and digest(tensors, about) != named:
        raise WeightsError(
            f"{path} is damaged: its tensors and what it says of them do not have the SHA-256 "
            f"that it names. {_COPY_AGAIN}"
        )
    return tensors


def _finite(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Refuse values that no training can start from and no prediction be made with."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise WeightsError(
                f"{path} holds NaN or infinite values in {name}: the training that wrote it "
                "diverged, or the file is damaged. Take weights of an earlier step."
            )
    return tensors


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
