"""Cross-city, "no more discrimination" (Chen et al. 2017): one domain classifier per class.

    min_G  L_seg(G(x_s), y_s) + lambda_adv * BCE(D_0(f_t), source)
           + lambda_class * sum_c mean_n[S_c(n) * BCE(D_c(f_t(n)), source)]
    min_D  1/2 for each domain of
           BCE(D_0(f), domain) + sum_c mean_n[S_c(n) * BCE(D_c(f(n)), domain)]

f are the encoder's deepest features, n the cells of their grid. S_c(n) is the share of class c in
the cell's pixels: from labels in the source, from G's prediction in the target (a soft
pseudo-label). D_0 aligns the whole domains, each D_c one class. CLAN instead aligns classes with
one discriminator and a weight per pixel.

Choices that differ from the paper, or that it leaves open: G learns against D on the target only,
as in the other methods here; pseudo-labels come from the present G, not from a network trained on
the source beforehand (see ``source_steps``); each classifier is two 1x1 convolutions. The priors of
static objects are left out, as they need several views of one place over time.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.adversarial import adversarial_loss
from clan.losses.shares import cell_shares
from clan.methods.contract import Progress
from clan.methods.features import DiscriminatorInput, FeatureAdversary, FeatureOptions, deepest
from clan.models.discriminator import SOURCE
from clan.models.segmenter import Segmenter
from clan.optim.options import OptimOptions


class CrossCity(FeatureAdversary):
    """A global adversary, and one per class on the grid cells that hold the class."""

    class Options(FeatureOptions):
        """Options of cross_city."""

        name: Literal["cross_city"] = "cross_city"
        """The method."""
        lambda_class: float = Field(0.001, ge=0)
        """Weight of the classes' adversarial terms in G's loss; the paper's is not published."""

    options: Options

    def __init__(self, segmenter: Segmenter, options: Options, optim: OptimOptions) -> None:
        channels, outputs = segmenter.encoder.channels[-1], 1 + len(segmenter.classes)
        super().__init__(segmenter, options, optim, channels, outputs)

    def learn_source(self, batch: Batch, progress: Progress) -> DiscriminatorInput:
        """Backward of L_seg; the cells' classes are those of the labels."""
        features = self.encode_batch("source", batch)
        logits = self.classify_batch(features, batch)
        loss = self.segmentation_loss(logits, batch["label"], "source")
        self.backward(loss)
        self.note(loss_seg=loss)
        f_s = deepest(features).detach()
        return DiscriminatorInput(f_s, self._shares(batch["label"], f_s, batch["image"]))

    def learn_target(self, batch: Batch, progress: Progress) -> DiscriminatorInput:
        """Backward of both adversarial losses; the cells' classes are those predicted."""
        features = self.encode_batch("target", batch)
        with torch.no_grad():
            logits = self.segmenter.ensemble(self.classify_batch(features, batch))
        f_t = deepest(features)
        shares = self._shares(logits.argmax(dim=1), f_t, batch["image"])
        d_t = self.discriminate(f_t)
        overall = adversarial_loss(d_t[:, :1], SOURCE)
        by_class = self.class_loss(d_t, SOURCE, shares)
        loss = self.options.lambda_adv * overall + self.options.lambda_class * by_class
        self.backward(self.strength(progress) * loss)
        self.note(loss_adv=overall, loss_adv_class=by_class)
        return DiscriminatorInput(f_t.detach(), shares)

    def domain_loss(self, logits: Tensor, label: float, shares: Tensor | None) -> Tensor:
        """Return D's loss on one domain: D_0's plus those of all D_c, weighted by S_c."""
        assert shares is not None, "learn_source and learn_target return class shares"
        return adversarial_loss(logits[:, :1], label) + self.class_loss(logits, label, shares)

    def class_loss(self, logits: Tensor, label: float, shares: Tensor) -> Tensor:
        """Return sum_c mean_n[S_c(n) * BCE(D_c(n), label)] of logits (N, 1 + C, h, w)."""
        return shares.shape[1] * adversarial_loss(logits[:, 1:], label, shares)

    def _shares(self, label: Tensor, features: Tensor, image: Tensor) -> Tensor:
        grid = (features.shape[-2], features.shape[-1])
        places = self.segmenter.label_places(label, grid, image)
        return cell_shares(label, len(self.segmenter.classes), grid, places)
