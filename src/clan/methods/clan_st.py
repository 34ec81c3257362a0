"""CLAN-ST: CLAN, then class-balanced self-training on the target.

    stage clan       CLAN's updates
    rounds r = 1..   min_G  L_source + lambda_target * L_seg(G(x_m), y_m)

L_source is CLAN's source loss. x_m is a target image, on which half of the classes of a source
image are pasted (ClassMix), strongly augmented; y_m are the source's labels where it was pasted and
elsewhere the labels of a teacher, the exponential moving average of G, for the plain target image:

    y(n) = argmax_c q_c(n) / k_c   where that is above 1, unlabelled elsewhere

k_c is chosen before each round as in CBST: over all target images, a share P_r of the pixels with
arg max c has at least this confidence. So every class keeps some labels, and the labelled share is
an option instead of a consequence of the network's confidence. q is the mean of the predictions of
CLAN's two classifiers times their agreement, 1 - M(p1, p2).

Thresholds do not keep a class from growing at another's cost. With keep_shares = a, q is first
multiplied by (s_c / r_c)^a (distribution alignment): s_c is class c's share of all target pixels
when the rounds began, r_c its recent share.

With discriminant = w, q is also multiplied by p(c | x)^w: a linear discriminant of a pretrained
encoder's features x, fitted before each round to the teacher's predictions of all target images
(`clan.methods.discriminant`).

Both terms make one step of G. With turns = n, each term makes its own step, n times per update,
which helps very short trainings.

Ours; its parts are CBST (Zou et al. 2018), the mean teacher (Tarvainen and Valpola 2017), ClassMix
as DACS uses it (Tranheden et al. 2021), rare-class sampling (DAFormer, Hoyer et al. 2022),
distribution alignment (ReMixMatch, Berthelot et al. 2020). Target labels are used nowhere. Each
part is an option, so that it can be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clan.data.classes import IGNORE
from clan.data.loading import Batch
from clan.losses.alignment import alignment_map
from clan.losses.mixing import Draw, SlotDraw, at_size, class_mask, paste, strong_view
from clan.losses.pseudo_labels import (
    align_shares,
    argmax_labels,
    argmax_shares,
    balanced_labels,
    class_diversity,
    confidence_thresholds,
)
from clan.methods.clan import CLAN
from clan.methods.clan_st_options import RoundOptions
from clan.methods.contract import MicroBatch, Progress
from clan.methods.discriminant import FeatureDiscriminant
from clan.methods.rounds import count_confidences, round_number
from clan.methods.stages import Reading, Stage, StageDomains
from clan.models.batchnorm import POLICY
from clan.models.encoders.contract import Encoder
from clan.models.segmenter import Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric

SHARES_DECAY = 0.95
"""Decay of the moving average of class shares, over about twenty batches."""

Average = Callable[[Sequence[Tensor], Sequence[Tensor], int], None]


class PseudoLabels(NamedTuple):
    """The teacher's labels (N, H, W) uint8 of target images, and the diversity of their classes."""

    label: Tensor
    diversity: Tensor


class Mixed(NamedTuple):
    """Strongly augmented images (N, 3, H, W) uint8 and their labels (N, H, W) uint8."""

    image: Tensor
    label: Tensor


