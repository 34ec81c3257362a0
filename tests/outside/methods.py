"""A method of another package: source_only, and the mean prediction kept near uniform."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

import clan
from clan.losses.pseudo_labels import class_diversity
from clan.methods import Progress
from clan.methods.source_only import SourceOnly


class Diverse(SourceOnly):
    """Learns from the source, and asks for diverse predictions on the target."""

    class Options(clan.MethodOptions):
        """Options of diverse."""

        name: Literal["diverse"] = "diverse"
        """The method."""
        lambda_diverse: float = Field(0.1, ge=0)
        """Weight of the diversity of the target's classes."""

    options: Options  # type: ignore[assignment]
    uses_target = True

    def step(self, source, target, progress: Progress) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
        """Learn from both domains at once."""
        self.start_update(progress)
        for source_part, target_part, last in self.micro_batches(source, target):
            with self.unsynchronised("segmenter", True):
                logits = self.forward_batch("source", source_part)
                loss = self.segmentation_loss(logits, source_part["label"], "source")
                self.backward(loss)
            with self.unsynchronised("segmenter", not last):
                logits = self.forward_batch("target", target_part)
                diversity = class_diversity(self.segmenter.ensemble(logits).softmax(dim=1))
                self.backward(-self.options.lambda_diverse * diversity)
            self.note(loss_seg=loss, diversity=diversity)
        return self.finish_update()
