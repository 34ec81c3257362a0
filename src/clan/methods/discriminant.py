"""A second opinion on pseudo-labels: a linear discriminant of a pretrained encoder's features.

A network that learnt from renderings errs in the same way on all photographs: what it calls a tree
is textured, and so are house fronts. The encoder that it began with has not seen a rendering; it
tells house fronts from trees, but knows no class. A discriminant of its features, fitted to the
network's predictions of the target, gives the two groups their names, since most predictions are
right, and so corrects the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.losses.discriminant import Discriminant, Sums, cells, fit, log_posterior, sums
from clan.methods.stages import StageDomains
from clan.models.encoders.table import build_encoder
from clan.models.segmenter import Segmenter

if TYPE_CHECKING:
    from lightning.fabric import Fabric

SHARPNESS = 2.0
"""Exponent of the predictions that the discriminant is fitted to: between soft and hard labels."""


class FeatureDiscriminant(nn.Module):
    """The pretrained encoder, frozen, and the discriminant of its features.

    Args:
        segmenter: the network, whose encoder's architecture and normalisation it shares.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.encoder = build_encoder(segmenter.options)
        self.encoder.requires_grad_(False)
        C, D = len(segmenter.classes), sum(self.encoder.channels)
        self.register_buffer("weight", torch.zeros(C, D))
        self.register_buffer("bias", torch.zeros(C))
        self.train(False)

    def train(self, mode: bool = True) -> FeatureDiscriminant:
        """Stay in evaluation mode: the encoder's batch statistics are those it was trained with."""
        return super().train(False)

    def fit(
        self,
        domains: StageDomains,
        normalised: Callable[[Tensor], Tensor],
        confidence: Callable[[Tensor], Tensor],
        fabric: Fabric,
    ) -> None:
        """Fit to the predictions of all target images, over all processes.

        Args:
            domains: of a stage.
            normalised: from images to the encoder's input.
            confidence: from images to (N, C, H, W), at least 0.
            fabric: gives device and processes.
        """
        C, D = self.weight.shape
        sizes = ((C,), (C, D), (D, D))
        total = [torch.zeros(size, dtype=torch.float64, device=fabric.device) for size in sizes]
        for batch in domains.target():
            image = batch["image"]
            features = cells(self.encoder(normalised(image)), image)
            grid = (features.shape[-2], features.shape[-1])
            p = F.adaptive_avg_pool2d(confidence(image), grid)
            sharp = p.clamp(min=1e-12) ** SHARPNESS
            labels = sharp / sharp.sum(dim=1, keepdim=True)
            for kept, new in zip(total, sums(features, labels), strict=True):
                kept += new
        reduced = [cast(Tensor, fabric.all_reduce(each, reduce_op="sum")) for each in total]
        found = fit(Sums(*reduced))
        self.weight.copy_(found.weight)
        self.bias.copy_(found.bias)

    def refine(self, q: Tensor, image: Tensor, normalised: Tensor, power: float) -> Tensor:
        """Return q times p(c | x)^power, scaled so that the sum over classes stays the same.

        Args:
            q: confidences (N, C, H, W), at least 0.
            image: (N, 3, H, W).
            normalised: the same as the encoder's input.
            power: weight of the discriminant, above 0.
        """
        features = cells(self.encoder(normalised), image)
        log_p = log_posterior(Discriminant(self.weight, self.bias), features)
        log_p = F.interpolate(log_p, size=q.shape[-2:], mode="bilinear", align_corners=False)
        joint = (q.clamp(min=1e-12).log() + power * log_p).softmax(dim=1)
        return joint * q.sum(dim=1, keepdim=True)
