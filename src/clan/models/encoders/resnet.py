"""ResNet encoders (He et al. 2016) with dilation, in torchvision's key layout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.models.encoders.contract import (
    Encoder,
    EncoderOptions,
    EncoderSpec,
    FeatureMap,
    PublishedWeights,
    StrideIn,
    dilated_strides,
)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18)."""

    expansion = 1

    def __init__(
        self, inputs: int, width: int, stride: int, dilation: tuple[int, int], stride_in: StrideIn
    ) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _conv3x3(inputs, width, stride, dilation[0])
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, outputs, 1, dilation[1])
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, width, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return F.relu(x + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut (ResNet-50 and 101).

    ``stride_in`` says which convolution of a down-sampling block strides: the 3x3 as torchvision
    does, or the first 1x1 as Caffe and the published adaptation codes do.
    """

    expansion = 4

    def __init__(
        self, inputs: int, width: int, stride: int, dilation: tuple[int, int], stride_in: StrideIn
    ) -> None:
        super().__init__()
        outputs = width * self.expansion
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(inputs, width, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, second, dilation[0])
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, 4 * width, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return F.relu(x + shortcut, inplace=True)


Block = type[BasicBlock] | type[Bottleneck]

DEPTHS: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(Encoder):
    """The convolutional part of a ResNet; strides beyond ``output_stride`` become dilation.

    Its maps are those of the four layers.

    Args:
        depth: ``resnet18``, ``resnet50`` or ``resnet101``.
        output_stride: 8, 16 or 32; input pixels per feature.
        width: channels after the first convolution; 64 is the published network, fewer make a
            small one to train from scratch.
        stride_in: see `Bottleneck`.
        dilate_first: dilate the first block of a dilated layer too (published adaptation codes)
            instead of leaving it at the former layer's dilation (torchvision).
        ceil_mode: round the pooled size up (published codes) instead of down.
    """

    def __init__(
        self,
        depth: str,
        output_stride: int = 8,
        width: int = 64,
        stride_in: StrideIn = "3x3",
        dilate_first: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        block, repeats = DEPTHS[depth]
        shapes = resnet_maps(depth, output_stride, width)
        self.channels = tuple(shape.channels for shape in shapes)
        self.strides = tuple(shape.stride for shape in shapes)
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        # with ceil_mode the published codes pad by 1 as well
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=ceil_mode)
        inputs, stride, dilation = width, 4, 1
        for index, repeat in enumerate(repeats):
            former = dilation
            step = 1 if index == 0 else 2
            if step == 2 and stride >= output_stride:
                step, dilation = 1, 2 * dilation
            stride *= step
            channels = width * 2**index
            layer: list[nn.Module] = []
            for position in range(repeat):
                first = former if position == 0 and not dilate_first else dilation
                layer.append(
                    block(
                        inputs,
                        channels,
                        step if position == 0 else 1,
                        (first, dilation),
                        stride_in,
                    )
                )
                inputs = channels * block.expansion
            setattr(self, f"layer{index + 1}", nn.Sequential(*layer))
        self.apply(_initialise)

    def parts(self) -> list[nn.Module]:
        """Return the residual blocks."""
        return [block for i in range(1, 5) for block in self.get_submodule(f"layer{i}").children()]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map normalised images (N, 3, H, W) to four maps (N, channels[i], ~H/s, ~W/s)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = getattr(self, name)(x)
            maps.append(x)
        return maps


def resnet_maps(depth: str, output_stride: int, width: int) -> tuple[FeatureMap, ...]:
    """Return the shapes of a ResNet's four maps."""
    block, _ = DEPTHS[depth]
    strides = dilated_strides(output_stride)
    return tuple(
        FeatureMap(width * 2**index * block.expansion, stride)
        for index, stride in enumerate(strides)
    )


def _conv3x3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(
        inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
    )


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    conv = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _build(o: EncoderOptions) -> ResNet:
    return ResNet(o.encoder, o.output_stride, o.width, o.stride_in, o.dilate_first, o.ceil_mode)


def _spec(depth: str, file: str) -> EncoderSpec:
    block, _ = DEPTHS[depth]
    # torchvision puts the first eight digits of a file's SHA-256 before its suffix
    digits = file.rsplit("-", 1)[-1].removesuffix(".pth")
    return EncoderSpec(
        build=_build,
        reads=frozenset({"width", "dilate_first", "ceil_mode"})
        | ({"stride_in"} if block is Bottleneck else set()),
        output_strides=(8, 16, 32),
        maps=lambda o: resnet_maps(depth, o.output_stride, o.width),
        weights=PublishedWeights(f"https://download.pytorch.org/models/{file}", digits),
        published_repeats=True,
    )


SPECS = {
    "resnet18": _spec("resnet18", "resnet18-f37072fd.pth"),
    "resnet50": _spec("resnet50", "resnet50-0676ba61.pth"),
    "resnet101": _spec("resnet101", "resnet101-63fe2227.pth"),
}
"""The ResNets, with torchvision's first ImageNet weights (IMAGENET1K_V1)."""
