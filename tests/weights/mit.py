"""SegFormer's encoder and DAFormer's head in the published keys, and restated in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.weights.published import Maker

SIZES = {
    "mitb0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "mitb5": ((64, 128, 320, 512), (3, 6, 40, 3)),
}
HEADS, REDUCTIONS = (1, 2, 5, 8), (8, 4, 2, 1)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def state(size: str, classes: int = 19, seed: int = 0, head: bool = True) -> dict[str, Tensor]:
    """Return random tensors under the keys, and of the shapes, of a published network."""
    widths, depths = SIZES[size]
    maker = Maker(seed)
    inputs = 3
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        _conv(maker, f"backbone.patch_embed{stage}.proj", inputs, width, 7 if stage == 1 else 3)
        _norm(maker, f"backbone.patch_embed{stage}.norm", width)
        for block in range(depth):
            _block(maker, f"backbone.block{stage}.{block}", width, REDUCTIONS[stage - 1])
        _norm(maker, f"backbone.norm{stage}", width)
        inputs = width
    if head:
        _head(maker, widths, classes)
    return maker.tensors


def _conv(maker: Maker, key: str, inputs: int, outputs: int, kernel: int) -> None:
    maker.draw(f"{key}.weight", outputs, inputs, kernel, kernel, scale=(inputs * kernel**2) ** -0.5)
    maker.draw(f"{key}.bias", outputs, scale=0.1)


def _linear(maker: Maker, key: str, inputs: int, outputs: int) -> None:
    maker.draw(f"{key}.weight", outputs, inputs, scale=inputs**-0.5)
    maker.draw(f"{key}.bias", outputs, scale=0.1)


def _norm(maker: Maker, key: str, width: int) -> None:
    maker.draw(f"{key}.weight", width, scale=0.1)
    maker.tensors[f"{key}.weight"] += 1
    maker.draw(f"{key}.bias", width, scale=0.1)


def _block(maker: Maker, key: str, width: int, reduction: int) -> None:
    _norm(maker, f"{key}.norm1", width)
    _linear(maker, f"{key}.attn.q", width, width)
    _linear(maker, f"{key}.attn.kv", width, 2 * width)
    _linear(maker, f"{key}.attn.proj", width, width)
    if reduction > 1:
        _conv(maker, f"{key}.attn.sr", width, width, reduction)
        _norm(maker, f"{key}.attn.norm", width)
    _norm(maker, f"{key}.norm2", width)
    _linear(maker, f"{key}.mlp.fc1", width, 4 * width)
    maker.draw(f"{key}.mlp.dwconv.dwconv.weight", 4 * width, 1, 3, 3, scale=1 / 3)
    maker.draw(f"{key}.mlp.dwconv.dwconv.bias", 4 * width, scale=0.1)
    _linear(maker, f"{key}.mlp.fc2", 4 * width, width)


def _head(maker: Maker, widths: tuple[int, ...], classes: int) -> None:
    maker.conv("decode_head.conv_seg", 256, classes, 1, bias=True)
    for index, width in enumerate(widths):
        _linear(maker, f"decode_head.embed_layers.{index}.proj", width, 256)
    fuse = "decode_head.fuse_layer"
    maker.conv(f"{fuse}.aspp_modules.0.conv", 1024, 256, 1)
    maker.norm(f"{fuse}.aspp_modules.0.bn", 256)
    for branch in (1, 2, 3):
        key = f"{fuse}.aspp_modules.{branch}"
        maker.draw(f"{key}.depthwise_conv.conv.weight", 1024, 1, 3, 3, scale=1 / 3)
        maker.norm(f"{key}.depthwise_conv.bn", 1024)
        maker.conv(f"{key}.pointwise_conv.conv", 1024, 256, 1)
        maker.norm(f"{key}.pointwise_conv.bn", 256)
    maker.conv(f"{fuse}.bottleneck.conv", 1024, 256, 3)
    maker.norm(f"{fuse}.bottleneck.bn", 256)


def checkpoint(size: str) -> dict[str, dict[str, Tensor]]:
    """Return a checkpoint as DAFormer's training writes it: of three networks."""
    parts = {
        "model.": state(size),
        "ema_model.": state(size, seed=1),
        "imnet_model.": state(size, seed=2),
    }
    tensors = {prefix + k: t for prefix, part in parts.items() for k, t in part.items()}
    return {"state_dict": tensors}


