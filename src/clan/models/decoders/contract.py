"""The interface of a decoder: a shared part, and its last module, of which C1 and C2 are copies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from clan.core.options import Options
from clan.models.encoders.contract import FeatureMap


class DecoderOptions(Options):
    """Options that a decoder may read; `DecoderSpec.reads` names those that it reads."""

    decoder: str = "deeplab"
    """The decoder: deeplab (DeepLab-v2's pyramid on the deepest map), fusion (light; adds a map of
    stride 4, for thin classes), daformer (DAFormer's, on maps of strides 4, 8, 16 and 32), upsample
    (plain, on the deepest map, for vision transformers), fcn8s (on vgg16), or one that another
    package adds."""
    aspp_rates: tuple[int, ...] = Field((6, 12, 18, 24), min_length=1)
    """Dilations of each classifier's branches, or of fusion's shared branches; TAN's published code
    has (6, 12)."""
    align_corners: bool = True
    """Whether the bilinear up-sampling of the logits aligns corners, as in the published codes."""
    decoder_width: int = Field(128, ge=8, multiple_of=8)
    """Channels of fusion's joined map."""


class Classifier(nn.Module, ABC):
    """C1 or C2: it maps features to logits."""

    @abstractmethod
    def filters(self) -> list[Tensor]:
        """Return the convolutions' weights, without biases: w of the paper's Eq. 4."""

    @abstractmethod
    def forward(self, features: list[Tensor], size: torch.Size) -> Tensor:
        """Map what `Decoder.forward` returned to logits (N, classes, H, W) float32 at ``size``."""


class Decoder(nn.Module, ABC):
    """Maps an encoder's features to what the classifiers read, and makes the classifiers.

    The module itself is the part that the classifiers share. It has no parameters unless a
    subclass adds some and overrides `forward`.
    """

    any_size: ClassVar[bool] = True
    """Whether the classifiers can give logits of any size; if not, only of the image's size."""

    @abstractmethod
    def classifier(self) -> Classifier:
        """Make one newly initialised classifier; called once per classifier."""

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map the encoder's maps to what the classifiers read."""
        return features

    def own_size(self, features: list[Tensor], image: torch.Size) -> torch.Size:
        """Return (h, w) of the logits before any up-sampling.

        Args:
            features: the encoder's maps.
            image: (H, W) of the image.
        """
        return features[-1].shape[-2:] if self.any_size else image


@dataclass(frozen=True)
class DecoderSpec:
    """How a decoder is built and what it needs; `clan.register_decoder` gives it a name."""

    build: Callable[[DecoderOptions, Sequence[FeatureMap], int], Decoder]
    """Builds it from the options, the shapes of the encoder's maps and the number of classes."""
    reads: frozenset[str] = frozenset()
    """The fields of `DecoderOptions` that ``build`` reads; a change of any other is refused."""
    strides: tuple[int, ...] = ()
    """The strides at which it needs a map, besides the deepest map."""
    padding: int = 0
    """The padding around the image that the maps must cover: `EncoderSpec.padding`."""

    def fits(self, maps: Sequence[FeatureMap], padding: int) -> bool:
        """Whether an encoder with these maps fits the decoder."""
        return padding == self.padding and set(self.strides) <= {each.stride for each in maps}

    def misfit(self, name: str, encoder: str, maps: Sequence[FeatureMap], padding: int) -> str:
        """Return a message with the maps that the decoder needs and those that the encoder has."""
        needs = [f"any channels at stride {stride}" for stride in self.strides]
        has = ", ".join(f"{each.channels} channels at stride {each.stride}" for each in maps)
        return (
            f"decoder {name} does not fit encoder {encoder}: it needs maps of "
            f"{', '.join(needs) or 'any channels and stride'}{_around(self.padding)}; the encoder "
            f"has maps of {has}{_around(padding)}"
        )


def index_at(maps: Sequence[FeatureMap], stride: int) -> int:
    """Return the index of the deepest map with a given stride."""
    return max(index for index, each in enumerate(maps) if each.stride == stride)


def _around(padding: int) -> str:
    return f", of the image within {padding} pixels of padding" if padding else ""
