"""Encoders of the library transformers: SegFormer, DINOv2, ConvNeXt, Swin, ResNet and others."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.core.errors import ConfigError
from clan.models.encoders.contract import Encoder, EncoderOptions, EncoderSpec, FeatureMap
from clan.models.encoders.hf_configuration import (
    PREFIX,
    SEGFORMER,
    TYPE,
    complete,
    hf_config,
    model_class,
)

PROBE = 224
"""Side of the square image whose maps are measured: a multiple of the usual patches and strides."""
BROKEN = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    ZeroDivisionError,
    ImportError,
)
"""Exceptions of transformers' models for contradictory configurations, sizes that do not fit, and
missing libraries."""


BATCH_NORM = frozenset(
    {
        "hgnet_v2",
        "pp_lcnet",
        "pp_lcnet_v3",
        "pp_lcnet_v4",
        "resnet",
        "rt_detr_resnet",
        "textnet",
        "uvdoc_backbone",
    }
)
"""Model types that have batch norm."""
OWN_EPS = re.compile(r"\.layernorm_(before|after)$|^stages\.\d+\.layer_norm$")
"""Names of a SegFormer's norms whose eps is the configuration's."""
LAST_ALONE = ("deeplab", "upsample")
"""Decoders that read only the deepest map; norms of other maps would never get a gradient."""


@dataclass(frozen=True)
class Facts:
    """Facts about a configuration, measured on a network without memory (torch's device meta)."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    multiple: int
    """Images' sides are padded to a multiple of this; 1: not padded."""
    smallest: int
    """Shortest side in pixels that the network accepts."""
    unread: frozenset[str]
    """Parameters that no map depends on."""


class HFEncoder(Encoder):
    """A model of transformers as an encoder, freshly initialised.

    Its maps have ceil(H / stride) x ceil(W / stride) features. Networks that would drop pixels
    beyond their last whole patch get the image padded at the bottom and on the right, with zeros
    (the mean colour); their maps are then cropped to that size.

    Args:
        configuration: as `clan.models.encoders.hf_configuration.complete` returns.

    Raises:
        ConfigError: it contradicts itself, or its maps are no grid over the image.
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__()
        self.facts = measure(configuration)
        self.channels, self.strides = self.facts.channels, self.facts.strides
        self.kind = str(configuration[TYPE])
        self.network = make_network(configuration)
        for name, parameter in self.network.named_parameters():
            # several processes would wait for the gradients of parameters that no map depends on
            parameter.requires_grad_(name not in self.facts.unread)

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """Return the parameters before the first block, then those of each block.

        A block is an entry of the innermost lists of modules. What lies behind it, up to the next
        block, belongs to it.
        """
        blocks = _blocks(self.network)
        parts: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 1)]
        at = 0
        for name, parameter in self.network.named_parameters():
            at = next((i for i, block in enumerate(blocks, 1) if name.startswith(block)), at)
            parts[at].append(parameter)
        return parts

    def parts(self) -> list[nn.Module]:
        """Return the layers that transformers itself would run again."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        return [m for m in self.network.modules() if isinstance(m, GradientCheckpointingLayer)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map normalised images (N, 3, H, W) to maps (N, channels[i], ceil(H/s), ceil(W/s)).

        Raises:
            ValueError: an image smaller than the network takes.
        """
        height, width = x.shape[-2:]
        if min(height, width) < self.facts.smallest:
            raise ValueError(
                f"the encoder hf:{self.kind} got images of {height}x{width} pixels; it takes "
                f"{self.facts.smallest}x{self.facts.smallest} and larger"
            )
        below, right = (-side % self.facts.multiple for side in (height, width))
        # an exported network pads at any size, by nothing where there is nothing to pad
        if torch.compiler.is_exporting() or below or right:
            x = F.pad(x, (0, right, 0, below))
        maps = feature_maps(self.network, x, self.kind)
        # (side + stride - 1) // stride rather than -(-side // stride): ONNX divides towards 0
        return [
            each[..., : (height + stride - 1) // stride, : (width + stride - 1) // stride]
            for each, stride in zip(maps, self.strides, strict=True)
        ]


def _blocks(network: nn.Module) -> list[str]:
    """Return what the names of each block's parameters begin with, the first block first."""
    lists = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    innermost = {
        name: module
        for name, module in lists.items()
        if not any(isinstance(each, nn.ModuleList) for part in module for each in part.modules())
    }
    return [
        f"{name}.{index}." for name, module in innermost.items() for index in range(len(module))
    ]


def family(name: str) -> EncoderSpec:
    """Return how the encoder ``hf:name`` is built; its name is looked up when options are read."""

    def completed(given: Mapping[str, Any]) -> dict[str, Any]:
        changes = given.get("hf") or {}
        if not isinstance(changes, Mapping):
            raise ConfigError(f"model.hf: expected values by name, found {changes!r}")
        whole = complete(name, changes, given.get("decoder", "deeplab") in LAST_ALONE)
        return {"encoder": PREFIX + whole[TYPE], "hf": whole}

    return EncoderSpec(
        build=lambda options: HFEncoder(options.hf),
        reads=frozenset({"hf"}),
        maps=_maps_of,
        batch_norm=name in BATCH_NORM,
        complete=completed,
        layered=True,
    )


def _maps_of(options: EncoderOptions) -> tuple[FeatureMap, ...]:
    facts = measure(options.hf)
    return tuple(map(FeatureMap, facts.channels, facts.strides))


def make_network(configuration: Mapping[str, Any]) -> nn.Module:
    """Make transformers' model, with random weights, in training mode.

    Raises:
        ConfigError: the configuration contradicts itself.
    """
    kind = configuration[TYPE]
    config = hf_config(configuration)
    try:
        network: nn.Module = model_class(kind)(config)
    except BROKEN as error:
        raise ConfigError(f"model.hf: transformers cannot build this {kind!r}: {error}") from error
    if kind == SEGFORMER:
        _set_eps(network, config.layer_norm_eps)
    return network.train()


def _set_eps(network: nn.Module, eps: float) -> None:
    """Give a SegFormer the eps that its configuration names, and transformers does not read.

    It is of the norms in and after the blocks, 1e-6 in the published code; those of the patches'
    embeddings and of the reduced sequences have torch's 1e-5 there.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.LayerNorm) and OWN_EPS.search(name):
            module.eps = eps


def feature_maps(network: nn.Module, x: Tensor, kind: str) -> tuple[Tensor, ...]:
    """Return the maps of a model of transformers, the finest first."""
    if kind == SEGFORMER:
        # transformers has no backbone class for it
        hidden: tuple[Tensor, ...] = network(x, output_hidden_states=True).hidden_states
        return hidden
    maps: tuple[Tensor, ...] = network(x).feature_maps
    return maps


def measure(configuration: Mapping[str, Any]) -> Facts:
    """Measure a configuration's maps, without its weights; results are cached.

    Raises:
        ConfigError: it contradicts itself, or its maps are no grid over the image.
    """
    return _measure(json.dumps(configuration, sort_keys=True))


@lru_cache(maxsize=16)
def _measure(text: str) -> Facts:
    configuration = json.loads(text)
    kind = configuration[TYPE]
    with torch.device("meta"):
        network = make_network(configuration).eval()
    try:
        maps = _maps_at(network, kind, PROBE)
        twice = _maps_at(network, kind, 2 * PROBE)
    except BROKEN as error:
        raise ConfigError(
            f"model.hf: this {kind!r} cannot take images of 3 x {PROBE} x {PROBE} and of 3 x "
            f"{2 * PROBE} x {2 * PROBE} pixels, and an encoder takes many sizes: {error}"
        ) from error
    strides = tuple(_stride(a, b, kind) for a, b in zip(maps, twice, strict=True))
    names, parameters = zip(*network.named_parameters(), strict=True)
    total = torch.stack([each.sum() for each in maps]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return Facts(
        channels=tuple(each.shape[1] for each in maps),
        strides=strides,
        multiple=1 if _covers_all(network, kind, strides) else math.lcm(*strides),
        smallest=_smallest(network, kind, max(strides)),
        unread=frozenset(n for n, g in zip(names, gradients, strict=True) if g is None),
    )


def _maps_at(network: nn.Module, kind: str, side: int) -> tuple[Tensor, ...]:
    return feature_maps(network, torch.zeros(1, 3, side, side, device="meta"), kind)


def _stride(features: Tensor, twice: Tensor, kind: str) -> int:
    """Return input pixels per feature, from the maps of a square and of one of twice the side."""
    shape, larger = tuple(features.shape[2:]), tuple(twice.shape[2:])
    if len(shape) != 2 or shape[0] != shape[1] or PROBE % shape[0] or larger[0] != 2 * shape[0]:
        raise ConfigError(
            f"model.hf: a map of this {kind!r} has {shape} features for {PROBE} x {PROBE} pixels "
            f"and {larger} for {2 * PROBE} x {2 * PROBE}: no square grid of whole strides that "
            f"divide {PROBE}. Choose other patches or stages."
        )
    return PROBE // shape[0]


def _covers_all(network: nn.Module, kind: str, strides: tuple[int, ...]) -> bool:
    """Whether a pixel beyond whole patches gets a feature; else it is dropped or refused."""
    try:
        maps = _maps_at(network, kind, PROBE + 1)
    except BROKEN:
        return False
    return all(m.shape[-1] == PROBE // s + 1 for m, s in zip(maps, strides, strict=True))


def _smallest(network: nn.Module, kind: str, deepest: int) -> int:
    """Return the smallest side that the network accepts, in whole cells of the deepest map."""
    for cells in range(1, PROBE // deepest):
        try:
            _maps_at(network, kind, cells * deepest)
        except BROKEN:
            continue
        return cells * deepest
    return PROBE