class CLANST(CLAN):
    """CLAN's updates, then rounds of learning from a teacher's labels of the target."""

    class Options(RoundOptions):
        """Options of clan_st."""

        name: Literal["clan_st"] = "clan_st"  # type: ignore[assignment]
        """The method."""

    options: Options
    family = "AT+ST"
    thresholds: Tensor
    first_shares: Tensor
    shares: Tensor

    def __init__(self, segmenter: Segmenter, options: Options, optim: OptimOptions) -> None:
        super().__init__(segmenter, options, optim)
        C = len(segmenter.classes)
        self.register_buffer("thresholds", torch.ones(C))
        self.register_buffer("first_shares", torch.full((C,), 1 / C))
        self.register_buffer("shares", torch.full((C,), 1 / C))
        self.teacher = Segmenter(segmenter.options, segmenter.classes)
        self.teacher.load_state_dict(segmenter.state_dict())
        self.teacher.requires_grad_(False).eval()
        self.discriminant = (
            FeatureDiscriminant(segmenter, options) if options.discriminant else None
        )
        self._average: Average = get_ema_multi_avg_fn(options.teacher_decay)  # type: ignore[no-untyped-call]

    def setup(self, fabric: Fabric) -> None:
        """Wrap G and D; move the teacher to the device."""
        super().setup(fabric)
        self.teacher.to(fabric.device)
        if self.discriminant is not None:
            self.discriminant.to(fabric.device)
        for name in ("thresholds", "first_shares", "shares"):
            setattr(self, name, getattr(self, name).to(fabric.device))

    @property
    def pretrained(self) -> Encoder | None:
        """The discriminant's encoder."""
        return None if self.discriminant is None else self.discriminant.encoder

    # --- between rounds ---------------------------------------------------------------------------

    def begin_stage(self, stage: Stage, domains: StageDomains) -> None:
        """Choose the round's thresholds; before the first round, copy G into the teacher."""
        options, number = self.options, round_number(stage)
        if number == 1:
            self.teacher.load_state_dict(self.segmenter.state_dict())
        by_class = options.thresholds == "class"
        if not by_class:
            self.thresholds.fill_(options.threshold)
        if self.discriminant is not None:
            normalised = self.teacher.normalised
            self.discriminant.fit(domains, normalised, self.prediction, self.fabric)
        if not (by_class or (options.keep_shares and number == 1)):
            return
        counts = count_confidences(
            domains, self.aligned_confidence, len(self.thresholds), self.fabric
        )
        if by_class:
            self.thresholds.copy_(confidence_thresholds(counts, options.round_portion(number)))
        if number == 1:
            pixels = counts.sum(dim=1)
            self.first_shares.copy_(pixels / pixels.sum())
            self.shares.copy_(self.first_shares)

    def reading(self, stage: Stage) -> Reading:
        """Draw source images by class if `rare_temperature` is set."""
        return Reading(rare_temperature=self.options.rare_temperature)

    @torch.no_grad()
    def confidence(self, image: Tensor) -> Tensor:
        """Return the teacher's q (N, C, H, W) float32 for plain images, refined if asked for."""
        q = self.prediction(image)
        if self.discriminant is None:
            return q
        return self.discriminant.refine(q, self.teacher.normalised(image))

    @torch.no_grad()
    def prediction(self, image: Tensor) -> Tensor:
        """Return the teacher's own q (N, C, H, W) float32 for plain images."""
        with self.fabric.autocast():
            logits: tuple[Tensor, ...] = self.teacher(image)
        if self.options.confidence == "ensemble":
            return self.teacher.ensemble(logits).float().softmax(dim=1)
        p1, p2 = (z.float().softmax(dim=1) for z in logits)
        q = (p1 + p2) / 2
        return q if self.options.confidence == "mean" else q * (1 - alignment_map(p1, p2))

    def aligned_confidence(self, image: Tensor) -> Tensor:
        """Return q with class shares moved towards the initial ones, by `keep_shares`."""
        return self._aligned(self.confidence(image))

    def _aligned(self, q: Tensor) -> Tensor:
        if not self.options.keep_shares:
            return q
        return align_shares(q, self.first_shares, self.shares, self.options.keep_shares)

    # --- within a round ---------------------------------------------------------------------------

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Do CLAN's update, or learn from source labels and the teacher's labels."""
        if progress.step < self.options.clan_steps:
            return super().step(source, target, progress)
        self.start_update(progress)
        parts = list(self.micro_batches(source, target))
        pseudo = self._label_target([part.target["image"] for part in parts])
        draw = SlotDraw(progress.key, self.fabric.global_rank, self.fabric.world_size)
        if self.options.turns:
            self._learn_in_turn(parts, pseudo, progress, draw)
        else:
            mixed = self._mix(parts, pseudo, draw)
            for part, labels, view in zip(parts, pseudo, mixed, strict=True):
                shown = self._source_backward(part, progress)
                self.learn_target(part, labels, view, shown, share=part.last)
        scalars = self.finish_update()
        self._update_teacher()
        return scalars

    def _learn_in_turn(
        self,
        parts: Sequence[MicroBatch],
        pseudo: Sequence[PseudoLabels],
        progress: Progress,
        draw: Draw,
    ) -> None:
        """Step G on the source, then on the target, `turns` times; the last turn is logged."""
        for left in reversed(range(self.options.turns)):
            self.clear_notes()
            shown = [self._source_backward(p, progress, adversary=left == 0) for p in parts]
            self.step_alone("segmenter")
            mixed = self._mix(parts, pseudo, draw)
            for part, labels, view, seen in zip(parts, pseudo, mixed, shown, strict=True):
                self.learn_target(part, labels, view, seen, share=False)
            self.step_alone("segmenter")

    def _source_backward(
        self, part: MicroBatch, progress: Progress, adversary: bool = True
    ) -> bool:
        """Backward of the source loss, and of the adversarial one with `keep_adversary`.

        Returns:
            Whether G has processed the plain target images, as for the adversarial loss.
        """
        p_s = self.learn_source(part.source, progress)
        if not (self.options.keep_adversary and adversary):
            return False
        p_t, weight = self.fool_discriminator(part.target, progress, last=False)
        self.learn_domains(p_s, p_t, weight, part.last)
        return True

    def _mix(
        self, parts: Sequence[MicroBatch], pseudo: Sequence[PseudoLabels], draw: Draw
    ) -> list[Mixed]:
        """Make the strong views of an update's target images, by part, and count their labels."""
        options = self.options
        image = torch.cat([part.target["image"] for part in parts])
        label = torch.cat([labels.label for labels in pseudo])
        if options.mix:
            images = torch.cat([part.source["image"] for part in parts])
            labels = torch.cat([part.source["label"] for part in parts])
            pasted = at_size(images, labels, image.shape[-2:])
            mask = class_mask(pasted[1], len(self.thresholds), draw)
            image, label = paste(mask, pasted, (image, label))
        image = strong_view(image, options.strong_jitter, options.strong_blur, draw)
        self.label_loss.count({"target": label})
        count = len(parts)
        return [Mixed(*pair) for pair in zip(image.chunk(count), label.chunk(count), strict=True)]

    def learn_target(
        self, part: MicroBatch, pseudo: PseudoLabels, mixed: Mixed, shown: bool, share: bool
    ) -> None:
        """Backward of the loss on strong views of the target, labelled by the teacher.

        G processes the plain images first for batch norm, unless it already has (``shown``).
        Gradients are shared with other processes here, or later by `step_alone`.
        """
        options = self.options
        updates_running = POLICY[options.batch_norm]["target"].updates_running
        with self.unsynchronised("segmenter", not share):
            if updates_running and not shown:
                # evaluation normalises by statistics of plain target images, not of mixed ones
                with torch.no_grad():
                    self.forward_batch("target", part.target)
            logits = self.forward_domain("target", mixed.image, update_statistics=False)
            loss = self.segmentation_loss(logits, mixed.label, "target")
            self.backward(options.lambda_target * loss)
        self.note(
            loss_target=loss,
            pseudo_share=(pseudo.label != IGNORE).float().mean(),
            target_diversity=pseudo.diversity,
        )

    def _label_target(self, images: Sequence[Tensor]) -> list[PseudoLabels]:
        """Label the plain target images of an update's parts by the teacher."""
        if self.options.keep_shares:
            # shares are averaged over all parts first: they are updated once per update
            confidences = [self.confidence(image) for image in images]
            shares = torch.stack([argmax_shares(q) for q in confidences]).mean(dim=0)
            shares = cast(Tensor, self.fabric.all_reduce(shares, reduce_op="mean"))
            self.shares.lerp_(shares, 1 - SHARES_DECAY)
            return [self._label(self._aligned(q)) for q in confidences]
        return [self._label(self.confidence(image)) for image in images]

    def _label(self, q: Tensor) -> PseudoLabels:
        label = balanced_labels if self.options.label == "ratio" else argmax_labels
        return PseudoLabels(label(q, self.thresholds), class_diversity(q))

    @torch.no_grad()
    def _update_teacher(self) -> None:
        """Update the teacher's moving average; its batch statistics are copied from G."""
        own, learnt = list(self.teacher.parameters()), list(self.segmenter.parameters())
        self._average(own, learnt, 0)
        for kept, new in zip(self.teacher.buffers(), self.segmenter.buffers(), strict=True):
            kept.copy_(new)
