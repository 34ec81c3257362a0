"""FDA (Yang and Soatto 2020): Fourier style on the source, robust entropy on the target.

    min_G  L_seg(G(x_s->t), y_s) + lambda_ent * mean[(H(p_t)^2 + 1e-8)^eta]

x_s->t is a source image with a target image's low-frequency amplitudes; any method can use it, by
``data.source_view.fourier``. The entropy is added after `entropy_from` steps, when predictions have
become useful.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.entropy import robust_entropy_loss
from clan.methods.contract import Method, MethodOptions, Progress


class FDA(Method):
    """Segmentation loss on stylised source images, robust entropy on the target."""

    class Options(MethodOptions):
        """Options of fda."""

        name: Literal["fda"] = "fda"
        """The method."""
        lambda_ent: float = Field(0.005, ge=0)
        """Weight of the target's robust entropy; the published code has 0.005."""
        eta: float = Field(2.0, gt=0)
        """Exponent of the squared entropy; the published code has 2."""
        entropy_from: int = Field(0, ge=0)
        """Steps before the entropy is added; the published code has 50,000 of 150,000."""

    options: Options
    family = "ST"

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Learn from source labels and from the target's entropy."""
        self.start_update(progress)
        weight = self.options.lambda_ent if progress.step >= self.options.entropy_from else 0.0
        for source_part, target_part, last in self.micro_batches(source, target):
            # the target's backward shares the sum of both gradients
            with self.unsynchronised("segmenter", True):
                logits = self.forward_batch("source", source_part)
                loss = self.segmentation_loss(logits, source_part["label"], "source")
                self.backward(loss)
            with self.unsynchronised("segmenter", not last):
                logits = self.forward_batch("target", target_part)
                p = self.segmenter.ensemble(logits).softmax(dim=1)
                entropy = robust_entropy_loss(p, self.options.eta)
                self.backward(weight * entropy)
            self.note(loss_seg=loss, entropy=entropy)
        return self.finish_update()
