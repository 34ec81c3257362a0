"""Adversarial training on features: a discriminator that classifies every location of a map.

G learns from source labels and against D, whose parameters are frozen meanwhile; then D learns
from the detached features of both domains. Each method defines G's losses and D's input.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.adversarial import adversarial_loss
from clan.methods.contract import Method, MethodOptions, Progress, frozen
from clan.methods.stages import Stage, steps_left
from clan.models.discriminator import SOURCE, TARGET, FeatureDiscriminator
from clan.models.segmenter import Features, Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class FeatureOptions(MethodOptions):
    """Options shared by adversaries on features."""

    lambda_adv: float = Field(0.001, ge=0)
    """Weight of the domain-adversarial term in G's loss."""
    discriminator_width: int = Field(64, ge=4)
    """Channels between the two 1x1 convolutions of a domain classifier."""
    source_steps: int = Field(0, ge=0)
    """Number of first steps in which D learns and G learns from the source alone; the originals
    start from a network that is trained on the source."""

    def stages(self, steps: int) -> tuple[Stage, ...]:
        """Return one stage, if there is a step after those on the source."""
        steps_left(steps, self.source_steps, "source_steps")
        return super().stages(steps)


class DiscriminatorInput(NamedTuple):
    """D's input from one domain, detached."""

    x: Tensor
    """Features or scores, (N, channels, h, w)."""
    shares: Tensor | None = None
    """(N, C, h, w) share of each class in a location, for classifiers per class."""


class FeatureAdversary(Method):
    """The updates of G and D; subclasses define what G learns from each domain.

    Args:
        segmenter: G.
        options: of the method.
        optim: both players' optimizers.
        channels: channels of D's input.
        outputs: number of independent domain classifiers in D.
    """

    options: FeatureOptions
    family = "AT"

    def __init__(
        self,
        segmenter: Segmenter,
        options: FeatureOptions,
        optim: OptimOptions,
        channels: int,
        outputs: int = 1,
    ) -> None:
        super().__init__(segmenter, options, optim)
        width = options.discriminator_width
        self.discriminator = FeatureDiscriminator(channels, width, outputs)

    def setup(self, fabric: Fabric) -> None:
        """Wrap G and D with their optimizers."""
        super().setup(fabric)
        self.add_discriminator(self.discriminator)

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Update G on source labels and against D, then D on both domains."""
        self.start_update(progress)
        for source_part, target_part, last in self.micro_batches(source, target):
            # E may learn without the classifiers, whose gradients a wrapper would wait for: so
            # gradients are shared once, after all backwards
            with self.unsynchronised("segmenter", True):
                from_source = self.learn_source(source_part, progress)
                from_target = self.learn_target(target_part, progress)
            self.learn_domains(from_source, from_target, last)
        self.share_gradients("segmenter")
        return self.finish_update()

    @abstractmethod
    def learn_source(self, batch: Batch, progress: Progress) -> DiscriminatorInput:
        """Backward of G's loss on the source; return D's input from it."""

    @abstractmethod
    def learn_target(self, batch: Batch, progress: Progress) -> DiscriminatorInput:
        """Backward of G's loss on the target; return D's input from it."""

    def strength(self, progress: Progress) -> float:
        """Return the factor on all terms but L_seg: 0 in the first ``source_steps``, then 1."""
        return float(progress.step >= self.options.source_steps)

    def discriminate(self, x: Tensor) -> Tensor:
        """Return the logits of D (N, outputs, h, w), with gradients to ``x`` but none to D."""
        with frozen(self.discriminator), self.fabric.autocast():
            logits: Tensor = self.discriminator(x)
        return logits

    def domain_loss(self, logits: Tensor, label: float, shares: Tensor | None) -> Tensor:
        """Return the cross-entropy of D's logits against one domain's label."""
        return adversarial_loss(logits, label)

    def learn_domains(
        self, source: DiscriminatorInput, target: DiscriminatorInput, last: bool
    ) -> None:
        """Backward of D's loss, half for each domain."""
        with self.unsynchronised("discriminator", True):
            d_s = self.run_player("discriminator", source.x)
            loss_s = self.domain_loss(d_s, SOURCE, source.shares)
            self.backward(loss_s / 2)
        with self.unsynchronised("discriminator", not last):
            d_t = self.run_player("discriminator", target.x)
            loss_t = self.domain_loss(d_t, TARGET, target.shares)
            self.backward(loss_t / 2)
        self.note(loss_d_source=loss_s, loss_d_target=loss_t)
        # the first classifier is the one for all classes
        self.note_discriminator(d_s[:, 0].detach(), d_t[:, 0].detach())


def deepest(features: Features) -> Tensor:
    """Return the deepest map of an encoder, (N, F, h, w); of VGG16 it is fc7."""
    return features[-1]
