"""CLAN (Luo et al. 2019): the category-level adversarial network.

    min_G  L_seg(G(x_s), y_s) + lambda_weight * cos(w1, w2)
           + lambda_adv * E[(lambda_local * M + epsilon) * BCE(D(p_t), source)]
    min_D  1/2 BCE(D(p_s), source) + 1/2 E[(lambda_local * M + epsilon) * BCE(D(p_t), target)]

The weight discrepancy loss (Eq. 4) keeps the two classifiers different. Where they disagree on a
target pixel, M(p1, p2) is high: its class is poorly aligned, and the adversarial loss gets a larger
weight (Eq. 5). All else is TAN.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from clan.losses.alignment import Distance, alignment_map, weight_discrepancy
from clan.methods.contract import Progress
from clan.methods.tan import TAN, AdversarialOptions


class CLAN(TAN):
    """TAN plus the weight discrepancy loss and the self-adaptive adversarial weight."""

    class Options(AdversarialOptions):
        """Options of clan."""

        name: Literal["clan"] = "clan"
        """The method."""
        discriminator_upsampling: Literal["bilinear", "aligned"] = "bilinear"
        """Up-sampling of D's logits to the size of the alignment map: bilinear (paper), or aligned:
        with aligned corners (published code)."""
        lambda_weight: float = Field(0.01, ge=0)
        """Weight of the weight discrepancy loss (published code: twice the paper's 0.01)."""
        discrepancy_biases: bool = False
        """Take the classifiers' biases into the weight discrepancy too (published code)."""
        lambda_local: float = Field(40.0, ge=0)
        """Weight of the alignment map in the adversarial term."""
        epsilon: float = Field(0.4, ge=0)
        """Adversarial weight where the classifiers agree fully."""
        distance: Distance = "cosine"
        """Distance of the classifiers' predictions: cosine (paper), l1 or js."""
        detach_map: bool = True
        """Treat the map as a weight only; False lets G also learn to lower M (published code)."""
        weigh_discriminator: bool = True
        """Weight D's own target loss by the map too (Eq. 5); False: only G's."""
        preheat_steps: int = Field(0, ge=0)
        """Steps with TAN's uniform weight before the map is used (published code: 5001)."""

    options: Options
    least_classifiers = 2

    def source_loss(self, logits: tuple[Tensor, ...], label: Tensor, progress: Progress) -> Tensor:
        """L_seg + lambda_weight * L_weight."""
        first, second = self.segmenter.heads()
        w1, w2 = (
            h.parameters() if self.options.discrepancy_biases else h.filters()
            for h in (first, second)
        )
        discrepancy = weight_discrepancy(w1, w2)
        self.note(loss_weight=discrepancy)
        strength = self.options.lambda_weight * self.damping(progress)
        return super().source_loss(logits, label, progress) + strength * discrepancy

    def location_weight(self, logits: tuple[Tensor, ...], progress: Progress) -> Tensor | None:
        """lambda_local * M(p1, p2) + epsilon, once preheated."""
        with torch.set_grad_enabled(not self.options.detach_map):
            p1, p2 = (z.softmax(dim=1) for z in logits)
            m = alignment_map(p1, p2, self.options.distance)
        self.note_alignment(m.detach())
        if progress.step < self.options.preheat_steps:
            return None
        return self.options.lambda_local * m + self.options.epsilon

    def note_alignment(self, m: Tensor) -> None:
        """Note the mean and quantiles of the alignment map (N, 1, H, W)."""
        self.note(alignment=m.mean())
        # of every fourth pixel both ways: the map is smooth, and sorting all of them costs
        # made on the device: a tensor of a Python list is copied there, and waits for it
        levels = torch.arange(1, 10, 4, device=m.device) / 10
        q10, q50, q90 = torch.quantile(m[..., ::4, ::4].flatten(), levels)
        self.note(alignment_q10=q10, alignment_q50=q50, alignment_q90=q90)

    def discriminator_weight(self, weight: Tensor | None) -> Tensor | None:
        """The same weights as G's, or none."""
        return super().discriminator_weight(weight) if self.options.weigh_discriminator else None
