"""FCN8s' classifier: scores at three depths, joined by fixed bilinear up-sampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.models.encoders.vgg import VGGFeatures

# Caffe's FCN8s at once: the shallow features are large, their scores start as small corrections
POOL4_SCALE, POOL3_SCALE = 0.01, 0.0001
# where the deeper grid begins on the shallower one, given the encoder's padding of 100
POOL4_CROP, POOL3_CROP, IMAGE_CROP = 5, 9, 31


class FCN8s(nn.Module):
    """The scoring layers of FCN8s (Long et al. 2015), on the features of `VGG16`.

    With two classifiers these three 1x1 convolutions are what there are two of; fc6 and fc7
    belong to the shared encoder. The scores of pool3 and pool4 start at zero, as published.

    Args:
        width: channels of the encoder's first convolution.
        classes: channels of the logits.
    """

    kernel2: Tensor
    kernel8: Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.score_fr = nn.Conv2d(64 * width, classes, 1)
        self.score_pool4 = nn.Conv2d(8 * width, classes, 1)
        self.score_pool3 = nn.Conv2d(4 * width, classes, 1)
        # drawn, not zero: two classifiers that start equal would stay equal
        nn.init.normal_(self.score_fr.weight, std=0.01)
        for parameter in (
            self.score_fr.bias,
            *self.score_pool4.parameters(),
            *self.score_pool3.parameters(),
        ):
            if parameter is not None:
                nn.init.zeros_(parameter)
        self.register_buffer("kernel2", bilinear_kernel(2), persistent=False)
        self.register_buffer("kernel8", bilinear_kernel(8), persistent=False)

    def filters(self) -> list[Tensor]:
        """Return the convolutions' weights, without biases: w of the paper's Eq. 4."""
        return [self.score_fr.weight, self.score_pool4.weight, self.score_pool3.weight]

    def forward(self, features: VGGFeatures, size: torch.Size) -> Tensor:
        """Map an image's features to logits (N, classes, H, W) float32 at its ``size`` (H, W)."""
        deep = self.score_fr(features.fc7)
        middle = self.score_pool4(features.pool4 * POOL4_SCALE)
        shallow = self.score_pool3(features.pool3 * POOL3_SCALE)
        # float32 from here on, also where autocast would halve transposed convolutions
        with torch.autocast(deep.device.type, enabled=False):
            x = _enlarge(deep.float(), self.kernel2, 2)
            x = x + _crop(middle.float(), POOL4_CROP, x.shape[-2:])
            x = _enlarge(x, self.kernel2, 2)
            x = x + _crop(shallow.float(), POOL3_CROP, x.shape[-2:])
            x = _enlarge(x, self.kernel8, 8)
            return _crop(x, IMAGE_CROP, size)


def bilinear_kernel(factor: int) -> Tensor:
    """Return the kernel (1, 1, 2f, 2f) whose transposed convolution of stride f interpolates."""
    distance = (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    return ((1 - distance[:, None]) * (1 - distance[None, :]))[None, None]


def _enlarge(x: Tensor, kernel: Tensor, factor: int) -> Tensor:
    """Up-sample every channel by itself."""
    channels = x.shape[1]
    weight = kernel.expand(channels, -1, -1, -1)
    return F.conv_transpose2d(x, weight, stride=factor, groups=channels)


def _crop(x: Tensor, offset: int, size: torch.Size) -> Tensor:
    return x[..., offset : offset + size[0], offset : offset + size[1]].contiguous()
