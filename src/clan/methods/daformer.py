"""DAFormer (Hoyer et al. 2022): DACS with rare-class sampling and a feature distance.

    min_G  L_seg(G(x_s), y_s) + mean[w * CE(G(x_m), y_m)]
           + lambda_distance * mean over cells of things |F(x_s) - F0(x_s)|_2

F are the encoder's deepest features, F0 those of the initial encoder: a pretrained encoder knows
things (cars, persons) that a simulator shows poorly. A cell belongs to a thing class that has at
least `distance_ratio` of its pixels. Source images are drawn by class.

Network, learning rates and warm-up are set in the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.shares import cell_shares
from clan.methods.contract import MicroBatch, Progress
from clan.methods.dacs import DACS, TeacherOptions
from clan.methods.stages import Reading, Stage
from clan.models.encoders.contract import Encoder
from clan.models.encoders.table import build_encoder
from clan.models.segmenter import Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric

THINGS = (
    *("traffic light", "traffic sign", "person", "rider", "car", "truck", "bus", "train"),
    *("motorcycle", "bicycle"),
)
"""Cityscapes' classes of countable things, trainIds 6, 7 and 11 to 18."""


class DAFormer(DACS):
    """DACS plus rare-class sampling and the feature distance on things."""

    class Options(TeacherOptions):
        """Options of daformer."""

        name: Literal["daformer"] = "daformer"
        """The method."""
        teacher_decay: float = Field(0.999, ge=0, lt=1)
        """Decay of the teacher, a moving average of G."""
        mix_classes: Literal["image", "batch"] = "batch"
        """Classes that ClassMix draws from: those of the image, or of the whole batch."""
        strong_jitter: float = Field(0.2, ge=0, lt=1)
        """Strength of the colour jitter of mixed images: brightness, contrast, saturation, hue."""
        rare_temperature: float = Field(0.01, ge=0)
        """T of rare-class sampling: a class of frequency f is drawn with a probability proportional
        to exp((1 - f) / T); 0: each source image once an epoch."""
        lambda_distance: float = Field(0.005, ge=0)
        """Weight of the feature distance; 0 for encoders without pretrained weights."""
        distance_ratio: float = Field(0.75, gt=0, le=1)
        """Least share of a cell's pixels for the cell to belong to a class."""
        things: tuple[str, ...] = THINGS
        """Classes whose features are kept close to the initial encoder's."""

        @property
        def needs_weights(self) -> str:
            """The option that needs pretrained weights; empty if it is off."""
            return "method.lambda_distance" if self.lambda_distance else ""

    options: Options
    things: Tensor

    def __init__(self, segmenter: Segmenter, options: Options, optim: OptimOptions) -> None:
        super().__init__(segmenter, options, optim)
        self.start: Encoder | None = None
        if options.lambda_distance:
            self.start = build_encoder(segmenter.options)
            self.start.load_state_dict(segmenter.encoder.state_dict())
            self.start.requires_grad_(False).eval()
        self._labels: Tensor | None = None
        self._cells: Tensor | None = None
        names = segmenter.classes.names
        self.register_buffer(
            "things", torch.tensor([name in options.things for name in names]), persistent=False
        )

    def setup(self, fabric: Fabric) -> None:
        """Wrap G; move the teacher and the initial encoder to the device."""
        super().setup(fabric)
        self.things = self.things.to(fabric.device)
        if self.start is not None:
            self.start.to(fabric.device)

    def reading(self, stage: Stage) -> Reading:
        """Draw source images by class."""
        return Reading(rare_temperature=self.options.rare_temperature)

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Learn as DACS does, held by the features of all of the update's things."""
        self._labels, self._cells = source["label"], None
        return super().step(source, target, progress)

    def learn_source(self, part: MicroBatch) -> None:
        """Backward of the source loss plus the feature distance, from one forward pass."""
        if self.start is None:
            super().learn_source(part)
            return
        features = self.encode_batch("source", part.source)
        logits = self.classify_batch(features, part.source)
        loss = self.segmentation_loss(logits, part.source["label"], "source")
        distance = self.feature_distance(part.source, features[-1])
        self.backward(loss + self.options.lambda_distance * distance)
        self.note(loss_seg=loss, feature_distance=distance, **self.label_scalars)

    def feature_distance(self, batch: Batch, features: Tensor) -> Tensor:
        """Return the distance to the initial encoder's features, over cells of things.

        It is this part's sum of L2 distances, divided by (cells of things of the whole update /
        number of parts), so that the mean of the parts is the mean over all cells: see
        `clan.methods.label_loss`.

        Args:
            batch: images with labels.
            features: (N, F, h, w), the encoder's deepest.

        Returns:
            0 where no cell shows a thing; the published code gives NaN there.
        """
        assert self.start is not None
        with torch.no_grad(), self.fabric.autocast():
            first = self.start(self.segmenter.normalised(batch["image"]))[-1]
        distance = (features.float() - first.float()).norm(dim=1)
        if self._cells is None:
            assert self._labels is not None, "a step has begun"
            own = self._thing_cells(self._labels, distance, batch["image"]).sum()
            self._cells = cast(Tensor, self.fabric.all_reduce(own, reduce_op="sum")).clamp(min=1)
        cells = self._thing_cells(batch["label"], distance, batch["image"])
        total: Tensor = (distance * cells).sum() * (self.label_loss.parts / self._cells)
        return total

    def _thing_cells(self, label: Tensor, features: Tensor, image: Tensor) -> Tensor:
        """Return which cells (N, h, w) of features (..., h, w) are things in labels (N, H, W)."""
        grid = (features.shape[-2], features.shape[-1])
        places = self.segmenter.label_places(label, grid, image)
        shares = cell_shares(label, len(self.segmenter.classes), grid, places)
        shown = (shares >= self.options.distance_ratio) & self.things.view(1, -1, 1, 1)
        return shown.any(dim=1)
