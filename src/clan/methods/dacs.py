"""DACS (Tranheden et al. 2021): a mean teacher labels the target, mixed with source classes.

    min_G  L_seg(G(x_s), y_s) + lambda_target * mean[w * CE(G(x_m), y_m)]

x_m is a strongly augmented target image with half of the classes of a source image pasted on it
(ClassMix). y_m are the source's labels where it was pasted, elsewhere the most probable class of
the teacher for the plain target image. w is 1 where the source was pasted; elsewhere it is the
share of the batch's target pixels whose teacher probability reaches ``threshold``. The mean is over
all pixels, including those of weight 0 and those without a label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.mixing import (
    Draw,
    SlotDraw,
    at_size,
    class_mask,
    paste,
    strong_view,
    values_shown,
)
from clan.losses.pseudo_labels import argmax_shares, class_diversity
from clan.losses.segmentation import weighted_loss
from clan.methods.contract import Method, MethodOptions, MicroBatch, Progress
from clan.methods.teacher import Teacher, TeacherUpdate
from clan.models.segmenter import Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class TeacherOptions(MethodOptions):
    """Options shared by methods in which a teacher labels mixed images."""

    teacher_decay: float = Field(0.99, ge=0, lt=1)
    """Decay of the teacher, a moving average of G (DACS 0.99, DAFormer 0.999)."""
    teacher_update: TeacherUpdate = "parameters"
    """parameters: before G's step, parameters only; the teacher's batch norm uses its own batch
    (published codes). buffers: after G's step, with G's running statistics."""
    threshold: float = Field(0.968, gt=0, lt=1)
    """Probability from which a pixel counts as confident."""
    mix_classes: Literal["image", "batch"] = "image"
    """Classes that ClassMix draws from: the image's (DACS), or those of the whole batch
    (DAFormer)."""
    mix_ignored: bool = False
    """Treat pixels without a label as one more class in ClassMix (published codes)."""
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


class PseudoLabels(NamedTuple):
    """The teacher's labels of target images."""

    label: Tensor
    """(N, H, W) uint8."""
    weight: Tensor
    """(N, H, W) float32: the share of confident pixels in the batch's target images, over all
    processes; 0 in rows that are never labelled."""


class View(NamedTuple):
    """Images, labels and pixel weights that G learns from."""

    name: str
    """Name of its loss, without ``loss_``."""
    image: Tensor
    """(N, 3, H, W), 0..255 RGB."""
    label: Tensor
    """(N, H, W) uint8."""
    weight: Tensor
    """(N, H, W), of each pixel, 0..1."""
    factor: float
    """Weight of its loss in G's loss."""

    def part(self, window: slice) -> View:
        """Return a slice of its images."""
        image, label, weight = (t[window] for t in (self.image, self.label, self.weight))
        return self._replace(image=image, label=label, weight=weight)


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
        self.label_scalars: dict[str, Tensor] = {}
        self.teacher = Teacher(
            segmenter, options.teacher_decay, options.teacher_update, options.batch_norm
        )

    def setup(self, fabric: Fabric) -> None:
        """Wrap G; move the teacher to the device."""
        super().setup(fabric)
        self.teacher.to(fabric.device)

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Learn from source labels and from the teacher's, in one update."""
        self.start_update(progress)
        if self.options.teacher_update == "parameters":
            self.teacher.follow(self.segmenter, progress.step)
        draw = SlotDraw(progress.key, self.fabric.global_rank, self.fabric.world_size)
        views = self.views(source, target, draw)
        # each part shares its gradients at the end: they come from several passes
        with self.unsynchronised("segmenter", True):
            for number, part in enumerate(self.micro_batches(source, target)):
                self.learn_source(part)
                size = len(part.target["image"])
                for view in views:
                    self.learn_view(view.part(slice(number * size, (number + 1) * size)))
        self.share_gradients("segmenter")
        scalars = self.finish_update()
        if self.options.teacher_update == "buffers":
            self.teacher.follow(self.segmenter, progress.step)
        return scalars

    def views(self, source: Batch, target: Batch, draw: Draw) -> list[View]:
        """Return the views of an update's target images, each of the whole batch."""
        return [self.mixed(source, target, self.label_target(target["image"]), draw)]

    def label_target(self, image: Tensor) -> PseudoLabels:
        """Label plain target images (N, 3, H, W) by the teacher."""
        with self.fabric.autocast():
            p = self.teacher.predict(image)
        confidence, label = p.max(dim=1)
        # of the whole batch, including rows that are never labelled
        share = (confidence >= self.options.threshold).float().mean()
        share = cast(Tensor, self.fabric.all_reduce(share, reduce_op="mean"))
        weight = share.expand(label.shape).clone()
        weight[:, : self.options.ignore_top] = 0
        weight[:, max(0, label.shape[1] - self.options.ignore_bottom) :] = 0
        self.label_scalars = {
            "pseudo_share": share,
            "target_diversity": class_diversity(p),
            # of each image, so that parts of a batch add up to the whole
            "teacher_top_share": torch.stack([argmax_shares(q[None]).max() for q in p]).mean(),
        }
        return PseudoLabels(label.to(torch.uint8), weight)

    def learn_source(self, part: MicroBatch) -> None:
        """Backward of the source's loss."""
        logits = self.forward_batch("source", part.source)
        loss = self.segmentation_loss(logits, part.source["label"], "source")
        self.backward(loss)
        self.note(loss_seg=loss, **self.label_scalars)

    def learn_view(self, view: View) -> None:
        """Backward of the loss on a view; its batch statistics do not enter the running ones."""
        logits = self.forward_domain("target", view.image, update_statistics=False)
        each = self.label_loss.pixel(self.segmenter.ensemble(logits), view.label)
        loss = weighted_loss(each, view.label, view.weight)
        self.backward(view.factor * loss)
        self.note(**{f"loss_{view.name}": loss})

    def mixed(self, source: Batch, target: Batch, pseudo: PseudoLabels, draw: Draw) -> View:
        """Return strong views of target images with pasted source classes."""
        options, plain = self.options, target["image"]
        pasted = at_size(source["image"], source["label"], plain.shape[-2:])
        mask = class_mask(
            pasted[1],
            len(self.segmenter.classes),
            draw,
            shown=self._shown(pasted[1]) if options.mix_classes == "batch" else None,
            ignored=options.mix_ignored,
        )
        image, label = paste(mask, pasted, (plain, pseudo.label))
        weight = torch.where(mask, 1.0, pseudo.weight)
        return View("target", self.strong(image, draw), label, weight, options.lambda_target)

    def _shown(self, label: Tensor) -> Tensor:
        """Tell which values the labels (N, H, W) of all processes show, (1, 256) bool."""
        shown = values_shown(label).any(dim=0, keepdim=True)
        return cast(Tensor, self.fabric.all_reduce(shown.int(), reduce_op="sum")) > 0

    def strong(self, image: Tensor, draw: Draw) -> Tensor:
        """Change the colours of some images, and blur some."""
        options = self.options
        return strong_view(
            image, options.strong_jitter, options.strong_blur, draw, options.jitter_chance, hue=True
        )
