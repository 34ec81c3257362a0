"""DAFormer's decoder (Hoyer et al. 2022): all maps at one width, then a separable pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.models.decoders.contract import Classifier, Decoder, DecoderOptions, DecoderSpec
from clan.models.encoders.contract import FeatureMap

WIDTH = 256
RATES = (1, 6, 12, 18)
"""Dilations of the branches; 1 is a plain 1x1 convolution."""
DROPOUT = 0.1


class Pointwise(Classifier):
    """A 1x1 convolution to the classes, after dropout of whole channels."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(DROPOUT)
        self.conv = nn.Conv2d(inputs, classes, 1)
        nn.init.normal_(self.conv.weight, std=0.01)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def filters(self) -> list[Tensor]:
        """Return the convolution's weight, without its bias: w of the paper's Eq. 4."""
        return [self.conv.weight]

    def forward(self, features: list[Tensor], size: torch.Size) -> Tensor:
        """Map the last map (N, inputs, h, w) to logits (N, classes, H, W) float32 at ``size``."""
        logits = self.conv(self.dropout(features[-1])).float()
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


class DAFormer(Decoder):
    """Every map to 256 channels and stride 4, concatenated, a separable pyramid, a 3x3 bottleneck.

    The classifiers are 1x1 convolutions on the bottleneck's 256 channels. The logits are
    interpolated without aligned corners, as in the published code.
    """

    def __init__(self, maps: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.embeds = nn.ModuleList(nn.Linear(each.channels, WIDTH) for each in maps)
        inputs = WIDTH * len(maps)
        self.branches = nn.ModuleList(_branch(inputs, rate) for rate in RATES)
        self.bottleneck = _conv_bn_relu(WIDTH * len(RATES), WIDTH, 3)

    def classifier(self) -> Pointwise:
        """Make one 1x1 convolution."""
        return Pointwise(WIDTH, self.classes)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map an encoder's maps, the first at stride 4, to one (N, 256, h, w) of its size."""
        size = features[0].shape[-2:]
        embedded = [
            _resized(embed(each.flatten(2).transpose(1, 2)), each.shape[-2:], size)
            for embed, each in zip(self.embeds, features, strict=True)
        ]
        joined = torch.cat(embedded, dim=1)
        pyramid = torch.cat([branch(joined) for branch in self.branches], dim=1)
        return [self.bottleneck(pyramid)]

    def own_size(self, features: list[Tensor], image: torch.Size) -> torch.Size:
        """Return (h, w) of the finest map."""
        return features[0].shape[-2:]


def _resized(tokens: Tensor, own: torch.Size, size: torch.Size) -> Tensor:
    """Reshape tokens (N, h * w, C) to a map and resize it to (N, C, H, W)."""
    grid = tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *own)
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False)


def _branch(inputs: int, rate: int) -> nn.Sequential:
    if rate == 1:
        return _conv_bn_relu(inputs, WIDTH, 1)
    return nn.Sequential(
        _conv_bn_relu(inputs, inputs, 3, rate, groups=inputs), _conv_bn_relu(inputs, WIDTH, 1)
    )


def _conv_bn_relu(
    inputs: int, outputs: int, kernel: int, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=groups,
        bias=False,
    )
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _build(_: DecoderOptions, maps: Sequence[FeatureMap], classes: int) -> DAFormer:
    return DAFormer(maps, classes)


SPEC = DecoderSpec(_build, strides=(4, 8, 16, 32))
