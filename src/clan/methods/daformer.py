"""DAFormer (Hoyer et al. 2022): DACS, with rare classes drawn more often and features held.

    min_G  L_seg(G(x_s), y_s) + mean[w * CE(G(x_m), y_m)]
           + lambda_distance * mean over cells of things |F(x_s) - F0(x_s)|_2

F are the encoder's deepest features and F0 those of the network that the training started from: a
pretrained encoder knows things (cars, persons) that a simulator shows poorly. A cell belongs to a
thing class where that has at least `distance_ratio` of its pixels.

The network, its rates and its warm-up are the configuration's; source images are drawn by class.
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
        """Of the moving average that the teacher is."""
        mix_classes: Literal["image", "batch"] = "batch"
        """Classes that ClassMix draws from: those of the image, or of the whole batch."""
        strong_jitter: float = Field(0.2, ge=0, lt=1)
        """Strength of the colour jitter of mixed images: brightness, contrast, saturation, hue."""
        rare_temperature: float = Field(0.01, ge=0)
        """T of rare-class sampling: a class of frequency f is drawn with a probability proportional
        to exp((1 - f) / T); 0: each source image once an epoch."""
        lambda_distance: float = Field(0.005, ge=0)
        """Weight of the feature distance; 0 for encoders that did not start from weights."""
        distance_ratio: float = Field(0.75, gt=0, le=1)
        """Share of a cell's pixels from which it belongs to a class."""
        things: tuple[str, ...] = THINGS
        """Classes whose features are held."""

        @property
        def needs_weights(self) -> str:
            """Which option asks for pretrained weights."""
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
        """Wrap G; take teacher and first encoder to the device."""
        super().setup(fabric)
        self.things = self.things.to(fabric.device)
        if self.start is not None:
            self.start.to(fabric.device)

    def reading(self, stage: Stage) -> Reading:
        """Draw source images by their classes."""
        return Reading(rare_temperature=self.options.rare_temperature)

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Learn as DACS does, held by the features of all of the update's things."""
        self._labels, self._cells = source["label"], None
        return super().step(source, target, progress)

    def learn_source(self, part: MicroBatch) -> None:
        """Backward of the source's loss and of the feature distance, which share the features."""
        if self.start is None:
            super().learn_source(part)
            return
        features = self.encode_batch("source", part.source)
        logits = self.classify_batch(features, part.source)
        loss = self.segmentation_loss(logits, part.source["label"], "source")
        distance = self.feature_distance(part.source, features[-1])
        self.backward(loss + self.options.lambda_distance * distance)
        self.note(loss_seg=loss, feature_distance=distance, **self.taught)

    def feature_distance(self, batch: Batch, features: Tensor) -> Tensor:
        """Return the distance to the first encoder's features on things.

        It is the sum of the L2 distances over this part's cells of things, divided by their number
        in the whole update over the number of its parts, so that the parts' mean is the mean over
        all cells: see `clan.methods.label_loss`.

        Args:
            batch: images with labels.
            features: (N, F, h, w), the encoder's deepest.

        Returns:
            0 where no cell shows a thing; the published code gives NaN there.
        """
        assert self.start is not None
        with torch.no_grad(), self.fabric.autocast():
            first = self.start(self.segmenter.normalised(batch["image"]))[-1]
        apart = (features.float() - first.float()).norm(dim=1)
        if self._cells is None:
            assert self._labels is not None, "a step has begun"
            own = self._thing_cells(self._labels, apart, batch["image"]).sum()
            self._cells = cast(Tensor, self.fabric.all_reduce(own, reduce_op="sum")).clamp(min=1)
        cells = self._thing_cells(batch["label"], apart, batch["image"])
        total: Tensor = (apart * cells).sum() * (self.label_loss.parts / self._cells)
        return total

    def _thing_cells(self, label: Tensor, features: Tensor, image: Tensor) -> Tensor:
        """Tell which cells of features (..., h, w) show a thing in labels (N, H, W): (N, h, w)."""
        grid = (features.shape[-2], features.shape[-1])
        places = self.segmenter.label_places(label, grid, image)
        shares = cell_shares(label, len(self.segmenter.classes), grid, places)
        shown = (shares >= self.options.distance_ratio) & self.things.view(1, -1, 1, 1)
        return shown.any(dim=1)
