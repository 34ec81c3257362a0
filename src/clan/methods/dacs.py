"""DACS (Tranheden et al. 2021): a mean teacher labels the target, mixed with source classes.

    min_G  L_seg(G(x_s), y_s) + lambda_target * mean[w * CE(G(x_m), y_m)]

x_m is a target image on which half of the classes of a source image are pasted (ClassMix), strongly
augmented. y_m are the source's labels where it was pasted, and elsewhere the most probable class of
the teacher for the plain target image. w is 1 where the source was pasted; elsewhere it is the share
of the batch's target pixels of which the teacher is surer than a threshold. The mean is over all
pixels, those of weight 0 and those without a label included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.mixing import at_size, class_mask, paste, strong_view
from clan.losses.pseudo_labels import class_diversity
from clan.losses.segmentation import weighted_loss
from clan.methods.contract import Method, MethodOptions, MicroBatch, Progress
from clan.methods.teacher import Teacher, TeacherUpdate
from clan.models.segmenter import Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class TeacherOptions(MethodOptions):
    """What methods share whose teacher labels mixed images."""

    teacher_decay: float = Field(0.99, ge=0, lt=1)
    """Of the moving average that the teacher is (DACS 0.99, DAFormer 0.999)."""
    teacher_update: TeacherUpdate = "parameters"
    """parameters: before G's step, parameters only, normalised by the teacher's own batch (published
    codes); buffers: after it, with batch statistics."""
    threshold: float = Field(0.968, gt=0, lt=1)
    """Probability from which a pixel counts as sure."""
    mix_classes: Literal["image", "batch"] = "image"
    """Classes that ClassMix draws from: those of the image (DACS), or of the whole batch
    (DAFormer)."""
    mix_ignored: bool = False
    """Let ClassMix draw the pixels without a label as a class of their own (published codes)."""
    strong_jitter: float = Field(0.25, ge=0, lt=1)
    """Strength of the colour jitter of mixed images: brightness, contrast, saturation, hue."""
    jitter_chance: float = Field(0.8, ge=0, le=1)
    """Probability of that jitter."""
    strong_blur: float = Field(0.5, ge=0, le=1)
    """Probability that a mixed image is blurred."""
    ignore_top: int = Field(0, ge=0)
    """Rows at the top of target views that are never labelled (DAFormer: 15)."""
    ignore_bottom: int = Field(0, ge=0)
    """Rows at the bottom, such as a car's bonnet (DAFormer: 120)."""
    lambda_target: float = Field(1.0, ge=0)
    """Weight of the loss on mixed images."""


class Taught(NamedTuple):
    """The teacher's labels of target images."""

    label: Tensor
    """(N, H, W) uint8."""
    weight: Tensor
    """(N, H, W) float32, 0 in rows that are never labelled."""
    share: Tensor
    """Share of the batch's target pixels that are sure, over all processes."""
    diversity: Tensor
    """Of the labels' classes, 0..1."""


class DACS(Method):
    """Source labels, and a teacher's labels on images mixed from both domains."""

    class Options(TeacherOptions):
        """Options of dacs."""

        name: Literal["dacs"] = "dacs"
        """The method."""

    options: TeacherOptions
    family = "ST"

    def __init__(self, segmenter: Segmenter, options: TeacherOptions, optim: OptimOptions) -> None:
        super().__init__(segmenter, options, optim)
        self.teacher = Teacher(
            segmenter, options.teacher_decay, options.teacher_update, options.batch_norm
        )

    def setup(self, fabric: Fabric) -> None:
        """Wrap G; take the teacher to the device."""
        super().setup(fabric)
        self.teacher.to(fabric.device)

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Learn from source labels and from the teacher's, in one update."""
        self.start_update(progress)
        if self.options.teacher_update == "parameters":
            self.teacher.follow(self.segmenter, progress.step)
        taught = self.teach(target["image"])
        for index, part in enumerate(self.micro_batches(source, target)):
            size = len(part.target["image"])
            labels = Taught(*(t[index * size :][:size] if t.dim() else t for t in taught))
            self.learn_source(part)
            self.learn_target(part, labels)
        self.share_gradients("segmenter")
        scalars = self.finish_update()
        if self.options.teacher_update == "buffers":
            self.teacher.follow(self.segmenter, progress.step)
        return scalars

    def teach(self, image: Tensor) -> Taught:
        """Label plain target images (N, 3, H, W) as the teacher does."""
        with self.fabric.autocast():
            p = self.teacher.predict(image)
        sure, label = p.max(dim=1)
        # of the whole batch, rows that are never labelled included
        share = (sure >= self.options.threshold).float().mean()
        share = self.fabric.all_reduce(share, reduce_op="mean")
        weight = share.expand(label.shape).clone()
        weight[:, : self.options.ignore_top] = 0
        weight[:, max(0, label.shape[1] - self.options.ignore_bottom) :] = 0
        return Taught(label.to(torch.uint8), weight, share, class_diversity(p))

    def learn_source(self, part: MicroBatch) -> None:
        """Backward of the source's loss; the step shares gradients at its end."""
        with self.unsynchronised("segmenter", True):
            logits = self.forward_batch("source", part.source)
            loss = self.segmentation_loss(logits, part.source["label"])
            self.backward(loss)
        self.note(loss_seg=loss)

    def learn_target(self, part: MicroBatch, taught: Taught) -> None:
        """Backward of the loss on mixed images."""
        image, label, weight = self.mixed(part, taught)
        with self.unsynchronised("segmenter", True):
            loss = self.target_loss(image, label, weight)
            self.backward(self.options.lambda_target * loss)
        self.note(
            loss_target=loss, pseudo_share=taught.share, target_diversity=taught.diversity
        )

    def target_loss(self, image: Tensor, label: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted loss of G on views of the target, remembered by no batch norm."""
        logits = self.forward_domain("target", image, remember=False)
        return weighted_loss(self.segmenter.ensemble(logits), label, weight)

    def mixed(self, part: MicroBatch, taught: Taught) -> tuple[Tensor, Tensor, Tensor]:
        """Return mixed images (N, 3, H, W) uint8, their labels and weights (N, H, W)."""
        options, plain = self.options, part.target["image"]
        pasted = at_size(part.source["image"], part.source["label"], plain.shape[-2:])
        mask = class_mask(
            pasted[1],
            len(self.segmenter.classes),
            together=options.mix_classes == "batch",
            ignored=options.mix_ignored,
        )
        image, label = paste(mask, pasted, (plain, taught.label))
        image = strong_view(
            image, options.strong_jitter, options.strong_blur, options.jitter_chance, hue=True
        )
        return image, label, torch.where(mask, 1.0, taught.weight)
