"""Source only: the lower bound for every adaptation.

    min_G  L_seg(G(x_s), y_s)

The target is never used, not even for batch statistics. The oracle is the same method, trained on
target labels.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from clan.data.loading import Batch
from clan.methods.contract import Method, MethodOptions, Progress


class SourceOnly(Method):
    """Segmentation loss on source images, nothing else."""

    class Options(MethodOptions):
        """Options of source_only."""

        name: Literal["source_only"] = "source_only"
        """The method."""
        batch_norm: Literal["frozen", "source"] = "source"
        """frozen, or source; for target statistics use the method adabn."""

    uses_target = False

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Learn from the labelled source batch."""
        self.start_update(progress)
        for batch, _, last in self.micro_batches(source, target):
            with self.unsynchronised("segmenter", not last):
                logits = self.forward_batch("source", batch)
                loss = self.segmentation_loss(logits, batch["label"], "source")
                self.backward(loss)
            self.note(loss_seg=loss)
        return self.finish_update()
