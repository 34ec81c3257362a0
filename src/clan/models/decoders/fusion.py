"""A light decoder that adds a map of stride 4 to the deepest one, as DeepLab-v3+ does.

Thin objects such as poles, a few pixels wide, are visible at stride 4 but not at stride 8. Chen et
al. 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.models.decoders.contract import (
    Classifier,
    Decoder,
    DecoderOptions,
    DecoderSpec,
    index_at,
)
from clan.models.encoders.contract import FeatureMap

FINE_STRIDE = 4
GROUPS = 8


class Pointwise(Classifier):
    """C1 or C2: a 1x1 convolution on the joined map."""

    def __init__(self, inputs: int, classes: int, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.score = nn.Conv2d(inputs, classes, 1)
        nn.init.normal_(self.score.weight, std=0.01)

    def filters(self) -> list[Tensor]:
        """Return the convolution's weight, without bias: w of the paper's Eq. 4."""
        return [self.score.weight]

    def forward(self, features: list[Tensor], size: torch.Size) -> Tensor:
        """Map the joined map (N, inputs, h, w) to logits (N, classes, H, W) float32."""
        # float32 from here on: half precision is too coarse for up-sampling, softmax and losses
        logits = self.score(features[-1]).float()
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=self.align_corners)


class Fusion(Decoder):
    """The deepest map with context, up-sampled to stride 4 and concatenated with the fine map."""

    def __init__(self, options: DecoderOptions, maps: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        width, self._fine = options.decoder_width, index_at(maps, FINE_STRIDE)
        self._align = options.align_corners
        self._classifier = (width, classes, options.align_corners)
        # a fifth of the width, as DeepLab-v3+ has 48 of 256: the fine map is for edges
        fine = max(GROUPS, width // 5 // GROUPS * GROUPS)
        self.fine = _normed(nn.Conv2d(maps[self._fine].channels, fine, 1, bias=False), fine)
        self.deep = _normed(nn.Conv2d(maps[-1].channels, width, 1, bias=False), width)
        self.context = nn.ModuleList(_separable(width, width, rate) for rate in options.aspp_rates)
        self.join = nn.Sequential(_separable(width + fine, width, 1), _separable(width, width, 1))

    def classifier(self) -> Pointwise:
        """Make one 1x1 convolution."""
        return Pointwise(*self._classifier)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the joined map (N, width, H / 4, W / 4)."""
        deep, fine = self.deep(features[-1]), self.fine(features[self._fine])
        wide = deep
        for branch in self.context:
            wide = wide + branch(deep)
        enlarged = F.interpolate(
            wide, size=fine.shape[-2:], mode="bilinear", align_corners=self._align
        )
        return [self.join(torch.cat([enlarged, fine], dim=1))]

    def own_size(self, features: list[Tensor], image: torch.Size) -> torch.Size:
        """Return (h, w) of the fine map."""
        return features[self._fine].shape[-2:]


def _separable(inputs: int, outputs: int, dilation: int) -> nn.Sequential:
    """Return a depthwise 3x3 and a 1x1 convolution."""
    filtered = nn.Conv2d(
        inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False
    )
    return nn.Sequential(filtered, _normed(nn.Conv2d(inputs, outputs, 1, bias=False), outputs))


def _normed(conv: nn.Conv2d, channels: int) -> nn.Sequential:
    # group norm: the statistics of one or two images are too noisy for batch norm, which would
    # also mix the two domains
    return nn.Sequential(conv, nn.GroupNorm(GROUPS, channels), nn.ReLU(inplace=True))


SPEC = DecoderSpec(
    Fusion, frozenset({"aspp_rates", "align_corners", "decoder_width"}), strides=(FINE_STRIDE,)
)
