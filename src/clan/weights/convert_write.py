"""From a network to a published layout's state dict."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from clan.core.errors import WeightsError
from clan.core.files import make_folder, write_whole, writing
from clan.models.encoders.contract import EncoderOptions
from clan.models.encoders.table import encoder_spec
from clan.models.segmenter import ModelOptions
from clan.weights.convert_report import ConversionReport, Network
from clan.weights.layout import FIRST, Layout
from clan.weights.layouts import COUNTER
from clan.weights.model_files import WRAPPED


def write_published(network: Network, path: Path, out: Path, layout: Layout) -> ConversionReport:
    """Write a network's tensors under a published layout's keys."""
    _check_expressible(network.options, layout, path)
    counters = network.origin.get("counters", True)
    result: dict[str, Tensor] = {}
    dropped: list[str] = []
    for key, tensor in network.tensors.items():
        name = layout.to_published(key)
        if name is None:
            dropped.append(key)
        elif counters or not name.endswith(COUNTER):
            # torchvision's dense layers are our convolutions
            dense = name.startswith("classifier.") and tensor.dim() == 4
            result[name] = tensor.flatten(1) if dense else tensor
    result = layout.join(result)
    written = tuple(result)
    if network.origin.get("layout") == layout.name:
        result |= network.left
    else:
        dropped += network.left
    filled = {k: t for k, t in _idle_tensors(network, layout).items() if k not in result}
    result |= filled
    if network.origin.get("wrapped") and network.origin.get("layout") == layout.name:
        result = {WRAPPED + k: t for k, t in result.items()}
    _save(result, out)
    return ConversionReport(
        file=str(path),
        out=str(out),
        layout=layout,
        kind=f"a state dict, {network.options.encoder}",
        loaded=written,
        left=tuple(dropped),
        filled=tuple(filled),
    )


def _check_expressible(options: ModelOptions, layout: Layout, path: Path) -> None:
    # of the encoders in one layout not all read all of its options
    unread = EncoderOptions.model_fields.keys() - encoder_spec(options.encoder).options
    wanted = {name: value for name, value in layout.options.items() if name not in unread}
    differing = [
        f"{name}={getattr(options, name)} (there {value})"
        for name, value in wanted.items()
        if getattr(options, name) != value
    ]
    if differing:
        raise WeightsError(
            f"{path} cannot be written as {layout.name}: the network has {', '.join(differing)}, "
            "so that the same tensors would mean another network"
        )


def _idle_tensors(network: Network, layout: Layout) -> dict[str, Tensor]:
    """Return zeros for what the published network stores without running it."""
    like = network.tensors.get(FIRST)
    if like is None:
        return {}
    filled = {}
    for prefix in layout.idle:
        halved = layout.auxiliary is not None and prefix.startswith(layout.auxiliary)
        inputs = like.shape[1] // 2 if halved else like.shape[1]
        filled[f"{layout.prefix}{prefix}weight"] = like.new_zeros(like.shape[0], inputs, 3, 3)
        filled[f"{layout.prefix}{prefix}bias"] = like.new_zeros(like.shape[0])
    return filled


def _save(tensors: dict[str, Tensor], out: Path) -> None:
    if out.suffix == ".safetensors":
        write_whole(out, save({k: t.contiguous() for k, t in tensors.items()}), WeightsError)
    elif out.suffix in (".pth", ".pt"):
        make_folder(out.parent, WeightsError)
        with writing(out, WeightsError) as file:
            torch.save(tensors, file)
    else:
        raise WeightsError(f"a state dict is written as .pth or .safetensors; found {out}")
