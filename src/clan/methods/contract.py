"""What every method is: one complete update from a source and a target batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, cast

import torch
from pydantic import BeforeValidator, SerializeAsAny, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer

from clan.core.options import Options
from clan.data.loading import Batch
from clan.losses.segmentation import CrossEntropy, LossOptions, loss_options
from clan.methods.finite import refuse_not_finite
from clan.methods.label_loss import LabelLoss
from clan.methods.stages import Reading, Stage, StageDomains
from clan.models.batchnorm import POLICY, Domain, Mode, set_statistics, share_statistics
from clan.models.segmenter import Features, Segmenter
from clan.optim.groups import build_optimizer, segmenter_groups
from clan.optim.options import OptimizerOptions, OptimOptions
from clan.optim.schedules import schedule_factor, set_learning_rate

if TYPE_CHECKING:
    # for its types alone: Lightning takes seconds to import, and reading a preset needs none of it
    from lightning.fabric import Fabric
    from lightning.fabric.wrappers import _FabricModule

    from clan.models.encoders.contract import Encoder


class MethodOptions(Options):
    """What all methods share."""

    name: str
    """The method."""
    batch_norm: Mode = "both"
    """Which domain's batch statistics normalise and enter the running ones: frozen (none), source,
    target or both."""
    segmentation: Literal["ensemble", "heads"] = "ensemble"
    """Segmentation loss on the ensemble prediction (Eq. 3) or per classifier, summed (code)."""
    loss: Annotated[SerializeAsAny[LossOptions], BeforeValidator(loss_options)] = (
        CrossEntropy.Options()
    )
    """The segmentation loss of a pixel, for labels and pseudo-labels alike."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_former_keys(cls, values: Any) -> Any:
        """Refuse keys of former versions, naming the present ones."""
        former = {
            "focal_gamma": "loss: {name: focal, gamma: 2}, or leave it out for cross-entropy",
            "clamp": "loss: {clamp: 1e-9}, beside the loss's name",
        }
        for key in former if isinstance(values, Mapping) else ():
            if key in values:
                raise ValueError(f"{key} is an option of the loss now: write {former[key]}")
        return values

    def stages(self, steps: int) -> tuple[Stage, ...]:
        """Divide a training of ``steps`` updates; one stage unless a method says otherwise.

        Raises:
            ValueError: there are too few steps; says how many it takes.
        """
        return (Stage("training", steps),)

    @property
    def needs_weights(self) -> str:
        """The option that needs pretrained weights; empty for none."""
        return ""

    @property
    def models(self) -> tuple[str, ...]:
        """Model files of finished trainings that the method asks for: see `Method.models`."""
        return ()

    @property
    def pretrained_weights(self) -> str:
        """Weights of a second, frozen encoder; empty for none: see `Method.pretrained`."""
        return ""

    @property
    def whole_target(self) -> bool:
        """Whether the method needs views of the target that are not cropped."""
        return False


@dataclass(frozen=True)
class Progress:
    """Where in the training a step stands: ``step`` from 0 of ``steps``."""

    step: int
    steps: int
    key: int = 0
    """Seed of the step's random draws, the same in all processes."""

    @property
    def remaining(self) -> float:
        """Return the share of the training still to come, from 1 to 0."""
        return 1 - self.step / self.steps


class MicroBatch(NamedTuple):
    """A slice of an update's images; ``last`` is the one that synchronises gradients."""

    source: Batch
    target: Batch
    last: bool


