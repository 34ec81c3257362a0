"""A plain decoder for vision transformers: the deepest map, enlarged four times.

A plain transformer has one map of stride 14 or 16. Two transposed convolutions bring it to a
quarter of that, which is what Englert et al. 2024 ("Exploring the Benefits of Vision Foundation
Models for Unsupervised Domain Adaptation", VFM-UDA) put on DINOv2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.models.decoders.contract import Decoder, DecoderOptions, DecoderSpec
from clan.models.decoders.fusion import Pointwise
from clan.models.encoders.contract import FeatureMap

ENLARGED = 4
"""How many times as many features per side the decoder makes."""


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each place of a map (N, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the map, each place with mean 0 and deviation 1 before scale and shift."""
        normed = F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return normed.permute(0, 3, 1, 2)


class Upsample(Decoder):
    """Two transposed convolutions that double the map, each with half the channels, and a 3x3.

    The classifiers are 1x1 convolutions. Their logits are interpolated to the image's size
    without aligned corners.
    """

    def __init__(self, maps: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        inputs = maps[-1].channels
        half, quarter = max(1, inputs // 2), max(1, inputs // 4)
        self.classes, self.width = classes, quarter
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(inputs, half, 2, stride=2, bias=False),
            ChannelNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2, bias=False),
            ChannelNorm(quarter),
            nn.Conv2d(quarter, quarter, 3, padding=1, bias=False),
            ChannelNorm(quarter),
        )

    def classifier(self) -> Pointwise:
        """Make one 1x1 convolution."""
        return Pointwise(self.width, self.classes, align_corners=False)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the deepest map (N, C, h, w) as (N, C / 4, 4 h, 4 w)."""
        return [self.enlarge(features[-1])]

    def own_size(self, features: list[Tensor], image: torch.Size) -> torch.Size:
        """Return four times (h, w) of the deepest map."""
        height, width = features[-1].shape[-2:]
        return torch.Size((ENLARGED * height, ENLARGED * width))


def _build(_: DecoderOptions, maps: Sequence[FeatureMap], classes: int) -> Upsample:
    return Upsample(maps, classes)


SPEC = DecoderSpec(_build)
