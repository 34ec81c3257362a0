"""CBST, class-balanced self-training (Zou et al. 2018), with CRST's regularisers (2019).

Rounds r = 1, 2, ... of

    i   label every target pixel   y(n) = argmax_c q_c(n) / k_c; unlabelled if the ratio is <= 1;
        k_c = the confidence that a share P_r of the pixels with arg max c reaches
    ii  min_G  L_seg(G(x_s), y_s) + lambda_target * L_target(G(x_t), y)

P_r starts at ``portion`` and grows by ``portion_step`` in each round. With one threshold per class,
frequent and easy classes cannot take all pseudo-labels. q is the softmax p of the ensemble
prediction or, with ``spatial_prior`` (CBST-SP), p times the frequency of the class at that place in
the source. L_target is a mean over the labelled pixels: of cross-entropy, or with a regulariser

    mrkld   -log p_y - alpha / C * sum_c log p_c                keeps p closer to uniform
    lrent   -sum_c s_c log p_c,  s_c ~ (p'_c / k_c)^(1/alpha)   soft labels; p' of a frozen G

With ``discriminant``, q is also multiplied by the posterior of a linear discriminant of a
pretrained encoder's features (ours; `clan.methods.discriminant`).

With ``label_models``, finished networks label the target by their mean p. With ``label: winner``,
``threshold_max: 0.9`` and ``portion: 0.34`` this is FDA's multi-band transfer (Yang and Soatto
2020).

Labels are files in the run's folder and are read like any labels. Confidences are counted in
histograms, so that memory does not grow with the number of images.

Choices that differ from the published code, or that the paper leaves open:

- one learning-rate schedule over all rounds;
- as many source as target images in every round (published: 3 to 6 % of the source images);
- labels from one scale without mirroring (published: scales .9, 1, 1.2 and mirror images);
- all pixels are counted (published: every fourth);
- the prior is averaged on a grid of 16 x 32 cells, and each class's largest value is 1;
- for lrent, the frozen copy of G labels the same crops that G learns from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from clan.data.classes import IGNORE
from clan.data.loading import Batch
from clan.losses.pseudo_labels import (
    argmax_labels,
    balanced_labels,
    class_diversity,
    confidence_thresholds,
    soft_cross_entropy,
    soft_labels,
    uniform_divergence,
)
from clan.losses.segmentation import CrossEntropy
from clan.losses.shares import cell_shares
from clan.methods.discriminant import FeatureDiscriminant, SecondOpinionOptions
from clan.methods.labelled_target import SOURCE_STAGE, LabelledTarget
from clan.methods.rounds import check_portions, count_confidences, divide, round_number
from clan.methods.stages import Reading, Stage, StageDomains
from clan.models.encoders.contract import Encoder
from clan.models.segmenter import Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric


PRIOR_GRID = (16, 32)


class CBST(LabelledTarget):
    """Source training, then rounds of labelling the target and learning from both."""

    class Options(SecondOpinionOptions):
        """Options of cbst."""

        name: Literal["cbst"] = "cbst"
        """The method."""
        source_steps: int = Field(0, ge=0)
        """Number of first steps on the source alone; 0 if the classifiers start from a source
        training (``weights_for: network``)."""
        rounds: int = Field(4, ge=1)
        """Number of rounds, which share the other steps evenly."""
        portion: float = Field(0.2, gt=0, le=1)
        """Share of each class's pixels that the first round labels."""
        portion_step: float = Field(0.05, ge=0)
        """What each further round adds to `portion`."""
        portion_max: float = Field(0.5, gt=0, le=1)
        """Greatest share that a round labels."""
        threshold_max: float = Field(1.0, gt=0, le=1)
        """Upper limit of each class's threshold (FDA: 0.9)."""
        label: Literal["ratio", "winner"] = "ratio"
        """A pixel's label: the class with the greatest confidence / threshold (ratio, CBST), or the
        class with the greatest confidence, if it reaches its threshold (winner, FDA)."""
        label_models: tuple[str, ...] = ()
        """Run folders or model files whose mean softmax labels the target instead of G (FDA's
        multi-band transfer: trainings with three values of data.source_view.fourier)."""
        lambda_target: float = Field(1.0, ge=0)
        """Weight of the target's loss."""
        spatial_prior: bool = False
        """Multiply predictions by each class's frequency at that place in the source (CBST-SP)."""
        rare_classes: int = Field(3, ge=0)
        """Number of rare classes that crops are drawn towards: those with the fewest predicted
        target pixels. No effect on views without a crop."""
        rare_chance: float = Field(0.8, ge=0, le=1)
        """Probability that a crop is centred on a pixel of such a class, if the image has one."""
        regulariser: Literal["none", "mrkld", "lrent"] = "none"
        """CRST's regulariser: mrkld for less certain predictions, lrent for soft pseudo-labels."""
        alpha: float = Field(0.1, gt=0)
        """Strength of mrkld, or the temperature of lrent's soft labels (0.25 is usual there)."""

        def stages(self, steps: int) -> tuple[Stage, ...]:
            """Divide the steps into source training and rounds."""
            first = Stage(SOURCE_STAGE, self.source_steps)
            stages = divide(steps, first, "source_steps", self.rounds)
            if self.label_models:
                # it is not G that labels, so G need not have learnt anything before
                stages = tuple(replace(stage, labelled_by="") for stage in stages)
            return stages

        @model_validator(mode="after")
        def _all_read(self) -> Self:
            """Refuse options without effect and options that contradict each other."""
            check_portions(self.portion, self.portion_max)
            if self.label_models and self.regulariser == "lrent":
                raise ValueError(
                    "lrent's soft labels are those of the network that learns, and label_models "
                    "label in its place: leave one of the two out"
                )
            if self.regulariser == "none" and self.alpha != 0.1:
                raise ValueError(
                    f"alpha {self.alpha:g} has no effect without a regulariser: set "
                    "method.regulariser to mrkld or lrent, or alpha to 0.1"
                )
            for name in ("spatial_prior", "discriminant"):
                if self.regulariser == "lrent" and getattr(self, name):
                    raise ValueError(
                        f"{name} changes confidences, which lrent's soft labels do not use: "
                        "leave one of the two out"
                    )
            if self.regulariser == "lrent" and self.loss != CrossEntropy.Options(
                class_weights=self.loss.class_weights, mean_over=self.loss.mean_over
            ):
                raise ValueError(
                    f"lrent uses plain cross-entropy on soft labels, and the loss is "
                    f"{self.loss.name} with other options: leave one of the two out"
                )
            return self

        @property
        def models(self) -> tuple[str, ...]:
            """The networks that label."""
            return self.label_models

        def round_portion(self, number: int) -> float:
            """Return P_r of a round, counted from 1."""
            return min(self.portion + (number - 1) * self.portion_step, self.portion_max)

    options: Options
    family = "ST"
    thresholds: Tensor
    rare: Tensor
    prior: Tensor

    def __init__(self, segmenter: Segmenter, options: Options, optim: OptimOptions) -> None:
        super().__init__(segmenter, options, optim)
        C = len(segmenter.classes)
        self.register_buffer("thresholds", torch.ones(C))
        rare = min(options.rare_classes, C)
        self.register_buffer("rare", torch.full((rare,), -1, dtype=torch.int64))
        self.register_buffer("prior", torch.ones(C, *PRIOR_GRID))
        self.discriminant = (
            FeatureDiscriminant(segmenter, options) if options.discriminant else None
        )
        self.labeller: Segmenter | None = None
        if options.regulariser == "lrent":
            self.labeller = Segmenter(segmenter.options, segmenter.classes)
            self.labeller.load_state_dict(segmenter.state_dict())
            self.labeller.requires_grad_(False).eval()

    def setup(self, fabric: Fabric) -> None:
        """Wrap G; move the buffers to the device."""
        super().setup(fabric)
        for name, buffer in self.named_buffers(recurse=False):
            setattr(self, name, buffer.to(fabric.device))
        for frozen in (self.labeller, self.discriminant):
            if frozen is not None:
                frozen.to(fabric.device)

    @property
    def pretrained(self) -> Encoder | None:
        """The discriminant's encoder."""
        return None if self.discriminant is None else self.discriminant.encoder

    # --- between rounds ---------------------------------------------------------------------------

    def begin_stage(self, stage: Stage, domains: StageDomains) -> None:
        """Choose the round's thresholds and rare classes, and label the target by them."""
        if self.options.spatial_prior:
            self.prior.copy_(self._prior(domains))
        if self.discriminant is not None:
            normalised = self.segmenter.normalised
            self.discriminant.fit(domains, normalised, self.prediction, self.fabric)
        C = len(self.segmenter.classes)
        counts = count_confidences(domains, self.confidence, C, self.fabric)
        portion = self.options.round_portion(round_number(stage))
        thresholds = confidence_thresholds(counts, portion)
        self.thresholds.copy_(thresholds.clamp(max=self.options.threshold_max))
        # a class without predicted pixels has no label that a crop could be centred on
        pixels = counts.sum(dim=1)
        order = torch.where(pixels > 0, pixels, pixels.max() + 1).argsort(stable=True)
        self.rare.copy_(order[: len(self.rare)])
        label_pixels = balanced_labels if self.options.label == "ratio" else argmax_labels
        for batch in domains.target():
            labels = label_pixels(self.confidence(batch["image"]), self.thresholds)
            for name, label in zip(batch["name"], labels, strict=True):
                domains.write_label(name, label)
        if self.labeller is not None:
            self.labeller.load_state_dict(self.segmenter.state_dict())

    @torch.no_grad()
    def confidence(self, image: Tensor) -> Tensor:
        """Return q (N, C, H, W) float32 for plain images, refined if asked for."""
        q = self.prediction(image)
        if self.discriminant is None:
            return q
        return self.discriminant.refine(q, self.segmenter.normalised(image))

    def prediction(self, image: Tensor) -> Tensor:
        """Return q (N, C, H, W) float32 of the networks that label, as they are evaluated."""
        networks = self.models or [self.segmenter]
        with self.fabric.autocast():
            maps = [net.ensemble(net(image)).float().softmax(dim=1) for net in networks]
        p = torch.stack(maps).mean(dim=0) if len(maps) > 1 else maps[0]
        if not self.options.spatial_prior:
            return p
        prior = F.interpolate(self.prior[None], p.shape[-2:], mode="bilinear", align_corners=False)
        return p * prior

    def reading(self, stage: Stage) -> Reading:
        """Read the target's labels in a round, crops drawn towards rare classes."""
        if stage.name == SOURCE_STAGE:
            return Reading()
        return Reading(True, tuple(self.rare.tolist()), self.options.rare_chance)

    def _prior(self, domains: StageDomains) -> Tensor:
        """Return each class's relative frequency by place in the source, (C, h, w) in 0..1."""
        total = torch.zeros_like(self.prior)
        for batch in domains.source():
            total += cell_shares(batch["label"], len(total), PRIOR_GRID).sum(dim=0)
        total = cast(Tensor, self.fabric.all_reduce(total, reduce_op="sum"))
        most = total.amax(dim=(1, 2), keepdim=True)
        # 1 everywhere for a class that the source never shows
        return torch.where(most > 0, total / most.clamp(min=1e-12), torch.ones_like(total))

    # --- within a round ---------------------------------------------------------------------------

    def learn_target(self, batch: Batch) -> None:
        """Backward of the loss on pseudo-labels."""
        options, label = self.options, batch["label"]
        logits = self.segmenter.ensemble(self.forward_batch("target", batch))
        if self.labeller is not None:
            each = soft_cross_entropy(logits, self._soft_labels(self.labeller, batch["image"]))
        else:
            each = self.label_loss.pixel(logits, label)
        if options.regulariser == "mrkld":
            each = each + options.alpha * uniform_divergence(logits)
        loss = self.label_loss.mean(each, label, "target")
        self.backward(options.lambda_target * loss)
        self.note(loss_target=loss, pseudo_share=(label != IGNORE).float().mean())
        self.note(target_diversity=class_diversity(logits.detach().softmax(dim=1)))

    def _soft_labels(self, labeller: Segmenter, image: Tensor) -> Tensor:
        with torch.no_grad(), self.fabric.autocast():
            p = labeller.ensemble(labeller(image)).float().softmax(dim=1)
        return soft_labels(p, self.thresholds, self.options.alpha)
