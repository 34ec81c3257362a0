"""DeepLab-v2's classifier: a pyramid of dilated convolutions on the deepest map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.models.decoders.contract import Classifier, Decoder, DecoderOptions, DecoderSpec
from clan.models.encoders.contract import FeatureMap

MERGED_WIDTH = 256
"""Channels of the features from which on a CPU trains faster with `one_product` (measured: 4.3
times at 2048, 1.5 at 256, 0.95 at 128, with 19 classes and four branches)."""


class ASPP(Classifier):
    """DeepLab-v2's atrous spatial pyramid (Chen et al. 2018): the sum of dilated 3x3 convolutions.

    No batch norm and no global pooling. The paper has four branches (rates 6, 12, 18, 24). The
    published code of TAN returns inside its loop, so it sums only two (6, 12).

    Args:
        inputs: channels of the features.
        classes: channels of the logits.
        rates: one dilation per branch.
        align_corners: whether the bilinear interpolation to the image's size aligns corners.
    """

    def __init__(
        self, inputs: int, classes: int, rates: Sequence[int], align_corners: bool = True
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        branches = [nn.Conv2d(inputs, classes, 3, padding=r, dilation=r) for r in rates]
        for conv in branches:
            nn.init.normal_(conv.weight, std=0.01)
        # the published codes' name, so that their checkpoints fit
        self.conv2d_list = nn.ModuleList(branches)

    def filters(self) -> list[Tensor]:
        """Return the convolutions' weights, without biases: w of the paper's Eq. 4."""
        return [conv.get_parameter("weight") for conv in self.conv2d_list]

    def forward(self, features: list[Tensor], size: torch.Size) -> Tensor:
        """Map the last map (N, inputs, h, w) to logits (N, classes, H, W) float32 at ``size``."""
        deepest = features[-1]
        # on a GPU the branches stay until `benchmarks/speed` has timed both there
        learning = torch.is_grad_enabled() and not deepest.is_cuda
        merged = learning and deepest.shape[1] >= MERGED_WIDTH
        logits = (one_product if merged else branches)(deepest, self.conv2d_list)
        # float32 from here on: half precision is too coarse for up-sampling, softmax and losses
        return F.interpolate(
            logits.float(), size=size, mode="bilinear", align_corners=self.align_corners
        )


def branches(x: Tensor, convs: nn.ModuleList) -> Tensor:
    """Return the sum of dilated 3x3 convolutions of x (N, F, h, w), one after the other."""
    first, *others = convs
    total: Tensor = first(x)
    for conv in others:
        total = total + conv(x)
    return total


def one_product(x: Tensor, convs: nn.ModuleList) -> Tensor:
    """Return the same sum from one matrix product for all taps of all convolutions, float32.

    Each tap of a 3x3 kernel is a 1x1 convolution whose result is shifted and added. A product with
    ``9 * branches * classes`` outputs runs at the speed of a large one, forwards and backwards;
    a convolution of few outputs does not, least of all in its gradients. The sums differ from those
    of `branches` by rounding alone (2e-6 of their length).
    """
    layers = [cast(nn.Conv2d, conv) for conv in convs]
    # `fold` adds the tap that lies before a pixel to it from behind: kernels are turned around
    taps = torch.stack([conv.weight for conv in layers]).flip(3, 4).permute(0, 1, 3, 4, 2)
    products = F.conv2d(x, taps.reshape(-1, x.shape[1], 1, 1)).float()
    products = products.view(len(x), len(layers), -1, x.shape[-2] * x.shape[-1])
    total = (
        torch.stack([conv.get_parameter("bias") for conv in layers]).sum(dim=0).view(1, -1, 1, 1)
    )
    for index, conv in enumerate(layers):
        rate = conv.dilation[0]
        shifted = F.fold(products[:, index], x.shape[-2:], 3, dilation=rate, padding=rate)
        total = total + shifted
    return total


class DeepLab(Decoder):
    """A decoder without a shared part: each classifier is a pyramid."""

    def __init__(self, options: DecoderOptions, maps: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        self._make = (maps[-1].channels, classes, options.aspp_rates, options.align_corners)

    def classifier(self) -> ASPP:
        """Make one pyramid."""
        return ASPP(*self._make)


SPEC = DecoderSpec(DeepLab, frozenset({"aspp_rates", "align_corners"}))
