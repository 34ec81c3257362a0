"""Loading tensors into networks by key, and self-describing model files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from clan.core.errors import WeightsError
from clan.core.files import write_whole
from clan.data.classes import ClassSet
from clan.data.sizes import read_size
from clan.models.segmenter import ModelOptions, Segmenter
from clan.weights.layouts import COUNTER
from clan.weights.tensor_files import SHA256, digest, first_line, read_metadata, read_tensors

MODEL_FORMAT = 2
UNCHECKED_FORMAT = 1
"""Of former versions: without a checksum."""
LEFT = "left."
"""Before the keys of tensors that a converted file carries without its network reading them."""
WRAPPED = "module."
"""Before every key of a network saved inside torch's DataParallel."""


@dataclass(frozen=True)
class LoadReport:
    """The fate of every key when weights are loaded into a network."""

    file: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """Wanted by the network, absent from the file: kept as initialised."""
    left: tuple[str, ...]
    """In the file, unknown to the network."""
    shape_differs: tuple[str, ...]
    """In both, of different shapes: kept as initialised."""
    note: str = ""
    """Notes on these weights in this network."""

    def listing(self) -> str:
        """Return one line per key: what became of it."""
        fates = (("loaded", self.loaded), *self._exceptions())
        lines = [f"{fate:14} {key}" for fate, keys in fates for key in keys]
        return "\n".join([self.file, *lines, ""])

    def _exceptions(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return (
            ("missing", self.missing),
            ("left", self.left),
            ("shape differs", self.shape_differs),
        )

    def __str__(self) -> str:
        parts = [f"{self.file}: {len(self.loaded)} tensors loaded"]
        for title, keys in self._exceptions():
            if keys:
                parts.append(f"{len(keys)} {title} ({_summary(keys)})")
        if self.note:
            parts.append(self.note)
        return ", ".join(parts)


def load_matching(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> LoadReport:
    """Copy every tensor whose name and shape agree into ``module`` and report all the others.

    A dense layer's weight (out, in * h * w) fits a convolution's (out, in, h, w).
    """
    own = module.state_dict()
    found = {k: _as_convolution(tensors[k], own[k].shape) for k in own if k in tensors}
    differs = [k for k, tensor in found.items() if own[k].shape != tensor.shape]
    loaded = [k for k in found if k not in differs]
    missing = [k for k in own if k not in tensors and not k.endswith(COUNTER)]
    left = [k for k in tensors if k not in own]
    module.load_state_dict({k: found[k] for k in loaded}, strict=False)
    return LoadReport(file, tuple(loaded), tuple(missing), tuple(left), tuple(differs))


def _as_convolution(tensor: Tensor, shape: torch.Size) -> Tensor:
    dense = tensor.dim() == 2 and len(shape) == 4
    fits = dense and tensor.shape[0] == shape[0] and tensor.numel() == shape.numel()
    return tensor.view(shape) if fits else tensor


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the ``module.`` that DataParallel puts before every key."""
    if all(k.startswith(WRAPPED) for k in tensors):
        return {k.removeprefix(WRAPPED): t for k, t in tensors.items()}
    return dict(tensors)


def save_model(
    segmenter: Segmenter,
    path: Path,
    left: Mapping[str, Tensor] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write the network as one self-describing safetensors file, whole or not at all.

    Its metadata hold the architecture, the class set with colours, the normalisation, how it is
    scored and a checksum of all, so that `load_segmenter` needs nothing else.

    Args:
        segmenter: the network.
        path: the file to write.
        left: tensors of a converted file that the network does not read.
        origin: where a converted network comes from.

    Raises:
        WeightsError: the file cannot be written.
    """
    about = {
        "model": segmenter.options.model_dump(mode="json"),
        "classes": segmenter.classes.to_dict(),
        "evaluation_size": segmenter.evaluation_size,
        "evaluation_protocol": segmenter.evaluation_protocol,
        **({} if origin is None else {"origin": origin}),
    }
    write_tensors(segmenter.state_dict(), path, about, left or {})


def write_tensors(
    tensors: Mapping[str, Tensor], path: Path, about: Mapping[str, Any], left: Mapping[str, Tensor]
) -> None:
    """Write a model file from its parts; see `save_model`."""
    # one memory layout on disk, whatever layout the training used
    content = {
        k: v.detach().contiguous(memory_format=torch.contiguous_format).cpu()
        for k, v in (*tensors.items(), *((LEFT + k, v) for k, v in left.items()))
    }
    # as JSON gives it back
    said = json.loads(json.dumps({"format": MODEL_FORMAT, **about}))
    text = json.dumps({**said, SHA256: digest(content, said)})
    write_whole(path, save(content, metadata={"clan": text}), WeightsError)


def load_segmenter(path: str | Path) -> Segmenter:
    """Rebuild a network from a model file written by `save_model`, in evaluation mode.

    Args:
        path: ``model.safetensors``, or a run folder that holds one.

    Raises:
        WeightsError: no such file, not one of ours, or tensors that do not fit.
    """
    path = model_file(Path(path))
    if not path.is_file():
        raise WeightsError(f"no model file at {path}; a finished run has one")
    about = read_about(path)
    if about is None:
        raise WeightsError(
            f"{path} does not say which network it holds; expected a model.safetensors of a run, "
            "or one written by `clan convert`"
        )
    if "classes" not in about:
        raise WeightsError(
            f"{path} holds an encoder without classifiers: it cannot segment, but a training can "
            f"start from it (weights={path})"
        )
    # the checksum first: nothing is built from what is damaged
    tensors = {k: t for k, t in read_tensors(path).items() if not k.startswith(LEFT)}
    try:
        segmenter = Segmenter(
            ModelOptions(**about["model"]),
            ClassSet.from_dict(about["classes"]),
            read_size(about["evaluation_size"]),
            # files of former versions do not say
            str(about.get("evaluation_protocol", "own")),
        )
        _refuse_other_types(segmenter.state_dict(), tensors)
        segmenter.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path} does not fit the architecture that it names: {first_line(error)}"
        ) from error
    return segmenter.eval()


def _refuse_other_types(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors of another type than the network's: torch would convert them in silence."""
    for name in own.keys() & tensors.keys():
        if own[name].dtype != tensors[name].dtype:
            raise ValueError(f"{name} is {tensors[name].dtype}, expected {own[name].dtype}")


def model_file(path: Path) -> Path:
    """Return the model of a run folder, or the file itself."""
    return path / "model.safetensors" if path.is_dir() else path


def read_about(path: Path) -> dict[str, Any] | None:
    """Return what a model file says about itself; None if it is no safetensors file of ours."""
    if path.suffix != ".safetensors":
        return None
    about = read_metadata(path)
    if about is None:
        return None
    found = about.get("format")
    if found not in (UNCHECKED_FORMAT, MODEL_FORMAT):
        raise WeightsError(
            f"{path} has model format {found}; this version reads {UNCHECKED_FORMAT} and "
            f"{MODEL_FORMAT}"
        )
    if found == MODEL_FORMAT and SHA256 not in about:
        raise WeightsError(f"{path} is damaged: it names no checksum. Copy it again")
    return about


def _summary(keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:4])
    return shown if len(keys) <= 4 else f"{shown}, ..."
