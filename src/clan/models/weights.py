"""Weights in and out: published encoder weights, and model files that carry their meaning."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from clan.data.labels import ClassSet
from clan.errors import WeightsError
from clan.models.convert_layouts import COUNTER, LAYOUTS, candidates
from clan.models.segmenter import ModelOptions, Segmenter
from clan.models.tensor_files import first_line, read_tensors

# torchvision's published ImageNet weights (IMAGENET1K_V1); the eight digits before the suffix
# begin the file's SHA-256, which is checked after a download
IMAGENET_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "mobilenet_v2": "mobilenet_v2-b0353104.pth",
    "vgg16": "vgg16-397923af.pth",
}
IMAGENET_URL = "https://download.pytorch.org/models/"

MODEL_FORMAT = 1
LEFT = "left."
"""Before the keys of tensors that a converted file carries without its network reading them."""
WRAPPED = "module."
"""Before every key of a network saved inside torch's DataParallel."""


@dataclass(frozen=True)
class LoadReport:
    """What became of every key when weights met a network."""

    file: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """Wanted by the network, absent from the file: kept as initialised."""
    left: tuple[str, ...]
    """In the file, unknown to the network."""
    shape_differs: tuple[str, ...]
    """In both, of different shapes: kept as initialised."""
    note: str = ""
    """What else the user should know about these weights in this network."""

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


def load_encoder_weights(segmenter: Segmenter, source: str | Path) -> LoadReport:
    """Start the encoder from published weights, or from a model of ours.

    Args:
        segmenter: the network; only its encoder changes.
        source: a file (``.pth`` of tensors, or ``.safetensors``) in any layout that
            `clan.models.convert` reads, or ``imagenet`` for torchvision's published weights of
            this encoder, downloaded once and checked.

    Raises:
        WeightsError: no such file, not a file of tensors, trained on another ``input`` than the
            network's, or less than half of the encoder's tensors found in it.
    """
    path = _download(segmenter.options.encoder) if str(source) == "imagenet" else Path(source)
    tensors, trained_with = _encoder_tensors(path)
    options = segmenter.options
    if trained_with.get("input", options.input) != options.input:
        raise WeightsError(
            f"{path} was trained on {trained_with['input']} input, the network reads "
            f"{options.input} input: set model.input={trained_with['input']}"
        )
    report = load_matching(segmenter.encoder, tensors, str(path))
    wanted = len(report.loaded) + len(report.missing) + len(report.shape_differs)
    if len(report.loaded) < wanted / 2:
        raise WeightsError(
            f"{path} does not fit the encoder {options.encoder} of width {options.width}: only "
            f"{len(report.loaded)} of its {wanted} tensors are in the file. {report}. Give weights "
            "of this encoder in torchvision's key layout, or one that `clan convert` reads."
        )
    return replace(report, note=_other_strides(trained_with, options))


def _encoder_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an encoder's tensors by our names, and the options they were trained with, if told."""
    tensors = unwrapped(read_tensors(path))
    about = read_about(path)
    if about is not None:
        stripped = {
            k.removeprefix("encoder."): t
            for k, t in tensors.items()
            if not k.startswith((LEFT, "classifiers."))
        }
        return stripped, about["model"]
    fitting = candidates(tensors)
    layout = fitting[0] if fitting else LAYOUTS["torchvision"]
    named = {(layout.to_ours(k) or k).removeprefix("encoder."): t for k, t in tensors.items()}
    return named, dict(layout.options) if fitting else {}


def _other_strides(trained_with: Mapping[str, Any], options: ModelOptions) -> str:
    if not options.encoder.startswith("resnet"):
        return ""
    differing = [
        f"{name}={trained_with[name]} (the network has {getattr(options, name)})"
        for name in ("stride_in", "dilate_first", "ceil_mode")
        if trained_with.get(name, getattr(options, name)) != getattr(options, name)
    ]
    return f"note: trained with {', '.join(differing)}" if differing else ""


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
    """Write the network as one safetensors file that says what it is; whole or not at all.

    Its metadata hold the architecture, the class set with colours, the normalisation and the
    evaluation size, so that `load_segmenter` needs nothing else.

    Args:
        segmenter: the network.
        path: the file to write.
        left: tensors of a converted file that the network does not read.
        origin: where a converted network comes from.
    """
    about = {
        "model": segmenter.options.model_dump(mode="json"),
        "classes": segmenter.classes.to_dict(),
        "evaluation_size": segmenter.evaluation_size,
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
    temporary = path.with_name(path.name + ".part")
    try:
        text = json.dumps({"format": MODEL_FORMAT, **about})
        save_file(content, temporary, metadata={"clan": text})
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
            # safetensors writes for the owner alone; a model is read by whoever reads the run
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_segmenter(path: str | Path) -> Segmenter:
    """Rebuild a network from a model file written by `save_model`, in evaluation mode.

    Args:
        path: ``model.safetensors``, or a run folder that holds one.

    Raises:
        WeightsError: no such file, not one of ours, or tensors that do not fit.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
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
    try:
        size = about["evaluation_size"]
        segmenter = Segmenter(
            ModelOptions(**about["model"]),
            ClassSet.from_dict(about["classes"]),
            None if size is None else (int(size[0]), int(size[1])),
        )
        tensors = read_tensors(path)
        segmenter.load_state_dict({k: t for k, t in tensors.items() if not k.startswith(LEFT)})
    except (KeyError, TypeError, ValidationError, RuntimeError) as error:
        raise WeightsError(
            f"{path} does not fit the architecture that it names: {first_line(error)}"
        ) from error
    return segmenter.eval()


def read_about(path: Path) -> dict[str, Any] | None:
    """Return what a model file says about itself; None if it is no safetensors file of ours."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("clan")
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {first_line(error)}") from error
    if text is None:
        return None
    about: dict[str, Any] = json.loads(text)
    if about.get("format") != MODEL_FORMAT:
        raise WeightsError(
            f"{path} has model format {about.get('format')}; this version reads {MODEL_FORMAT}"
        )
    return about


def _download(encoder: str) -> Path:
    name = IMAGENET_FILES[encoder]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not (folder / name).is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                IMAGENET_URL + name, str(folder / name), name[-12:-4], progress=False
            )
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"could not download {IMAGENET_URL + name} ({first_line(error)}). Offline? Fetch "
                f"it elsewhere and put it at {folder / name}, or name a file with model weights."
            ) from error
    return folder / name


def _umask() -> int:
    """Return the process's file mode mask; there is no way to read it but to set it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _summary(keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:4])
    return shown if len(keys) <= 4 else f"{shown}, ..."
