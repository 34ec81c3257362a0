"""The interface of an encoder, and its spec, which is known before it is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from clan.core.options import Options

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

StrideIn = Literal["3x3", "1x1"]


class EncoderOptions(Options):
    """Options that an encoder may read; `EncoderSpec.reads` names those that it reads."""

    encoder: str = "resnet101"
    """Backbone E: resnet18, resnet50, resnet101, mobilenet_v2 or vgg16, in torchvision's key
    layout; efficientnet_lite0, in timm's; hf:NAME, a model of transformers; or a name given to
    `clan.register_encoder`."""
    output_stride: Literal[8, 16, 32] = 8
    """Input pixels per deepest feature; DeepLab-v2 has 8. Strides beyond it become dilation."""
    width: int = Field(64, ge=4, le=256)
    """Channels after the first convolution: 64 is the published network."""
    stride_in: StrideIn = "3x3"
    """Which convolution of a down-sampling bottleneck strides: torchvision's 3x3 or Caffe's 1x1."""
    dilate_first: bool = False
    """Dilate the first block of a dilated layer too, as the published codes do."""
    ceil_mode: bool = False
    """Round the size after a ResNet's max-pool up, as the published codes do."""
    hf: dict[str, Any] = Field({})
    """Of an encoder hf:NAME, values of its configuration that differ from the named one, by
    transformers' names; a run's own configuration and its model file hold all of them."""


class FeatureMap(NamedTuple):
    """The shape of one of an encoder's maps."""

    channels: int
    stride: int
    """Input pixels per feature, down and across."""


class Encoder(nn.Module, ABC):
    """The network E: it maps normalised images to feature maps, the finest first, the deepest last.

    A subclass sets ``channels`` and ``strides``, one entry per map, in ``__init__``.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    channels_last_on_cpu: ClassVar[bool] = False
    """Whether to use the memory layout "channels last" on the CPU too; on a GPU it always is."""
    grid_start: ClassVar[int | None] = None
    """Number of pixels before the image's edge at which the deepest map's first cell begins, each
    cell being a stride wide and high; None: the cells tile the image."""

    @property
    def maps(self) -> tuple[FeatureMap, ...]:
        """The shapes of the maps that `forward` returns."""
        return tuple(map(FeatureMap, self.channels, self.strides))

    def cells_of(self, pixels: int, cells: int, side: int) -> Tensor:
        """Return the row of the deepest map in which each row of a picture lies, (pixels,) int64.

        Args:
            pixels: rows of the picture, such as a label; columns likewise.
            cells: rows of the map.
            side: rows of the image that the encoder read; the picture may be of another size.
        """
        rows = torch.arange(pixels)
        if self.grid_start is None:
            return rows * cells // pixels
        place = (rows + 0.5) * (side / pixels) + self.grid_start
        return (place / self.strides[-1]).long().clamp(max=cells - 1)

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """Return all parameters by layer, from the image to the maps: all of them in one.

        An encoder whose spec says ``layered`` tells more than one apart.
        """
        return [list(self.parameters())]

    def parts(self) -> list[nn.Module]:
        """Return the modules that ``training.checkpointing`` runs again in backward.

        Each is called once in a pass, keeps more than its input, and leaves that as it is. An
        encoder that names none cannot be trained so.
        """
        return []

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """Map normalised images (N, 3, H, W) to maps (N, channels[i], ~H/s, ~W/s), s = strides[i].

        The encoder decides whether sizes are rounded up or down.
        """


@dataclass(frozen=True)
class PublishedWeights:
    """The file that ``weights: imagenet`` downloads."""

    url: str
    sha256: str
    """Its SHA-256, or the first digits of it that are published."""

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class EncoderSpec:
    """How an encoder is built and what it can do; `clan.register_encoder` gives it a name."""

    build: Callable[[EncoderOptions], Encoder]
    """Builds the encoder with new random weights."""
    reads: frozenset[str] = frozenset()
    """The fields of `EncoderOptions` that ``build`` reads, besides ``output_stride``; a change of
    any other is refused."""
    output_strides: tuple[int, ...] = ()
    """Valid values of ``output_stride``; empty if it does not read that option."""
    maps: Callable[[EncoderOptions], tuple[FeatureMap, ...]] | None = None
    """Returns the shapes of its maps without building it, so that a decoder that does not fit is
    refused when the configuration is read. None: it is refused when the network is built."""
    padding: int = 0
    """Pixels of zeros that it adds around the image; its maps cover them too."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Mean of each channel (RGB, images scaled to 0..1) in its pretraining."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Divisor of each channel in its pretraining."""
    weights: PublishedWeights | None = None
    """The file for ``weights: imagenet``, if there is one."""
    batch_norm: bool = True
    """Whether it has batch norm, which some methods adapt."""
    complete: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Returns options that replace the given ones, for encoders whose name stands for options. Its
    result must be complete: applied again, it changes nothing."""
    layered: bool = False
    """Whether `Encoder.parameters_by_layer` gives several layers, each with its own rate."""
    published_repeats: bool = False
    """Whether the published codes train this encoder, with an optimizer that repeats steps."""

    @property
    def options(self) -> frozenset[str]:
        """All fields of `EncoderOptions` that it reads."""
        return self.reads | ({"output_stride"} if self.output_strides else set())


def dilated_strides(output_stride: int) -> tuple[int, int, int, int]:
    """Return the strides 4, 8, 16, 32 of an encoder's maps, limited to ``output_stride``."""
    first, second, third, last = (min(stride, output_stride) for stride in (4, 8, 16, 32))
    return first, second, third, last
