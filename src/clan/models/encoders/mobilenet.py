"""MobileNetV2 encoder (Sandler et al. 2018) with dilation, in torchvision's key layout."""

from __future__ import annotations

from torch import Tensor, nn

from clan.models.encoders.contract import (
    Encoder,
    EncoderSpec,
    FeatureMap,
    PublishedWeights,
    dilated_strides,
)

# expansion, channels, repeats, stride: Table 2 of the MobileNetV2 paper
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# the last layers of stages 2, 3, 5 and 7: those before a stride, and the deepest
MAPS = (3, 6, 13, 17)
CHANNELS = (24, 32, 96, 320)


class InvertedResidual(nn.Module):
    """Expand (1x1), filter (depthwise 3x3), project (1x1), with a shortcut where shapes agree."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, expansion: int, dilation: int
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_conv_bn_relu(inputs, hidden, kernel=1))
        layers += [
            _conv_bn_relu(hidden, hidden, stride=stride, dilation=dilation, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h / stride, w / stride)."""
        filtered: Tensor = self.conv(x)
        return x + filtered if self.shortcut else filtered


class MobileNetV2(Encoder):
    """The bottleneck layers of MobileNetV2 1.0; strides beyond ``output_stride`` become dilation.

    The last 1x1 convolution to 1280 channels (``features.18``) belongs to image classification
    and is left out, as in the DeepLab variants of this network: the deepest map has 320 channels.

    Args:
        output_stride: 8, 16 or 32; input pixels per feature.
    """

    # a fifth to a third faster; `Segmenter.normalised` says why other encoders do not use it
    channels_last_on_cpu = True

    def __init__(self, output_stride: int = 8) -> None:
        super().__init__()
        self.channels, self.strides = CHANNELS, dilated_strides(output_stride)
        layers: list[nn.Module] = [_conv_bn_relu(3, 32, stride=2)]
        inputs, stride, dilation = 32, 2, 1
        for expansion, outputs, repeats, step in STAGES:
            former = dilation
            if step == 2 and stride >= output_stride:
                step, dilation = 1, 2 * dilation
            stride *= step
            for position in range(repeats):
                layers.append(
                    InvertedResidual(
                        inputs,
                        outputs,
                        step if position == 0 else 1,
                        expansion,
                        former if position == 0 else dilation,
                    )
                )
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self.apply(_initialise)

    def parts(self) -> list[nn.Module]:
        """Return the bottlenecks."""
        return list(self.features)[1:]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map normalised images (N, 3, H, W) to four maps (N, channels[i], ~H/s, ~W/s)."""
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in MAPS:
                maps.append(x)
        return maps


def _conv_bn_relu(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")


def _maps(output_stride: int) -> tuple[FeatureMap, ...]:
    return tuple(map(FeatureMap, CHANNELS, dilated_strides(output_stride)))


SPECS = {
    "mobilenet_v2": EncoderSpec(
        build=lambda options: MobileNetV2(options.output_stride),
        output_strides=(8, 16, 32),
        maps=lambda options: _maps(options.output_stride),
        weights=PublishedWeights(
            "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", "b0353104"
        ),
    )
}
"""MobileNetV2 1.0, with torchvision's first ImageNet weights (IMAGENET1K_V1)."""
