"""TAN, the traditional adversarial network: AdaptSegNet (Tsai et al. 2018), single level.

    min_G  L_seg(G(x_s), y_s) + lambda_adv * BCE(D(p_t), source)
    min_D  1/2 BCE(D(p_s), source) + 1/2 BCE(D(p_t), target)

p is the softmax of G's (ensemble) logits. Every location of the target has the same weight;
`clan.methods.clan` changes only that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.adversarial import adversarial_loss
from clan.methods.contract import Method, MethodOptions, Progress, frozen
from clan.methods.gradients import GradientNorm, share
from clan.models.discriminator import SMALLEST_INPUT, SOURCE, TARGET, Discriminator, Upsampling
from clan.models.segmenter import Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class AdversarialOptions(MethodOptions):
    """Options shared by adversarial methods."""

    lambda_adv: float = Field(0.001, ge=0)
    """Weight of the adversarial term in G's loss."""
    damping: bool = False
    """Fade lambda_adv, and clan's lambda_weight, linearly to 0 over the training (published code of
    CLAN)."""
    discriminator_width: int = Field(64, ge=4)
    """Channels after D's first convolution; the paper has 64."""
    discriminator_factor: float = Field(0.5, gt=0)
    """Factor on each domain's term of D's loss: 1/2 (published code of TAN) or 1 (CLAN's paper and
    code)."""
    discriminator_upsampling: Upsampling = "bilinear"
    """Up-sampling of D's logits to its input's size. bilinear (paper); aligned: with aligned
    corners (published code of CLAN); none: one logit per patch (published code of TAN)."""


class TAN(Method):
    """Adversarial alignment of the two domains' predictions, equal weight everywhere."""

    class Options(AdversarialOptions):
        """Options of tan."""

        name: Literal["tan"] = "tan"
        """The method."""

    options: AdversarialOptions
    family = "AT"
    least_side = SMALLEST_INPUT

    def __init__(
        self, segmenter: Segmenter, options: AdversarialOptions, optim: OptimOptions
    ) -> None:
        super().__init__(segmenter, options, optim)
        self.discriminator = Discriminator(
            len(segmenter.classes), options.discriminator_width, options.discriminator_upsampling
        )

    def setup(self, fabric: Fabric) -> None:
        """Wrap G and D with their optimizers."""
        super().setup(fabric)
        self.add_discriminator(self.discriminator)

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Update G on source labels and against D, then D on both domains' predictions."""
        self.start_update(progress)
        for source_part, target_part, last in self.micro_batches(source, target):
            with GradientNorm(self.segmenter) as from_source:
                p_s = self.learn_source(source_part, progress)
            with GradientNorm(self.segmenter) as from_adversary:
                p_t, weight = self.fool_discriminator(target_part, progress, last)
            self.note(adv_share=share(from_adversary.value, from_source.value))
            self.learn_domains(p_s, p_t, weight, last)
        return self.finish_update()

    def source_loss(self, logits: tuple[Tensor, ...], label: Tensor, progress: Progress) -> Tensor:
        """G's loss on a source batch: L_seg."""
        loss = self.segmentation_loss(logits, label, "source")
        self.note(loss_seg=loss)
        return loss

    def location_weight(self, logits: tuple[Tensor, ...], progress: Progress) -> Tensor | None:
        """Weight (N, 1, H, W) of each target location in the adversarial terms; None = 1."""
        return None

    def discriminator_weight(self, weight: Tensor | None) -> Tensor | None:
        """Weight of each target location in D's own loss, given that in G's."""
        return None if weight is None else weight.detach()

    def discriminator_input(self, p: Tensor) -> Tensor:
        """Return D's input for a softmax map p (N, C, H, W): p itself."""
        return p

    def damping(self, progress: Progress) -> float:
        """Return the factor on the adversarial weights at this step."""
        return progress.remaining if self.options.damping else 1.0

    def learn_source(self, batch: Batch, progress: Progress) -> Tensor:
        """Backward of G's source loss; returns p_s (N, C, H, W), detached."""
        # the target's backward follows and shares the sum of both gradients
        with self.unsynchronised("segmenter", True):
            logits = self.forward_batch("source", batch)
            self.backward(self.source_loss(logits, batch["label"], progress))
        return self.segmenter.ensemble(logits).detach().softmax(dim=1)

    def fool_discriminator(
        self, batch: Batch, progress: Progress, last: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Backward of G's adversarial loss; returns p_t and D's location weights, detached."""
        with self.unsynchronised("segmenter", not last):
            logits = self.forward_batch("target", batch)
            weight = self.location_weight(logits, progress)
            p_t = self.segmenter.ensemble(logits).softmax(dim=1)
            # D without its wrapper, which would wait for gradients that a frozen network never gets
            with frozen(self.discriminator), self.fabric.autocast():
                domain = self.discriminator(self.discriminator_input(p_t))
            loss = adversarial_loss(domain, SOURCE, weight)
            self.backward(self.options.lambda_adv * self.damping(progress) * loss)
        self.note(loss_adv=loss)
        return p_t.detach(), self.discriminator_weight(weight)

    def learn_domains(self, p_s: Tensor, p_t: Tensor, weight: Tensor | None, last: bool) -> None:
        """Backward of D's loss on detached predictions of both domains."""
        factor = self.options.discriminator_factor
        with self.unsynchronised("discriminator", True):
            d_s = self.run_player("discriminator", self.discriminator_input(p_s))
            loss_s = adversarial_loss(d_s, SOURCE)
            self.backward(factor * loss_s)
        with self.unsynchronised("discriminator", not last):
            d_t = self.run_player("discriminator", self.discriminator_input(p_t))
            loss_t = adversarial_loss(d_t, TARGET, weight)
            self.backward(factor * loss_t)
        self.note(loss_d_source=loss_s, loss_d_target=loss_t)
        self.note_discriminator(d_s.detach(), d_t.detach())
