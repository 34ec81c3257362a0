"""MCD, maximum classifier discrepancy (Saito et al. 2018): two classifiers as the adversary.

    A  min_{E,C1,C2}  L_seg(C1(E(x_s)), y_s) + L_seg(C2(E(x_s)), y_s)
    B  min_{C1,C2}    the same - d(p1, p2)    on the target, E fixed
    C  min_E          d(p1, p2)               on the target, C1 and C2 fixed; num_k times

d is the mean absolute difference of the classifiers' softmaxes. Target pixels where the two can
be made to differ lie outside the source's support; E learns to leave no such pixels. The two
classifiers take the discriminator's place.

The paper defines d on the class probabilities of an image; its code averages over pixels, as here.
A, B and C are separate optimizer steps on the same images. Parameters that a step keeps fixed are
not changed by momentum or decay either.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.alignment import classifier_discrepancy
from clan.methods.contract import Method, MethodOptions, Progress, frozen


class MCD(Method):
    """Steps A, B and C on one source and one target batch."""

    class Options(MethodOptions):
        """Options of mcd."""

        name: Literal["mcd"] = "mcd"
        """The method."""
        segmentation: Literal["ensemble", "heads"] = "heads"
        """Segmentation loss per classifier, summed (as published), or on the ensemble."""
        num_k: int = Field(4, ge=1)
        """Times that step C is repeated in each update; the published code has 4."""

    options: Options
    family = "AT"
    least_classifiers = 2

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Do step A, step B, then ``num_k`` times step C."""
        self.start_update(progress)
        for source_part, _, _ in self.micro_batches(source, target):
            self.learn_source(source_part)
        self.step_alone("segmenter")
        for source_part, target_part, _ in self.micro_batches(source, target):
            self.raise_discrepancy(source_part, target_part)
        self.step_alone("segmenter")
        for turn in range(self.options.num_k):
            for _, target_part, _ in self.micro_batches(source, target):
                distance = self.lower_discrepancy(target_part)
                if turn == self.options.num_k - 1:
                    self.note(discrepancy=distance)
            self.step_alone("segmenter")
        return self.noted()

    def learn_source(self, batch: Batch) -> None:
        """Step A: backward of both classifiers' source losses, for all of G."""
        with self.unsynchronised("segmenter", True):
            logits = self.forward_batch("source", batch)
            loss = self.segmentation_loss(logits, batch["label"], "source")
            self.backward(loss)
        self.note(loss_seg=loss)

    def raise_discrepancy(self, source: Batch, target: Batch) -> None:
        """Step B: backward of the source losses less the discrepancy, for C1 and C2."""
        with torch.no_grad():
            f_s = self.encode_batch("source", source)
            f_t = self.encode_batch("target", target)
        # the decoder's shared part belongs to the generator, which is fixed in this step
        with self.unsynchronised("segmenter", True), frozen(self.segmenter.decoder):
            logits = self.classify_batch(f_s, source)
            loss = self.segmentation_loss(logits, source["label"], "source")
            distance = self._discrepancy(self.classify_batch(f_t, target))
            self.backward(loss - distance)
        self.note(discrepancy_apart=distance)

    def lower_discrepancy(self, target: Batch) -> Tensor:
        """Step C: backward of the discrepancy, for E."""
        with self.unsynchronised("segmenter", True), frozen(self.segmenter.classifiers):
            features = self.encode_batch("target", target)
            distance = self._discrepancy(self.classify_batch(features, target))
            self.backward(distance)
        return distance

    def _discrepancy(self, logits: tuple[Tensor, ...]) -> Tensor:
        p1, p2 = (z.softmax(dim=1) for z in logits)
        return classifier_discrepancy(p1, p2)
