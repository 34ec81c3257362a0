"""Reads a published file into a network: finds its layout and reports on every key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from clan.core.errors import WeightsError, nearest
from clan.data.classes import CITYSCAPES, ClassSet, class_set
from clan.models.encoders.table import build_encoder
from clan.models.segmenter import ModelOptions, Segmenter
from clan.weights.convert_report import ConversionReport, Network
from clan.weights.layout import Layout
from clan.weights.layouts import (
    COUNTER,
    DECODERS,
    LAYOUTS,
    candidates,
    resemblances,
)
from clan.weights.mmseg import MMSeg, choose_part
from clan.weights.model_files import WRAPPED, load_matching, unwrapped
from clan.weights.resnets import RESNETS, find_encoder
from clan.weights.tensor_files import read_tensors

EVALUATION_SIZE = (512, 1024)
"""What the published codes resize Cityscapes to for scoring."""


def read_published(
    path: Path,
    out: Path,
    name: str,
    classes: str | None,
    partial: bool,
    part: str | None = None,
) -> tuple[Network, nn.Module, ConversionReport]:
    """Read a published file into a fresh network, a segmenter or an encoder alone.

    Arguments and errors are those of `clan.weights.convert.convert`.
    """
    stored = read_tensors(path)
    whole_file, others = choose_part(unwrapped(stored), part, str(path))
    layout = _choose(whole_file, name, path)
    tensors = layout.split(whole_file)
    module, options = _build(tensors, layout, classes, path)
    whole = isinstance(module, Segmenter)
    kept = "" if whole else "encoder."
    names = {k: (layout.to_ours(k) or k).removeprefix(kept) for k in tensors}
    found = load_matching(module, {names[k]: t for k, t in tensors.items()}, str(path))
    by_name = {ours: layout.source(key) for key, ours in names.items()}
    report = ConversionReport(
        file=str(path),
        out=str(out),
        layout=layout,
        kind=f"a whole model, {options.encoder}" if whole else f"an encoder, {options.encoder}",
        loaded=_once(by_name[k] for k in found.loaded),
        missing=_once(layout.source(layout.to_published(kept + k) or k) for k in found.missing),
        left=_once(by_name[k] for k in found.left),
        shape_differs=_once(by_name[k] for k in found.shape_differs),
        other_parts=others,
    )
    if (report.missing or report.shape_differs) and not partial:
        raise WeightsError(
            "the network would be partly untrained; `--partial` writes it all the same.\n"
            + "\n".join(report.lines())
        )
    origin = {
        "layout": layout.name,
        "file": path.name,
        "counters": any(k.endswith(COUNTER) for k in tensors),
        "wrapped": all(k.startswith(WRAPPED) for k in stored),
    }
    ours = {kept + k: t for k, t in module.state_dict().items()}
    return Network(ours, options, {k: whole_file[k] for k in report.left}, origin), module, report


def _once(keys: Iterable[str]) -> tuple[str, ...]:
    """Return keys in their order, each once: a tensor of the file may be two of ours."""
    return tuple(dict.fromkeys(keys))


def _choose(tensors: Mapping[str, Tensor], name: str, path: Path) -> Layout:
    fitting = candidates(tensors)
    if name != "auto":
        named = known_layout(name)
        fitting = [layout for layout in fitting if layout is named]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        untouched = tensors["layer6.conv2d_list.2.weight"].float().std().item()
        raise WeightsError(
            f"{path} has the keys and shapes of {' and '.join(f.name for f in fitting)} alike; the "
            "first runs two of each classifier's four branches, the second all. Say --layout. "
            f"(The weights of a branch that no training touched spread by 0.0100; branch 2 of "
            f"layer6 by {untouched:.4f}.)"
        )
    closest = ", ".join(
        f"{layout} ({share:.0%} of the keys in common{f', below {prefix}' if prefix else ''})"
        for layout, prefix, share in resemblances(tensors, _expected(tensors))[:3]
    )
    shown = ", ".join(list(tensors)[:4])
    wanted = "no layout that is known here" if name == "auto" else f"not the layout {name}"
    raise WeightsError(
        f"{path} has {wanted}; its {len(tensors)} keys begin {shown}. It "
        f"resembles most: {closest}. Known: {', '.join(LAYOUTS)}."
    )


def known_layout(name: str) -> Layout:
    """Return a layout by name; WeightsError with the nearest if there is none."""
    if name not in LAYOUTS:
        raise WeightsError(f"unknown layout {name!r}{nearest(name, LAYOUTS)}")
    return LAYOUTS[name]


def _build(
    tensors: Mapping[str, Tensor], layout: Layout, classes: str | None, path: Path
) -> tuple[nn.Module, ModelOptions]:
    """Make the network that a file's shapes ask for: a segmenter, or an encoder alone."""
    encoder = layout.encoder(tensors)
    if encoder is None:
        raise AssertionError(f"{layout.name} was chosen without its encoder")
    fixed = {k: v for k, v in layout.options.items() if not layout.encoder_only or layout.prefix}
    usual = layout.options.get("decoder") or DECODERS[encoder["encoder"]]
    fixed.setdefault("decoder", usual)
    if layout.heads:
        # no matter for the logits, but a training that goes on does as the published ones did
        fixed["freeze_affine"] = True
    try:
        options = ModelOptions(**encoder, **fixed)
    except ValidationError as error:
        raise WeightsError(f"{path} as {layout.name}: {error.errors()[0]['msg']}") from error
    outputs = tensors.get(layout.to_published(layout.first) or "")
    count = 0 if outputs is None else outputs.shape[0]
    chosen = None if classes is None else class_set(classes)
    if layout.encoder_only and (chosen is None or len(chosen) != count):
        return build_encoder(options), options
    return Segmenter(options, _classes(chosen, count, path), EVALUATION_SIZE), options


def _classes(chosen: ClassSet | None, count: int, path: Path) -> ClassSet:
    if chosen is None and count == len(CITYSCAPES):
        return CITYSCAPES
    if chosen is None or len(chosen) != count:
        given = "none was given" if chosen is None else f"{chosen.name} has {len(chosen)}"
        raise WeightsError(
            f"the classifiers in {path} have {count} classes; {given}. Name a class set of {count} "
            "classes, in the order of its training, with --classes"
        )
    return chosen


def _expected(tensors: Mapping[str, Tensor]) -> dict[str, set[str]]:
    """Return the keys of every layout, with the file's encoder where it is known."""
    found = find_encoder(tensors)
    expected = {}
    for layout in LAYOUTS.values():
        encoders = ["resnet101"]
        if layout.name == "torchvision":
            encoders = list(DECODERS)
        elif found and found["encoder"] in RESNETS.values():
            encoders = [found["encoder"]]
        if isinstance(layout, MMSeg):
            encoders = ["hf:mit_b0"]
        for encoder in encoders:
            count = layout.options.get("classifiers", 1)
            with torch.device("meta"):
                decoder = layout.options.get("decoder") or DECODERS[encoder]
                options = ModelOptions(encoder=encoder, decoder=decoder, classifiers=count)
                network = Segmenter(options, CITYSCAPES)
            keys = {_published(layout, k) for k in network.state_dict() if not k.endswith(COUNTER)}
            keys |= {f"{prefix}{p}" for prefix in layout.idle for p in ("weight", "bias")}
            title = f"torchvision {encoder}" if layout.name == "torchvision" else layout.name
            expected[title] = {k for k in keys if k is not None}
    return expected


def _published(layout: Layout, key: str) -> str | None:
    name = layout.to_published(key)
    return None if name is None else layout.source(name)
