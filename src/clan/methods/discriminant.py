"""A second opinion on pseudo-labels: a linear discriminant of a pretrained encoder's features.

A network that learnt from renderings errs in the same way on all photographs: what it calls a tree
is textured, and so are house fronts. The encoder that it began with has not seen a rendering; it
tells house fronts from trees, but knows no class. A discriminant of its features, fitted to the
network's predictions of the target, gives the two groups their names, since most predictions are
right, and so corrects the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from clan.losses.discriminant import Discriminant, Sums, cells, fit, log_posterior, sums
from clan.methods.contract import MethodOptions
from clan.methods.stages import StageDomains
from clan.models.encoders.table import build_encoder
from clan.models.segmenter import Segmenter

if TYPE_CHECKING:
    from lightning.fabric import Fabric

SHARPNESS = 2.0
"""Exponent of the predictions that the discriminant is fitted to: between soft and hard labels."""


class SecondOpinionOptions(MethodOptions):
    """Options of methods that ask for a second opinion on their pseudo-labels."""

    discriminant: float = Field(0.0, ge=0)
    """Exponent of the posterior of a linear discriminant of a pretrained encoder's features,
    which scales the confidence of pseudo-labels; 0 turns it off."""
    discriminant_zoom: float = Field(1.0, ge=1)
    """How much images are enlarged for that encoder, which learnt from photographs that one thing
    fills; its passes cost the square of this."""
    pretrained: str = ""
    """Weights of that encoder, as ``weights`` takes them with ``weights_for: encoder``. It
    should not have seen the source."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        """Refuse one of the two without the other."""
        if bool(self.discriminant) != bool(self.pretrained):
            raise ValueError(
                f"discriminant {self.discriminant:g} and pretrained {self.pretrained!r} have "
                "an effect only together: give method.pretrained the weights of an encoder "
                "and method.discriminant a value such as 1, or leave both out"
            )
        if self.discriminant_zoom != 1 and not self.discriminant:
            raise ValueError(
                f"discriminant_zoom {self.discriminant_zoom:g} has no effect without a "
                "discriminant: set method.discriminant and method.pretrained, or leave it at 1"
            )
        return self

    @property
    def pretrained_weights(self) -> str:
        """Weights of the discriminant's encoder."""
        return self.pretrained


class FeatureDiscriminant(nn.Module):
    """The pretrained encoder, frozen, and the discriminant of its features.

    Args:
        segmenter: the network, whose encoder's architecture and normalisation it shares.
        options: give its weight and how much images are enlarged.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, segmenter: Segmenter, options: SecondOpinionOptions) -> None:
        super().__init__()
        self.power, self.zoom = options.discriminant, options.discriminant_zoom
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
            features = self._features(normalised(image))
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

    def refine(self, q: Tensor, normalised: Tensor) -> Tensor:
        """Return q times p(c | x)^discriminant, scaled so that the sum over classes stays the same.

        Args:
            q: confidences (N, C, H, W), at least 0.
            normalised: the images as the encoder's input, (N, 3, H, W).
        """
        features = self._features(normalised)
        log_p = log_posterior(Discriminant(self.weight, self.bias), features)
        log_p = F.interpolate(log_p, size=q.shape[-2:], mode="bilinear", align_corners=False)
        joint = (q.clamp(min=1e-12).log() + self.power * log_p).softmax(dim=1)
        return joint * q.sum(dim=1, keepdim=True)

    def _features(self, normalised: Tensor) -> Tensor:
        """Return what the encoder sees in enlarged images, (N, D, h, w) on the grid of `cells`."""
        if self.zoom != 1:
            normalised = F.interpolate(
                normalised, scale_factor=self.zoom, mode="bilinear", align_corners=False
            )
        return cells(self.encoder(normalised), normalised)
