"""CDA, curriculum domain adaptation (Zhang et al. 2017): easier tasks on the target first.

    min_G  L_seg(G(x_s), y_s) + lambda_global * H(q(x_t), mean_n p_t(n))
           + lambda_superpixel * L_ce(p_t, labels of confident superpixels)

Two easier tasks are learnt on the source and solved for the target before G learns from it: q, an
image's distribution over the classes (a regression), and the classes of superpixels (a classifier;
only confident ones are kept). Then G learns to agree with both. H is the cross-entropy of q and G's
mean prediction.

Choices that differ from the paper, or that it leaves open:

- images and superpixels are described by G's own encoder, pretrained or after ``source_steps``
  (the paper: by networks trained on other data);
- q is the mean over the nearest source images (the paper tries this and logistic regression);
- superpixels are SLIC's, described by mean features, mean colour and mean position; the classifier
  is a logistic regression (the paper: a support vector machine);
- the superpixels' loss is taken per pixel, not on their mean prediction.

q belongs to whole images, so views of the target that crop are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from clan.core.errors import DataError
from clan.core.extras import require_extra
from clan.data.classes import IGNORE
from clan.data.loading import Batch
from clan.losses.shares import class_shares
from clan.methods.contract import MethodOptions
from clan.methods.features import deepest
from clan.methods.labelled_target import SOURCE_STAGE, LabelledTarget
from clan.methods.stages import Reading, Stage, StageDomains, steps_left
from clan.models.segmenter import Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from sklearn.pipeline import Pipeline


class CDA(LabelledTarget):
    """Source training, the two easier tasks, then learning from both domains."""

    class Options(MethodOptions):
        """Options of cda."""

        name: Literal["cda"] = "cda"
        """The method."""
        source_steps: int = Field(0, ge=0)
        """Number of first steps on the source alone; 0 if the encoder is pretrained."""
        lambda_global: float = Field(0.1, ge=0)
        """Weight of the loss on images' class distributions; the published code has 0.1."""
        lambda_superpixel: float = Field(0.1, ge=0)
        """Weight of the loss on superpixels' labels; the published code has 1."""
        superpixels: int = Field(100, ge=2)
        """Number of superpixels per image."""
        superpixel_portion: float = Field(0.6, gt=0, le=1)
        """Share of an image's superpixels that is labelled, the most confident ones."""
        neighbours: int = Field(5, ge=1)
        """Number of source images whose distributions are averaged for a target image."""
        fit_images: int = Field(500, ge=2)
        """Number of source images that both tasks are learnt from, evenly chosen."""

        def stages(self, steps: int) -> tuple[Stage, ...]:
            """Divide the steps into source training and the rest."""
            left = steps_left(steps, self.source_steps, "source_steps")
            before = (Stage(SOURCE_STAGE, self.source_steps),) if self.source_steps else ()
            return (*before, Stage("curriculum", left, prepared=True))

        @property
        def whole_target(self) -> bool:
            """Whether target views must not crop: q belongs to whole images."""
            return self.lambda_global > 0

    options: Options
    # as the paper's tables print it; it has no adversary
    family = "AT"
    distributions: Tensor

    def __init__(self, segmenter: Segmenter, options: Options, optim: OptimOptions) -> None:
        super().__init__(segmenter, options, optim)
        # one row for each target image, once they are known
        self.register_buffer("distributions", torch.zeros(0, len(segmenter.classes)))

    def setup(self, fabric: Fabric) -> None:
        """Wrap G; move the distributions to the device.

        Raises:
            ConfigError: scikit-image, which divides images into superpixels, is not installed.
        """
        require_extra("skimage", "cda", "method cda")
        super().setup(fabric)
        self.distributions = self.distributions.to(fabric.device)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *args: Any) -> None:
        # the saved state decides the number of target images
        if (saved := state_dict.get("distributions")) is not None:
            self.distributions = self.distributions.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, *args)

    # --- before the target is learnt from ---------------------------------------------------------

    def begin_stage(self, stage: Stage, domains: StageDomains) -> None:
        """Learn both tasks on the source, then solve them for every target image."""
        from clan.losses import superpixels

        classes, shares = self._learn_tasks(domains)
        table = torch.zeros(domains.target_images, len(self.segmenter.classes))
        for batch in domains.target():
            ids, x, description = self._describe(batch)
            row = int(batch["index"])
            table[row] = torch.from_numpy(shares.predict(description[None])[0])
            portion = self.options.superpixel_portion
            label = superpixels.label_superpixels(classes, ids, x, portion)
            domains.write_label(batch["name"][0], torch.from_numpy(label))
        table = table.to(self.distributions.device)
        # every row is filled by one process and zero in the others
        self.distributions = cast(Tensor, self.fabric.all_reduce(table, reduce_op="sum"))

    def _learn_tasks(self, domains: StageDomains) -> tuple[Pipeline, Pipeline]:
        """Return the classifier of superpixels and the regression of images' distributions."""
        from clan.losses import superpixels

        C = len(self.segmenter.classes)
        x, y, descriptions, shares = [], [], [], []
        for batch in domains.source(self.options.fit_images):
            ids, each, description = self._describe(batch)
            classes = superpixels.majority(ids, batch["label"][0].cpu().numpy(), C)
            x.append(each[classes != IGNORE])
            y.append(classes[classes != IGNORE])
            descriptions.append(description[None])
            shares.append(class_shares(batch["label"], C).cpu().numpy())
        xs, ys = self._gather_rows(x), self._gather_rows([each[:, None] for each in y])[:, 0]
        found = np.unique(ys)
        if len(found) < 2:
            raise DataError(
                f"the source's superpixels have {len(found)} class; method cda fits a classifier "
                "of superpixels and needs at least two"
            )
        neighbours = self.options.neighbours
        regression = superpixels.fit_shares(
            self._gather_rows(descriptions), self._gather_rows(shares), neighbours
        )
        return superpixels.fit_classes(xs, ys.astype(np.uint8)), regression

    def _describe(
        self, batch: Batch
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Return an image's superpixels (h, w), their descriptions, and the image's description."""
        from clan.losses import superpixels

        with self.fabric.autocast():
            features = deepest(self.segmenter.encode(batch["image"]))[0].float().cpu().numpy()
        picture = np.ascontiguousarray(batch["image"][0].permute(1, 2, 0).cpu().numpy())
        ids, small = superpixels.divide(picture, self.options.superpixels)
        grid = (features.shape[1], features.shape[2])
        places = self.segmenter.label_places(torch.from_numpy(ids), grid, batch["image"])
        rows = None if places is None else (places[0].numpy(), places[1].numpy())
        described = superpixels.describe(ids, small, features, rows)
        return ids, described, features.mean(axis=(1, 2))

    def _gather_rows(self, parts: list[NDArray[Any]]) -> NDArray[np.float32]:
        """Join arrays (n, F) of this process's images, then of all processes'."""
        rows = torch.from_numpy(np.concatenate(parts).astype(np.float32))
        if self.fabric.world_size > 1:
            rows = rows.to(self.fabric.device)
            counts = cast(Tensor, self.fabric.all_gather(torch.tensor(len(rows)).to(rows.device)))
            # gathered tensors must have equal sizes
            padded = rows.new_zeros(int(counts.max()), rows.shape[1])
            padded[: len(rows)] = rows
            gathered = cast(Tensor, self.fabric.all_gather(padded))
            pieces = zip(gathered, counts.flatten().tolist(), strict=True)
            rows = torch.cat([piece[:count] for piece, count in pieces]).cpu()
        return rows.numpy()

    def reading(self, stage: Stage) -> Reading:
        """Read the superpixels' labels after the source stage."""
        return Reading(target_labels=stage.name != SOURCE_STAGE)

    # --- learning from it -------------------------------------------------------------------------

    def learn_target(self, batch: Batch) -> None:
        """Backward of both target losses."""
        label = batch["label"]
        logits = self.segmenter.ensemble(self.forward_batch("target", batch))
        mean = logits.float().softmax(dim=1).mean(dim=(2, 3))
        q = self.distributions[batch["index"]]
        overall = -(q * mean.clamp(min=1e-8).log()).sum(dim=1).mean()
        local = self.label_loss(logits, label, "target")
        options = self.options
        self.backward(options.lambda_global * overall + options.lambda_superpixel * local)
        share = (label != IGNORE).float().mean()
        self.note(loss_global=overall, loss_superpixel=local, pseudo_share=share)
