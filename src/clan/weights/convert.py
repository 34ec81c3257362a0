"""Conversion of published weights: every key is reported, and converting back is lossless."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clan.core.errors import WeightsError
from clan.models.segmenter import ModelOptions, Segmenter
from clan.weights.convert_read import known_layout, read_published
from clan.weights.convert_report import ConversionReport, Network
from clan.weights.convert_write import write_published
from clan.weights.layouts import LAYOUTS
from clan.weights.model_files import LEFT, read_about, save_model, write_tensors
from clan.weights.tensor_files import read_tensors


def convert(
    path: str | Path,
    out: str | Path,
    *,
    layout: str = "auto",
    to: str | None = None,
    classes: str | None = None,
    partial: bool = False,
    part: str | None = None,
) -> ConversionReport:
    """Convert published weights to a model file, or a model file to a published layout.

    Checkpoints of published adaptation codes become whole models that `clan.load` takes. ImageNet
    weights, and DeepLab-v2's COCO initialisation where ``classes`` are not its own, become an
    encoder that a training starts from (``weights=FILE``). No code from the file is run.

    Args:
        path: a ``.pth`` state dict or ``.safetensors``; with ``to`` also a model file of ours.
        out: the file to write; with ``to``, ``.pth`` or ``.safetensors``.
        layout: a name in `LAYOUTS`, or ``auto`` to recognise it.
        to: write this published layout instead of a model file.
        classes: class set (built-in name or file) of the classifiers; Cityscapes if they have 19.
        part: of a checkpoint of DAFormer or MIC, which network: ``student`` (what None means), its
            teacher ``ema``, or ``imagenet``, the frozen one of the feature distance.
        partial: write a network although tensors are missing or have other shapes.

    Returns:
        A report on each tensor; ``report.lines()`` is its text.

    Raises:
        WeightsError: a file that is missing, cannot be read, has an unknown or ambiguous layout,
            lacks tensors, or holds a network that ``to`` cannot express.

    Example:
        clan.convert("GTA5_100000.pth", "model.safetensors")
        labels = clan.load("model.safetensors").predict("photo.jpg")
    """
    path, out = Path(path), Path(out)
    if not out.parent.is_dir():
        raise WeightsError(f"there is no folder {out.parent} to write {out.name} into; make it")
    about = read_about(path) if path.is_file() else None
    if to is not None:
        known_layout(to)
        network = (
            _ours(path, about)
            if about
            else read_published(path, out, layout, classes, partial, part)[0]
        )
        return write_published(network, path, out, LAYOUTS[to])
    if about is not None:
        raise WeightsError(
            f"{path} is a model of this package already; say which layout to convert it to "
            f"(--to {', '.join(LAYOUTS)})"
        )
    if out.suffix != ".safetensors":
        raise WeightsError(f"a model file ends in .safetensors; found {out} (or give --to LAYOUT)")
    network, module, report = read_published(path, out, layout, classes, partial, part)
    if isinstance(module, Segmenter):
        save_model(module, out, network.left, network.origin)
    else:
        about = {"model": network.options.model_dump(mode="json"), "origin": network.origin}
        write_tensors(module.state_dict(), out, about, network.left)
    return report


def _ours(path: Path, about: Mapping[str, Any]) -> Network:
    """Read a model file for the way back."""
    stored = read_tensors(path)
    left = {k.removeprefix(LEFT): t for k, t in stored.items() if k.startswith(LEFT)}
    kept = "" if "classes" in about else "encoder."
    tensors = {kept + k: t for k, t in stored.items() if not k.startswith(LEFT)}
    return Network(tensors, ModelOptions(**about["model"]), left, about.get("origin", {}))
