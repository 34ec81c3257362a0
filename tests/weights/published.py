"""The published state dicts, key by key, and what their networks compute, restated plainly."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
CAFFE_MEAN = (104.00698793, 116.66876762, 122.67891434)


class Maker:
    """Draws tensors under given keys; batch norms with or without their step counter."""

    def __init__(self, seed: int = 0, counters: bool = True) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.counters = counters
        self.tensors: dict[str, Tensor] = {}

    def draw(self, key: str, *shape: int, scale: float = 1.0) -> None:
        self.tensors[key] = torch.randn(shape, generator=self.generator) * scale

    def conv(self, key: str, inputs: int, outputs: int, kernel: int, bias: bool = False) -> None:
        self.draw(f"{key}.weight", outputs, inputs, kernel, kernel, scale=(inputs * kernel) ** -0.5)
        if bias:
            self.draw(f"{key}.bias", outputs)

    def linear(self, key: str, inputs: int, outputs: int) -> None:
        self.draw(f"{key}.weight", outputs, inputs)
        self.draw(f"{key}.bias", outputs)

    def norm(self, key: str, channels: int) -> None:
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.draw(f"{key}.{name}", channels, scale=0.1)
        self.tensors[f"{key}.weight"] += 1
        self.tensors[f"{key}.running_var"] += 1
        if self.counters:
            self.tensors[f"{key}.num_batches_tracked"] = torch.tensor(7)

    def prefixed(self, prefix: str) -> dict[str, Tensor]:
        return {prefix + key: tensor for key, tensor in self.tensors.items()}


def resnet(maker: Maker, depth: str = "resnet101", width: int = 4) -> int:
    """Draw a ResNet without classifier; return the channels of its features."""
    maker.conv("conv1", 3, width, 7)
    maker.norm("bn1", width)
    inputs, expansion = width, 1 if depth == "resnet18" else 4
    for layer, blocks in enumerate(BLOCKS[depth], start=1):
        inner = width * 2 ** (layer - 1)
        outputs = inner * expansion
        for block in range(blocks):
            key = f"layer{layer}.{block}"
            kernels = (3, 3) if expansion == 1 else (1, 3, 1)
            channels = (
                (inputs, inner, outputs) if expansion == 1 else (inputs, inner, inner, outputs)
            )
            for i, kernel in enumerate(kernels, start=1):
                maker.conv(f"{key}.conv{i}", channels[i - 1], channels[i], kernel)
                maker.norm(f"{key}.bn{i}", channels[i])
            if block == 0 and inputs != outputs:
                maker.conv(f"{key}.downsample.0", inputs, outputs, 1)
                maker.norm(f"{key}.downsample.1", outputs)
            inputs = outputs
    return inputs


def branches(maker: Maker, head: str, inputs: int, classes: int) -> None:
    for i in range(4):
        maker.conv(f"{head}.conv2d_list.{i}", inputs, classes, 3, bias=True)


def deeplab(name: str, classes: int = 19, counters: bool = True) -> dict[str, Tensor]:
    """Return the state dict of one of the published adaptation codes, random and narrow."""
    maker = Maker(counters=counters)
    features = resnet(maker)
    heads = {
        "deeplab-coco": {"layer5": features},
        "clan": {"layer5": features, "layer6": features},
        "adaptsegnet": {"layer5": features},
        "adaptsegnet-multi": {"layer5": features // 2, "layer6": features},
        "advent": {"layer6": features},
        "advent-multi": {"layer5": features // 2, "layer6": features},
    }[name]
    for head, inputs in heads.items():
        branches(maker, head, inputs, classes)
    return maker.prefixed("Scale." if name == "deeplab-coco" else "")


def torchvision(name: str, counters: bool = True) -> dict[str, Tensor]:
    """Return the state dict of torchvision's classification network, random and narrow."""
    maker = Maker(counters=counters)
    if name in BLOCKS:
        maker.linear("fc", resnet(maker, name), 10)
    elif name == "vgg16":
        inputs = 3
        convs = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
        widths = (4, 4, 8, 8, 16, 16, 16, 32, 32, 32, 32, 32, 32)
        for index, outputs in zip(convs, widths, strict=True):
            maker.conv(f"features.{index}", inputs, outputs, 3, bias=True)
            inputs = outputs
        maker.linear("classifier.0", 32 * 7 * 7, 256)
        maker.linear("classifier.3", 256, 256)
        maker.linear("classifier.6", 256, 10)
    else:
        mobilenet(maker)
    return maker.tensors


