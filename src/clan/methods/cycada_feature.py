"""CyCADA's feature level (Hoffman et al. 2018): G learns from D only while D is accurate.

    min_G  L_seg(G(x_s), y_s) + [a > threshold] * lambda_adv * BCE(D(f_t), source)
    min_D  1/2 BCE(D(f_s), source) + 1/2 BCE(D(f_t), target)

f are the encoder's deepest features or the scores (logits). D classifies each location separately.
a is D's accuracy over the last ``window`` updates: a D that cannot tell the domains apart has no
useful gradient. The published code makes two optimizer steps for G, one against D and one on the
source; here G makes one step on the sum, as in the other methods. CyCADA's translation of source
images is not part of this method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.adversarial import adversarial_loss
from clan.methods.contract import Progress
from clan.methods.features import DiscriminatorInput, FeatureAdversary, FeatureOptions, deepest
from clan.models.discriminator import SOURCE
from clan.models.segmenter import Features, Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class CyCADAFeature(FeatureAdversary):
    """Adversarial alignment of features or scores, gated by D's accuracy."""

    class Options(FeatureOptions):
        """Options of cycada_feature."""

        name: Literal["cycada_feature"] = "cycada_feature"
        """The method."""
        lambda_adv: float = Field(0.1, ge=0)
        """Weight of the domain-adversarial term in G's loss; the published code has 0.1."""
        discriminate: Literal["features", "scores"] = "features"
        """What D reads: the encoder's deepest features, or the ensemble's logits."""
        threshold: float = Field(0.6, ge=0, lt=1)
        """D's accuracy above which G learns from it."""
        window: int = Field(100, ge=1)
        """Number of last updates over which D's accuracy is averaged."""

    options: Options
    accuracies: Tensor

    def __init__(self, segmenter: Segmenter, options: Options, optim: OptimOptions) -> None:
        of_features = options.discriminate == "features"
        channels = segmenter.encoder.channels[-1] if of_features else len(segmenter.classes)
        super().__init__(segmenter, options, optim, channels)
        self.register_buffer("accuracies", torch.zeros(options.window))

    def setup(self, fabric: Fabric) -> None:
        """Wrap G and D; move the accuracies to the device."""
        super().setup(fabric)
        self.accuracies = self.accuracies.to(fabric.device)

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Update G and D, then record D's accuracy."""
        gate = self.gate(progress)
        scalars = super().step(source, target, progress)
        accuracy = self.fabric.all_reduce(scalars["d_accuracy"], reduce_op="mean")
        self.accuracies[progress.step % self.options.window] = cast(Tensor, accuracy)
        return {**scalars, "gate": gate}

    def gate(self, progress: Progress) -> Tensor:
        """Return 1 if G learns from D at this step, else 0: a scalar that stays on the device."""
        known = min(progress.step, self.options.window)
        if known == 0:
            return self.accuracies.new_zeros(())
        return (self.accuracies[:known].mean() > self.options.threshold).float()

    def learn_source(self, batch: Batch, progress: Progress) -> DiscriminatorInput:
        """Backward of L_seg."""
        features = self.encode_batch("source", batch)
        logits = self.classify_batch(features, batch)
        loss = self.segmentation_loss(logits, batch["label"], "source")
        self.backward(loss)
        self.note(loss_seg=loss)
        return DiscriminatorInput(self._discriminator_input(features, logits).detach())

    def learn_target(self, batch: Batch, progress: Progress) -> DiscriminatorInput:
        """Backward of the adversarial loss, multiplied by the gate."""
        features = self.encode_batch("target", batch)
        of_scores = self.options.discriminate == "scores"
        logits = self.classify_batch(features, batch) if of_scores else ()
        x_t = self._discriminator_input(features, logits)
        loss = adversarial_loss(self.discriminate(x_t), SOURCE)
        strength = self.options.lambda_adv * self.strength(progress)
        self.backward(strength * self.gate(progress) * loss)
        self.note(loss_adv=loss)
        return DiscriminatorInput(x_t.detach())

    def _discriminator_input(self, features: Features, logits: tuple[Tensor, ...]) -> Tensor:
        """Return what D reads."""
        if self.options.discriminate == "features":
            return deepest(features)
        return self.segmenter.ensemble(logits)