class Method(nn.Module, ABC):
    """A way to learn from (source, target). Subclasses say how in `step`.

    A module, so that one ``state_dict`` holds the segmenter, discriminators, teachers and
    prototypes. It knows nothing of files, devices, ranks or clocks.

    Args:
        segmenter: the network to train, evaluate and export.
        options: of this method.
        optim: both players' optimizers.

    Attributes:
        models: the trained networks that the options ask for, in evaluation mode; given before
            `setup` where a training is run, and missing where only its cost is tried.
    """

    Options: ClassVar[type[MethodOptions]]
    uses_target: ClassVar[bool] = True
    least_classifiers: ClassVar[int] = 1
    least_side: ClassVar[int] = 1
    """Height and width that the images of a batch need at least."""
    needs_batch_norm: ClassVar[bool] = False
    family: ClassVar[str] = ""
    """The kind of method, as the paper's Table 1 prints it: AT (adversarial), ST (self-training);
    empty for methods that do neither."""

    def __init__(self, segmenter: Segmenter, options: MethodOptions, optim: OptimOptions) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.options = options
        self.optim = optim
        self.optimizers: dict[str, Optimizer] = {}
        # a plain dictionary: wrappers for devices must not enter the state_dict a second time
        self._wrapped: dict[str, _FabricModule] = {}
        self._rules: dict[str, OptimizerOptions] = {}
        self._sums: dict[str, Tensor] = {}
        self.label_loss = LabelLoss(options.loss, segmenter.classes.names)
        # a plain list: they are files of other trainings, and no part of this one's state
        self.models: list[Segmenter] = []

    def setup(self, fabric: Fabric) -> None:
        """Wrap networks and optimizers for the device, precision and processes in use."""
        self.fabric = fabric
        self.label_loss.setup(fabric, self.optim.accumulate)
        for model in self.models:
            model.to(fabric.device)
        if fabric.world_size > 1:
            # of G and of whatever is normalised beside it, such as a teacher
            share_statistics(self, fabric.device)
        groups = segmenter_groups(self.segmenter, self.optim.segmenter)
        self.add_player("segmenter", self.segmenter, groups, self.optim.segmenter)

    @property
    def pretrained(self) -> Encoder | None:
        """The second encoder, if the options ask for one.

        Its weights are loaded where a training begins, and are part of the method's state.
        """
        return None

    @abstractmethod
    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Do one complete update; return named scalars, detached, still on the device."""

    def begin_stage(self, stage: Stage, domains: StageDomains) -> None:
        """Pass over whole data sets before a stage that is declared as ``prepared``.

        The segmenter is in evaluation mode and gradients are off. Store results in buffers, which
        checkpoints save, or in the stage's folder. They must not depend on what an earlier call for
        the same stage left there: a run that was killed during the call calls again when resumed.
        """

    def reading(self, stage: Stage) -> Reading:
        """Return how the training batches of a stage that has begun are to be read."""
        return Reading()

    def add_player(
        self, name: str, module: nn.Module, groups: list[dict[str, Any]], rule: OptimizerOptions
    ) -> None:
        """Give a network its optimizer, both wrapped by Fabric."""
        wrapped, optimizer = self.fabric.setup(module, build_optimizer(groups, rule))
        self._wrapped[name], self._rules[name] = cast("_FabricModule", wrapped), rule
        self.optimizers[name] = cast(Optimizer, optimizer)

    def add_discriminator(self, module: nn.Module) -> None:
        """Give D its optimizer, as `add_player`."""
        rule = self.optim.discriminator
        parameters = list(module.parameters())
        group = {"name": "discriminator", "params": parameters, "lr": rule.lr, "base_lr": rule.lr}
        self.add_player("discriminator", module, [group], rule)

    def start_update(self, progress: Progress) -> None:
        """Clear gradients, sums and counts, set every optimizer's learning rate for this step."""
        self.clear_notes()
        self.label_loss.clear()
        for name, optimizer in self.optimizers.items():
            optimizer.zero_grad(set_to_none=True)
            factor = schedule_factor(self._rules[name], progress.step, progress.steps)
            set_learning_rate(optimizer, factor)

    def finish_update(self) -> dict[str, Tensor]:
        """Step every optimizer and return what was noted, averaged over the micro-batches.

        Raises:
            NotFinite: a gradient is NaN or infinite; no network has stepped.
        """
        refuse_not_finite(self.optimizers, self._sums)
        for optimizer in self.optimizers.values():
            optimizer.step()
        return self.noted()

    def step_alone(self, player: str) -> None:
        """Step one network within an update.

        Its gradients are first averaged over the processes, and cleared after the step. A parameter
        whose gradient is None is not changed, not even by momentum or decay.
        """
        self.share_gradients(player)
        refuse_not_finite({player: self.optimizers[player]}, self._sums)
        self.optimizers[player].step()
        self.optimizers[player].zero_grad(set_to_none=True)

    def noted(self) -> dict[str, Tensor]:
        """End the update; return its named scalars, averaged over the micro-batches."""
        self.label_loss.clear()
        return {name: total / self.optim.accumulate for name, total in self._sums.items()}

    def micro_batches(self, source: Batch, target: Batch) -> Iterator[MicroBatch]:
        """Split an update's images into ``optim.accumulate`` equal parts, one at a time.

        Before the first, the labels of the batches are counted.
        """
        parts = self.optim.accumulate
        self.label_loss.count_batches(source, target)
        for index in range(parts):
            yield MicroBatch(
                _part(source, index, parts), _part(target, index, parts), index == parts - 1
            )

    def forward_domain(
        self,
        domain: Domain,
        image: Tensor,
        size: Sequence[int] | None = None,
        update_statistics: bool = True,
    ) -> tuple[Tensor, ...]:
        """Run G on images of one domain, normalised as the batch-norm mode says.

        The logits have ``size`` (H, W); None: the images' size. With ``update_statistics`` False
        the batch's statistics do not enter the running ones, which evaluation uses.
        """
        statistics = POLICY[self.options.batch_norm][domain]
        if not update_statistics:
            statistics = statistics._replace(updates_running=False)
        set_statistics(self.segmenter, statistics)
        return cast("tuple[Tensor, ...]", self._wrapped["segmenter"](image, size))

    def forward_batch(self, domain: Domain, batch: Batch) -> tuple[Tensor, ...]:
        """Run G on a batch; the logits come at the size of its labels."""
        return self.forward_domain(domain, batch["image"], batch.get("size"))

    def encode_batch(self, domain: Domain, batch: Batch) -> Features:
        """Run E alone, as `forward_batch` would, on this process alone: see `share_gradients`."""
        set_statistics(self.segmenter, POLICY[self.options.batch_norm][domain])
        with self.fabric.autocast():
            return self.segmenter.encode(batch["image"])

    def classify_batch(self, features: Features, batch: Batch) -> tuple[Tensor, ...]:
        """Run the classifiers on a batch's features, on this process alone; as `forward_batch`."""
        own, size = batch["image"].shape[-2:], batch.get("size")
        with self.fabric.autocast():
            return self.segmenter.classify_at(features, own, size)

    def run_player(self, name: str, x: Tensor) -> Tensor:
        """Run another network through its wrapper (precision, gradient synchronisation)."""
        return cast(Tensor, self._wrapped[name](x))

    def segmentation_loss(
        self, logits: tuple[Tensor, ...], label: Tensor, domain: Domain
    ) -> Tensor:
        """L_seg on the ensemble or on each classifier, as configured.

        It is a mean over all labelled pixels of the update: see `clan.methods.label_loss`.

        Args:
            logits: of each classifier, (N, C, H, W).
            label: (N, H, W) uint8 or int64 class indices; 255 is ignored.
            domain: whose labels these are, pseudo-labels included.
        """
        scored = (
            logits if self.options.segmentation == "heads" else (self.segmenter.ensemble(logits),)
        )
        return torch.stack([self.label_loss(z, label, domain) for z in scored]).sum()

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients of the mean over micro-batches."""
        self.fabric.backward(loss / self.optim.accumulate)

    def unsynchronised(self, player: str, enabled: bool) -> AbstractContextManager[None]:
        """Keep a player's gradients on this process until a later backward shares the sum."""
        if not enabled:
            return nullcontext()
        return self.fabric.no_backward_sync(self._wrapped[player])

    def share_gradients(self, player: str) -> None:
        """Average a player's gradients over the processes, all at once.

        For updates whose gradients the wrapper does not share: those that run only a part of a
        network (E without its classifiers, or with frozen parts) or step it more than once.
        """
        if self.fabric.world_size == 1:
            return
        groups = self.optimizers[player].param_groups
        gradients = [p.grad for g in groups for p in g["params"] if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        flat = cast(Tensor, self.fabric.all_reduce(flat, reduce_op="mean"))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def clear_notes(self) -> None:
        """Forget what was noted so far in this update."""
        self._sums = {}

    def note(self, **scalars: Tensor) -> None:
        """Add to this update's named scalars without leaving the device."""
        for name, value in scalars.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def note_discriminator(self, d_s: Tensor, d_t: Tensor) -> None:
        """Note how well D tells the domains apart: accuracy and mean logit, per domain."""
        right_s, right_t = (d_s < 0).float().mean(), (d_t > 0).float().mean()
        self.note(d_accuracy=(right_s + right_t) / 2)
        self.note(d_accuracy_source=right_s, d_accuracy_target=right_t)
        self.note(d_logit_source=d_s.float().mean(), d_logit_target=d_t.float().mean())


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Let gradients pass through networks without reaching their parameters."""
    learning = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _part(batch: Batch, index: int, parts: int) -> Batch:
    """Return the ``index``-th of ``parts`` equal slices of a batch."""
    if parts == 1:
        return batch
    size = len(batch.get("name", ())) // parts
    window = slice(index * size, (index + 1) * size)
    parted = {k: v if k == "size" else v[window] for k, v in batch.items()}  # type: ignore[index]
    return cast(Batch, parted)
