"""The discriminator D: it classifies the domain of predictions or features."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_INPUT = 32
SOURCE, TARGET = 0.0, 1.0
"""Domain labels of the published codes; the paper's Eq. 5 exchanges them."""

Upsampling = Literal["none", "bilinear", "aligned"]
"""How D's logits are up-sampled to its input's size: not at all (one per patch), bilinearly, or
bilinearly with aligned corners."""


class Discriminator(nn.Module):
    """Five 4x4 convolutions of stride 2 with leaky ReLU 0.2 between (section 4.2 of the paper).

    Args:
        classes: channels of the softmax maps that it reads.
        width: channels after the first convolution; the paper has 64 (then 128, 256, 512, 1).
        upsampling: how logits are up-sampled to the size of the maps.
    """

    def __init__(self, classes: int, width: int = 64, upsampling: Upsampling = "bilinear") -> None:
        super().__init__()
        self.upsampling = upsampling
        channels = (classes, width, 2 * width, 4 * width, 8 * width, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
            for inputs, outputs in pairwise(channels)
        )

    def forward(self, probabilities: Tensor) -> Tensor:
        """Map softmax maps (N, C, H, W) to domain logits (N, 1, H, W); high = target.

        There is one logit per 32 x 32 patch. They are up-sampled to the maps' size, as in the
        paper, so that the alignment map can weight them pixel by pixel; with upsampling "none"
        their shape is (N, 1, H / 32, W / 32). H and W must be at least 32.
        """
        size = probabilities.shape[-2:]
        if min(size) < SMALLEST_INPUT:
            raise ValueError(
                f"the discriminator got maps of {size[0]}x{size[1]} pixels; it halves them five "
                f"times and needs at least {SMALLEST_INPUT}x{SMALLEST_INPUT}"
            )
        x = probabilities
        for conv in self.convs[:-1]:
            x = F.leaky_relu(conv(x), 0.2)
        logits: Tensor = self.convs[-1](x).float()
        if self.upsampling == "none":
            return logits
        aligned = self.upsampling == "aligned"
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=aligned)


class FeatureDiscriminator(nn.Module):
    """Two 1x1 convolutions with leaky ReLU 0.2 between: a domain logit for every location.

    Args:
        channels: of the features (or scores) that it reads.
        width: channels between the two convolutions.
        outputs: number of independent classifiers, which share only the input.
    """

    def __init__(self, channels: int, width: int = 64, outputs: int = 1) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(channels, outputs * width, 1)
        self.score = nn.Conv2d(outputs * width, outputs, 1, groups=outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, channels, h, w) to domain logits (N, outputs, h, w) float32; high = target."""
        logits: Tensor = self.score(F.leaky_relu(self.hidden(features), 0.2))
        return logits.float()
