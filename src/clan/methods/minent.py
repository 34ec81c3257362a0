"""MinEnt (Vu et al. 2019, "ADVENT"): direct entropy minimisation on the target.

    min_G  L_seg(G(x_s), y_s) + lambda_ent * mean[H(p_t)]

H(p) = -sum_c p_c log p_c / log C is the normalised entropy of a pixel's (ensemble) prediction.
Predictions on source-like images have low entropy, so the loss asks for low entropy on the target.
Its gradient is largest for pixels that are already fairly certain, right or wrong; this limits the
method.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.entropy import entropy_loss
from clan.methods.contract import Method, MethodOptions, Progress


class MinEnt(Method):
    """Segmentation loss on the source, entropy loss on the target."""

    class Options(MethodOptions):
        """Options of minent."""

        name: Literal["minent"] = "minent"
        """The method."""
        lambda_ent: float = Field(0.001, ge=0)
        """Weight of the target's entropy; the paper has 0.001."""

    options: Options
    # the entropy loss is cross-entropy with the prediction itself as a soft label
    family = "ST"

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Learn from source labels and from the target's entropy."""
        self.start_update(progress)
        weight = self.entropy_weight(progress)
        for source_part, target_part, last in self.micro_batches(source, target):
            # the target's backward shares the sum of both gradients
            with self.unsynchronised("segmenter", True):
                logits = self.forward_batch("source", source_part)
                loss = self.segmentation_loss(logits, source_part["label"], "source")
                self.backward(loss)
            with self.unsynchronised("segmenter", not last):
                logits = self.forward_batch("target", target_part)
                entropy = self.target_entropy(self.segmenter.ensemble(logits).softmax(dim=1))
                self.backward(weight * entropy)
            self.note(loss_seg=loss, entropy=entropy)
        return self.finish_update()

    def entropy_weight(self, progress: Progress) -> float:
        """Return the weight of the target's entropy at a step."""
        return self.options.lambda_ent

    def target_entropy(self, p: Tensor) -> Tensor:
        """Return the entropy loss of predictions p (N, C, H, W), a scalar."""
        return entropy_loss(p)
