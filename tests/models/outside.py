"""An encoder and a decoder as another package would write them, on the public names alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import clan


class Pyramid(clan.Encoder):
    """Two strided convolutions: maps at strides 4 and 16."""

    def __init__(self, options: clan.EncoderOptions) -> None:
        super().__init__()
        self.channels, self.strides = (options.width, 2 * options.width), (4, 16)
        self.fine = nn.Conv2d(3, options.width, 4, stride=4)
        self.deep = nn.Conv2d(options.width, 2 * options.width, 4, stride=4)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.fine(x).relu()
        return [fine, self.deep(fine).relu()]


class Score(clan.Classifier):
    """A 1x1 convolution."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, classes, 1)

    def filters(self) -> list[Tensor]:
        return [self.conv.weight]

    def forward(self, features: list[Tensor], size: torch.Size) -> Tensor:
        return F.interpolate(self.conv(features[0]).float(), size=size, mode="bilinear")


class Sum(clan.Decoder):
    """The deepest map, projected, on top of the one of stride 4."""

    def __init__(
        self, options: clan.DecoderOptions, maps: Sequence[clan.FeatureMap], classes: int
    ) -> None:
        super().__init__()
        self.fine = [each.stride for each in maps].index(4)
        self.project = nn.Conv2d(maps[-1].channels, maps[self.fine].channels, 1)
        self.made = (maps[self.fine].channels, classes)

    def classifier(self) -> Score:
        return Score(*self.made)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        fine, deep = features[self.fine], self.project(features[-1])
        return [fine + F.interpolate(deep, size=fine.shape[-2:], mode="bilinear")]


ENCODER = clan.EncoderSpec(
    Pyramid,
    reads=frozenset({"width"}),
    maps=lambda o: (clan.FeatureMap(o.width, 4), clan.FeatureMap(2 * o.width, 16)),
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    batch_norm=False,
)
LATE = clan.EncoderSpec(Pyramid, reads=frozenset({"width"}), batch_norm=False)
"""The same encoder, whose maps are known only when it is built."""
DECODER = clan.DecoderSpec(Sum, strides=(4,))
