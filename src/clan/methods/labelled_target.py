"""The update of methods that learn from the source first, then also from target pseudo-labels."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from clan.data.loading import Batch
from clan.methods.contract import Method, Progress

SOURCE_STAGE = "source"


class LabelledTarget(Method):
    """Source and target loss in one update; the target's only if its batch has labels."""

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Learn from source labels and, after the first stage, from target pseudo-labels."""
        self.start_update(progress)
        labelled = "label" in target
        for source_part, target_part, last in self.micro_batches(source, target):
            # with target labels, the target's backward shares the sum of both gradients
            with self.unsynchronised("segmenter", labelled or not last):
                logits = self.forward_batch("source", source_part)
                loss = self.segmentation_loss(logits, source_part["label"], "source")
                self.backward(loss)
            self.note(loss_seg=loss)
            if labelled:
                with self.unsynchronised("segmenter", not last):
                    self.learn_target(target_part)
            else:
                self._show_target(target_part)
        return self.finish_update()

    @abstractmethod
    def learn_target(self, batch: Batch) -> None:
        """Backward of the target's loss."""

    def _show_target(self, batch: Batch) -> None:
        """Run the target through G for its batch statistics, without a loss."""
        with torch.no_grad():
            self.forward_batch("target", batch)
