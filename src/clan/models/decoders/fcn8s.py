"""FCN8s' classifier: scores at three depths, summed after fixed bilinear up-sampling."""

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

# of Caffe's FCN8s "at once": shallow features are large, so their scores are scaled down
POOL4_SCALE, POOL3_SCALE = 0.01, 0.0001
PADDING = 100
# offset of the deeper grid on the shallower one, for the encoder's padding
POOL4_CROP, POOL3_CROP, IMAGE_CROP = 5, 9, 31


class FCN8s(Classifier):
    """The scoring layers of FCN8s (Long et al. 2015), on three maps such as VGG16's.

    Each classifier has its own three 1x1 convolutions; fc6 and fc7 belong to the shared encoder.
    The scores of pool3 and pool4 start at zero, as published.

    Args:
        channels: of the maps at strides 8, 16 and 32.
        classes: channels of the logits.
    """

    kernel2: Tensor
    kernel8: Tensor

    def __init__(self, channels: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        pool3, pool4, fc7 = channels
        self.score_fr = nn.Conv2d(fc7, classes, 1)
        self.score_pool4 = nn.Conv2d(pool4, classes, 1)
        self.score_pool3 = nn.Conv2d(pool3, classes, 1)
        # random, not zero: two classifiers that start equal would stay equal
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

    def forward(self, features: list[Tensor], size: torch.Size) -> Tensor:
        """Map three maps to logits (N, classes, H, W) float32 at their image's ``size`` (H, W)."""
        pool3, pool4, fc7 = features
        deep = self.score_fr(fc7)
        middle = self.score_pool4(pool4 * POOL4_SCALE)
        shallow = self.score_pool3(pool3 * POOL3_SCALE)
        # float32 from here on: autocast would run transposed convolutions in half precision
        with torch.autocast(deep.device.type, enabled=False):
            x = _enlarge(deep.float(), self.kernel2, 2)
            x = x + _crop(middle.float(), POOL4_CROP, x.shape[-2:])
            x = _enlarge(x, self.kernel2, 2)
            x = x + _crop(shallow.float(), POOL3_CROP, x.shape[-2:])
            x = _enlarge(x, self.kernel8, 8)
            return _crop(x, IMAGE_CROP, size)


class FCN8sDecoder(Decoder):
    """A decoder without a shared part; its classifiers up-sample to the image's size only."""

    any_size = False

    def __init__(self, options: DecoderOptions, maps: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        first, second, third = (index_at(maps, stride) for stride in SPEC.strides)
        self._scored = first, second, third
        self._channels = maps[first].channels, maps[second].channels, maps[third].channels
        self._classes = classes

    def classifier(self) -> FCN8s:
        """Make the three scoring layers."""
        return FCN8s(self._channels, self._classes)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the three maps that the classifiers read."""
        return [features[index] for index in self._scored]


SPEC = DecoderSpec(FCN8sDecoder, strides=(8, 16, 32), padding=PADDING)


def bilinear_kernel(factor: int) -> Tensor:
    """Return the kernel (1, 1, 2f, 2f) whose transposed convolution of stride f interpolates."""
    distance = (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    return ((1 - distance[:, None]) * (1 - distance[None, :]))[None, None]


def _enlarge(x: Tensor, kernel: Tensor, factor: int) -> Tensor:
    """Up-sample each channel separately."""
    channels = x.shape[1]
    weight = kernel.expand(channels, -1, -1, -1)
    return F.conv_transpose2d(x, weight, stride=factor, groups=channels)


def _crop(x: Tensor, offset: int, size: torch.Size) -> Tensor:
    return x[..., offset : offset + size[0], offset : offset + size[1]].contiguous()
