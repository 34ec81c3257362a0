"""DeepLab-v2's classifier: a pyramid of dilated convolutions on the deepest map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.models.decoders.contract import Classifier, Decoder, DecoderOptions, DecoderSpec
from clan.models.encoders.contract import FeatureMap


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
        first, *others = self.conv2d_list
        logits: Tensor = first(deepest)
        for conv in others:
            logits = logits + conv(deepest)
        # float32 from here on: half precision is too coarse for up-sampling, softmax and losses
        return F.interpolate(
            logits.float(), size=size, mode="bilinear", align_corners=self.align_corners
        )


class DeepLab(Decoder):
    """A decoder without a shared part: each classifier is a pyramid."""

    def __init__(self, options: DecoderOptions, maps: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        self._make = (maps[-1].channels, classes, options.aspp_rates, options.align_corners)

    def classifier(self) -> ASPP:
        """Make one pyramid."""
        return ASPP(*self._make)


SPEC = DecoderSpec(DeepLab, frozenset({"aspp_rates", "align_corners"}))
