"""EfficientNet-Lite0 encoder (Tan and Le 2019; Lite: without squeeze-excitation), dilated.

Its keys are those of timm's ``tf_efficientnet_lite0``. Sizes are padded as TensorFlow does
("SAME"): a convolution of stride 2 pads an even size on the right and at the bottom alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.models.encoders.contract import (
    Encoder,
    EncoderSpec,
    FeatureMap,
    PublishedWeights,
    dilated_strides,
)

STEM = 32
# expansion, channels, repeats, stride, kernel of the depthwise convolution
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# the last stage at each stride
MAPS = (1, 2, 4, 6)
CHANNELS = (24, 40, 112, 320)
EPS = 1e-3
"""Of batch norm, as TensorFlow has it."""


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose output has ceil(size / stride) pixels."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2) if stride == 1 else 0,
            dilation=dilation,
            groups=groups,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, ceil(h / stride), ceil(w / stride))."""
        if self.stride[0] == 1:
            return super().forward(x)
        down, across = (self._missing(size) for size in x.shape[-2:])
        x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(x)

    def _missing(self, size: int) -> int:
        """Return the padding of a side of ``size`` pixels, the sum of both ends."""
        stride, reach = self.stride[0], self.dilation[0] * (self.kernel_size[0] - 1) + 1
        # (ceil(size / stride) - 1) * stride + reach - size, which is never negative as kernels
        # reach further than they step; without a maximum, an export needs not know the size
        return reach - stride + -size % stride


class Separable(nn.Module):
    """Filter (depthwise), project (1x1): the first stage's block."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = SameConv2d(inputs, inputs, kernel, groups=inputs)
        self.bn1 = nn.BatchNorm2d(inputs, eps=EPS)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h, w)."""
        x = F.relu6(self.bn1(self.conv_dw(x)))
        projected: Tensor = self.bn2(self.conv_pw(x))
        return projected


class Inverted(nn.Module):
    """Expand (1x1), filter (depthwise), project (1x1); a shortcut where shapes agree."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        expansion: int,
        kernel: int,
        stride: int,
        dilation: int,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.conv_pw = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden, eps=EPS)
        self.conv_dw = SameConv2d(hidden, hidden, kernel, stride, dilation, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden, eps=EPS)
        self.conv_pwl = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs, eps=EPS)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, ceil(h / stride), ceil(w / stride))."""
        y = F.relu6(self.bn1(self.conv_pw(x)))
        y = F.relu6(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        mapped: Tensor = x + y if self.shortcut else y
        return mapped


class EfficientNetLite0(Encoder):
    """The blocks of EfficientNet-Lite0; strides beyond ``output_stride`` become dilation.

    The last 1x1 convolution to 1280 channels belongs to image classification and is left out.

    Args:
        output_stride: 8, 16 or 32; input pixels per feature of the deepest map.
    """

    channels_last_on_cpu = True

    def __init__(self, output_stride: int = 8) -> None:
        super().__init__()
        self.channels, self.strides = CHANNELS, dilated_strides(output_stride)
        self.conv_stem = SameConv2d(3, STEM, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(STEM, eps=EPS)
        stages, inputs, stride, dilation = [], STEM, 2, 1
        for expansion, outputs, repeats, step, kernel in STAGES:
            former = dilation
            if step == 2 and stride >= output_stride:
                step, dilation = 1, 2 * dilation
            stride *= step
            blocks: list[nn.Module] = []
            for first in [True] + [False] * (repeats - 1):
                own_step, own_dilation = (step, former) if first else (1, dilation)
                blocks.append(
                    Separable(inputs, outputs, kernel)
                    if expansion == 1
                    else Inverted(inputs, outputs, expansion, kernel, own_step, own_dilation)
                )
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.ModuleList(stages)
        self.apply(_initialise)

    def parts(self) -> list[nn.Module]:
        """Return the blocks."""
        return [block for stage in self.blocks for block in stage.children()]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map normalised images (N, 3, H, W) to four maps (N, channels[i], ceil(H / s), ...)."""
        x = F.relu6(self.bn1(self.conv_stem(x)))
        maps = []
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in MAPS:
                maps.append(x)
        return maps


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")


def _maps(output_stride: int) -> tuple[FeatureMap, ...]:
    return tuple(map(FeatureMap, CHANNELS, dilated_strides(output_stride)))


SPECS = {
    "efficientnet_lite0": EncoderSpec(
        build=lambda options: EfficientNetLite0(options.output_stride),
        output_strides=(8, 16, 32),
        maps=lambda options: _maps(options.output_stride),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        weights=PublishedWeights(
            "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
            "tf_efficientnet_lite0-0aa007d2.pth",
            "0aa007d2",
        ),
    )
}
"""EfficientNet-Lite0, with the ImageNet weights of its authors as timm publishes them."""