def mobilenet(maker: Maker) -> None:
    maker.conv("features.0.0", 3, 32, 3)
    maker.norm("features.0.1", 32)
    inputs = 32
    for index, (expansion, outputs) in enumerate(_inverted(), start=1):
        key, hidden, place = f"features.{index}.conv", inputs * expansion, 0
        if expansion != 1:
            maker.conv(f"{key}.0.0", inputs, hidden, 1)
            maker.norm(f"{key}.0.1", hidden)
            place = 1
        maker.conv(f"{key}.{place}.0", 1, hidden, 3)
        maker.norm(f"{key}.{place}.1", hidden)
        maker.conv(f"{key}.{place + 1}", hidden, outputs, 1)
        maker.norm(f"{key}.{place + 2}", outputs)
        inputs = outputs
    maker.conv("features.18.0", 320, 1280, 1)
    maker.norm("features.18.1", 1280)
    maker.linear("classifier.1", 1280, 10)


def _inverted() -> Iterator[tuple[int, int]]:
    for expansion, outputs, repeats in (
        (1, 16, 1),
        (6, 24, 2),
        (6, 32, 3),
        (6, 64, 4),
        (6, 96, 3),
        (6, 160, 3),
        (6, 320, 1),
    ):
        for _ in range(repeats):
            yield expansion, outputs


def published_logits(t: dict[str, Tensor], image: Tensor, executed: dict[str, int]) -> list[Tensor]:
    """What the published DeepLab-v2 networks compute in evaluation, up-sampled to the image.

    Args:
        t: the published state dict.
        image: (N, 3, H, W) uint8 RGB; they read BGR less Caffe's mean.
        executed: number of branches that run, by the head's key.
    """

    def conv(x: Tensor, key: str, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = t[f"{key}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        bias = t.get(f"{key}.bias")
        return F.conv2d(x, weight, bias, stride=stride, padding=padding, dilation=dilation)

    def norm(x: Tensor, key: str) -> Tensor:
        mean, var, weight, bias = (
            t[f"{key}.{name}"][:, None, None]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = image.flip(1).float() - torch.tensor(CAFFE_MEAN)[:, None, None]
    x = norm(conv(x, "conv1", stride=2), "bn1").relu()
    x = F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
    levels = {}
    # stride in the first 1x1 of a layer; every 3x3 of layer3 dilated by 2, of layer4 by 4
    for layer, (stride, dilation) in enumerate(((1, 1), (2, 1), (1, 2), (1, 4)), start=1):
        for block in range(BLOCKS["resnet101"][layer - 1]):
            key, step = f"layer{layer}.{block}", stride if block == 0 else 1
            y = norm(conv(x, f"{key}.conv1", stride=step), f"{key}.bn1").relu()
            y = norm(conv(y, f"{key}.conv2", dilation=dilation), f"{key}.bn2").relu()
            y = norm(conv(y, f"{key}.conv3"), f"{key}.bn3")
            if block == 0:
                x = norm(conv(x, f"{key}.downsample.0", stride=step), f"{key}.downsample.1")
            x = (x + y).relu()
        levels[x.shape[1]] = x
    logits = []
    for head, count in executed.items():
        features = levels[t[f"{head}.conv2d_list.0.weight"].shape[1]]
        parts = [
            conv(features, f"{head}.conv2d_list.{i}", dilation=6 * (i + 1)) for i in range(count)
        ]
        total = torch.stack(parts).sum(0)
        logits.append(
            F.interpolate(total, size=image.shape[-2:], mode="bilinear", align_corners=True)
        )
    return logits