class Plain:
    """The published network, one function after the other, in float64 and evaluation mode."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.t = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}

    def logits(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W) uint8 RGB to logits (N, C, H, W)."""
        mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
        maps = self.maps((image.double() - mean) / std)
        return F.interpolate(
            self.head(maps), image.shape[-2:], mode="bilinear", align_corners=False
        )

    def linear(self, key: str, x: Tensor) -> Tensor:
        return F.linear(x, self.t[f"{key}.weight"], self.t[f"{key}.bias"])

    def norm(self, key: str, x: Tensor, eps: float) -> Tensor:
        weight = self.t[f"{key}.weight"]
        return F.layer_norm(x, weight.shape, weight, self.t[f"{key}.bias"], eps)

    def maps(self, x: Tensor) -> list[Tensor]:
        found = []
        for stage in range(1, 5):
            kernel, stride = (7, 4) if stage == 1 else (3, 2)
            key = f"backbone.patch_embed{stage}"
            x = F.conv2d(
                x, self.t[f"{key}.proj.weight"], self.t[f"{key}.proj.bias"], stride, kernel // 2
            )
            size = x.shape[-2:]
            tokens = self.norm(f"{key}.norm", x.flatten(2).transpose(1, 2), 1e-5)
            block = 0
            while f"backbone.block{stage}.{block}.norm1.weight" in self.t:
                tokens = self.block(f"backbone.block{stage}.{block}", tokens, size, stage - 1)
                block += 1
            tokens = self.norm(f"backbone.norm{stage}", tokens, 1e-6)
            x = tokens.transpose(1, 2).reshape(len(x), -1, *size)
            found.append(x)
        return found

    def block(self, key: str, x: Tensor, size: torch.Size, stage: int) -> Tensor:
        x = x + self.attention(f"{key}.attn", self.norm(f"{key}.norm1", x, 1e-6), size, stage)
        hidden = self.linear(f"{key}.mlp.fc1", self.norm(f"{key}.norm2", x, 1e-6))
        laid = hidden.transpose(1, 2).reshape(len(x), -1, *size)
        deep = f"{key}.mlp.dwconv.dwconv"
        laid = F.conv2d(
            laid, self.t[f"{deep}.weight"], self.t[f"{deep}.bias"], padding=1, groups=laid.shape[1]
        )
        return x + self.linear(f"{key}.mlp.fc2", F.gelu(laid.flatten(2).transpose(1, 2)))

    def attention(self, key: str, x: Tensor, size: torch.Size, stage: int) -> Tensor:
        n, _, channels = x.shape
        heads, each = HEADS[stage], channels // HEADS[stage]
        q = self.linear(f"{key}.q", x).view(n, -1, heads, each).transpose(1, 2)
        if f"{key}.sr.weight" in self.t:
            laid = x.transpose(1, 2).reshape(n, channels, *size)
            laid = F.conv2d(
                laid, self.t[f"{key}.sr.weight"], self.t[f"{key}.sr.bias"], stride=REDUCTIONS[stage]
            )
            x = self.norm(f"{key}.norm", laid.flatten(2).transpose(1, 2), 1e-5)
        kv = self.linear(f"{key}.kv", x).view(n, -1, 2, heads, each).permute(2, 0, 3, 1, 4)
        shares = (q @ kv[0].transpose(-1, -2) / each**0.5).softmax(dim=-1)
        return self.linear(f"{key}.proj", (shares @ kv[1]).transpose(1, 2).reshape(n, -1, channels))

    def conv_bn_relu(self, key: str, x: Tensor, rate: int = 1, groups: int = 1) -> Tensor:
        weight = self.t[f"{key}.conv.weight"]
        padding = rate * (weight.shape[-1] // 2)
        x = F.conv2d(x, weight, padding=padding, dilation=rate, groups=groups)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(self.t[f"{key}.bn.{name}"] for name in names)))

    def head(self, maps: list[Tensor]) -> Tensor:
        embedded = []
        for index, each in enumerate(maps):
            tokens = self.linear(
                f"decode_head.embed_layers.{index}.proj", each.flatten(2).transpose(1, 2)
            )
            laid = tokens.transpose(1, 2).reshape(len(each), 256, *each.shape[-2:])
            embedded.append(
                F.interpolate(laid, maps[0].shape[-2:], mode="bilinear", align_corners=False)
            )
        joined = torch.cat(embedded, dim=1)
        fuse = "decode_head.fuse_layer"
        branches = [self.conv_bn_relu(f"{fuse}.aspp_modules.0", joined)]
        for branch, rate in ((1, 6), (2, 12), (3, 18)):
            key = f"{fuse}.aspp_modules.{branch}"
            deep = self.conv_bn_relu(f"{key}.depthwise_conv", joined, rate, 1024)
            branches.append(self.conv_bn_relu(f"{key}.pointwise_conv", deep))
        shared = self.conv_bn_relu(f"{fuse}.bottleneck", torch.cat(branches, dim=1))
        key = "decode_head.conv_seg"
        return F.conv2d(shared, self.t[f"{key}.weight"], self.t[f"{key}.bias"])
