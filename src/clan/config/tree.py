"""The options of a whole run as one typed, validated tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator
from pydantic_core import PydanticCustomError

from clan.config.files import domain_tree
from clan.core.errors import ConfigError
from clan.core.options import Options
from clan.core.text import hidden_in
from clan.data.sizes import InputSize
from clan.data.views import ViewOptions
from clan.methods import MethodOptions, find_method, method_names
from clan.models.encoders.table import encoder_spec
from clan.models.options import ModelOptions
from clan.optim.options import OptimOptions
from clan.weights.hf import is_hf


def _method_options(value: Any) -> Any:
    """Validate the options of the named method against its own ``Options``."""
    if not isinstance(value, Mapping):
        return value
    if "name" not in value:
        raise PydanticCustomError("no_method", "missing; valid: " + ", ".join(method_names()))
    try:
        method = find_method(str(value["name"]))
    except ConfigError as error:
        raise PydanticCustomError("unknown_method", "{problem}", {"problem": str(error)}) from error
    return method.Options.model_validate(value)


AnyMethod = Annotated[SerializeAsAny[MethodOptions], BeforeValidator(_method_options)]
"""The options of whichever method is named, those of other packages included."""


class DomainOptions(Options):
    """Where the images of a domain come from."""

    dataset: str
    """A built-in data set (gta5, synthia, cityscapes), a description (.yaml), or a folder; python
    for a data set that is passed to clan.train, which also needs data.classes."""
    root: str | tuple[str, ...] | None = None
    """The data set's folder or archive, relative to data.root, or a list of archives that are read
    as one; a description may name its own."""
    split: str = "train"
    """Which split of the data set."""
    absent: tuple[str, ...] = ()
    """Classes that are known to be missing from this split. `clan data check` reports any other
    class without a pixel as a problem."""

    @property
    def shown_root(self) -> str:
        """Return the root as text, empty where there is none."""
        return self.root or "" if not isinstance(self.root, tuple) else " + ".join(self.root)


def _none(value: Any) -> Any:
    """Let ``none`` stand for YAML's null."""
    return None if value == "none" else value


Domain = Annotated[DomainOptions, BeforeValidator(domain_tree)]
OptionalDomain = Annotated[DomainOptions | None, BeforeValidator(domain_tree)]


class DataOptions(Options):
    """The data sets of source, target and validation, and how they are read."""

    root: str | None = None
    """Folder or archive against which relative roots below are resolved; not given: the working
    folder."""
    classes: str | None = None
    """Class set: a built-in name or a file. Not given: the source's. With a named subset of it,
    such as cityscapes-16, the classifiers have the subset's classes only; pixels of other classes
    are ignored."""
    source: Domain
    """The labelled domain."""
    target: OptionalDomain = None
    """The domain to adapt to; its labels are never read."""
    validation: OptionalDomain = None
    """A labelled split of the target, for scores only; it selects nothing."""
    source_view: ViewOptions = ViewOptions()
    """Size, crop and augmentation of source images in training."""
    target_view: ViewOptions = ViewOptions()
    """Size, crop and augmentation of target images in training."""
    evaluation_size: InputSize | None = None
    """Size of the network's input in scoring and prediction: (H, W), or one number, the length of
    the shorter side, which keeps the aspect ratio; not given: each image's own size."""
    evaluation_protocol: Literal["own", "paper", "reference"] = "own"
    """How logits are up-sampled to the labels' size in scoring. own: from the input's size; paper:
    the same with aligned corners; reference: in one step from the classifiers' size (published
    code)."""
    batch_size: int = Field(1, ge=1)
    """Images per domain and update, summed over processes and accumulated parts."""
    cache: str = "none"
    """Where decoded and resized images are kept: none, memory (of each process), or a folder.
    Results are bit-identical; reading is several times faster after the first pass."""
    cache_gib: float = Field(50.0, gt=0)
    """Greatest size of the cache in GiB; further images are read from their files."""
    on_error: Literal["stop", "skip"] = "stop"
    """What happens to a training image, or its label, that cannot be read. stop: the training ends
    with the file's name and what is wrong. skip: another image of the domain takes its place, drawn
    from (seed, step, slot); it is reported once and listed in skipped.jsonl. If more than 1 % of a
    domain's images (and more than one) are skipped, the training ends. Scoring never skips."""
    workers: int = Field(0, ge=0)
    """Loader processes per domain; 0 reads in the training process. The batches are the same for
    any number."""


class TrainingOptions(Options):
    """Length, devices, and when results are written."""

    steps: int = Field(ge=1)
    """Number of updates. Schedules end here too, unless `schedule_steps` is given."""
    schedule_steps: int | None = Field(None, ge=1)
    """Number of updates after which schedules and damping end, if the training stops earlier
    (published code of TAN: 250,000, stopped at 150,000). Not given: `steps`."""
    log_every: int = Field(10, ge=1)
    """Steps between lines of metrics.jsonl; scalars leave the device only then."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between scores on data.validation; 0: only at the end."""
    checkpoint_every: int = Field(500, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(2, ge=1)
    """Number of checkpoints that are kept, the newest. While a stage learns from pseudo-labels, the
    one of its beginning is kept too: lost labels are made anew from it."""
    snapshot_every: int = Field(0, ge=0)
    """Steps between the model files in snapshots/, which analyses read; the first is written before
    the first step. 0: none."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device."""
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """Processes on this machine, one per device; auto: all devices."""
    nodes: int = Field(1, ge=1)
    """Machines; start the same command on each, through torchrun or a scheduler."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic of the networks; losses are always float32. bf16-mixed is refused on a CPU that
    would emulate it."""
    checkpointing: Literal["none", "encoder"] = "none"
    """encoder: its blocks keep their inputs alone and run again in backward, for less memory and
    more time; the results stay the same."""
    compile: bool = False
    """Compile the encoder with torch.compile: on GPUs; on CPUs it was measured to gain nothing."""
    sinks: tuple[str, ...] = ("tensorboard",)
    """Where scalars are written besides metrics.jsonl: tensorboard, csv, wandb, mlflow (the last
    two need extras), or a sink that another package adds."""

    @model_validator(mode="after")
    def _schedule_reaches(self) -> TrainingOptions:
        if self.schedule_steps is not None and self.schedule_steps < self.steps:
            raise ValueError(
                f"schedule_steps {self.schedule_steps} end before the {self.steps} steps: give as "
                "many or more, or leave schedule_steps out"
            )
        return self


class Config(Options):
    """Everything that a run depends on."""

    name: str = Field(min_length=1)
    """The system's name: runs of one name and different seeds are one row of a table."""
    description: str = ""
    """What the preset reproduces or is for."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the initial weights and of the order, crops and mirroring of images."""
    data: DataOptions
    """The data sets of source, target and validation, and how they are read."""
    model: ModelOptions = ModelOptions()
    """The network."""
    weights: Annotated[str | None, BeforeValidator(_none)] = None
    """Weights to start from: a file; a run folder; imagenet (downloaded); hf: and a folder or a hub
    name, for encoders of transformers; or none. In a path, {seed} stands for the run's seed, and
    {runs} for the folder RUNS of a run RUNS/SYSTEM/seedN, as in {runs}/source_only/seed{seed}."""
    weights_for: Literal["encoder", "network"] = "encoder"
    """What the weights initialise. encoder: the encoder alone; network: the classifiers too, from
    the model of a finished run with the same network and classes."""
    method: AnyMethod
    """The method and its options."""
    optim: OptimOptions = OptimOptions()
    """Optimizers and schedules."""
    training: TrainingOptions
    """Length, devices, and when results are written."""

    @field_validator("name")
    @classmethod
    def _visible(cls, name: str) -> str:
        if sign := hidden_in(name):
            raise ValueError(f"a name is shown and names files: it holds the character {sign}")
        return name

    @model_validator(mode="after")
    def _check_across_groups(self) -> Config:
        """Check that the groups fit together."""
        method, encoder = find_method(self.method.name), encoder_spec(self.model.encoder)
        if method.uses_target and self.data.target is None:
            raise ValueError(f"method {self.method.name} learns from a target: give data.target")
        if self.data.source_view.fourier is not None and self.data.target is None:
            raise ValueError("data.source_view.fourier takes a target's style: give data.target")
        if self.data.target_view.fourier is not None:
            raise ValueError(
                "data.target_view.fourier has no effect, as fourier changes source images only: "
                "set data.source_view.fourier"
            )
        if self.model.classifiers < method.least_classifiers:
            raise ValueError(
                f"method {self.method.name} compares {method.least_classifiers} classifiers: set "
                f"model.classifiers={method.least_classifiers} (found {self.model.classifiers})"
            )
        if self.optim.segmenter.step_repeats != "once" and not encoder.published_repeats:
            raise ValueError(
                "optim.segmenter.step_repeats=published is for ResNets, which the published codes "
                f"list several times; {self.model.encoder} is listed once: leave it out"
            )
        if self.optim.segmenter.layer_decay != 1 and not encoder.layered:
            raise ValueError(
                "optim.segmenter.layer_decay gives each layer of a transformer its own rate; "
                f"{self.model.encoder} tells none apart: leave it out, or choose an encoder hf:NAME"
            )
        if self.method.whole_target and (cut := self.data.target_view.cuts()):
            raise ValueError(
                f"method {self.method.name} compares class distributions of whole target images, "
                f"and data.target_view {cut}: set data.target_view.crop=null, or a size within "
                "the crop (or method.lambda_global=0)"
            )
        if method.needs_batch_norm and not encoder.batch_norm:
            raise ValueError(
                f"method {self.method.name} adapts batch norm, and {self.model.encoder} has none: "
                "it would be source_only"
            )
        if self.weights_for == "network" and (
            self.weights in (None, "imagenet") or is_hf(str(self.weights))
        ):
            found = self.weights or "none"
            raise ValueError(
                f"weights_for=network starts the classifiers too, and weights={found} has none: "
                "give the model.safetensors of a finished run"
            )
        for domain, view in (("source", self.data.source_view), ("target", self.data.target_view)):
            side = view.least_side()
            if side is not None and side < method.least_side:
                raise ValueError(
                    f"method {self.method.name} halves its images five times and needs "
                    f"{method.least_side}x{method.least_side} pixels, and data.{domain}_view makes "
                    f"some of {side}: raise its crop, size or scale"
                )
        if self.weights is None and (option := self.method.needs_weights):
            raise ValueError(
                f"{option} keeps features close to those of the initial weights, and weights=none "
                f"makes these random: give weights, or set {option}=0"
            )
        if self.data.batch_size % self.optim.accumulate:
            raise ValueError(
                f"data.batch_size {self.data.batch_size} does not divide into optim.accumulate "
                f"{self.optim.accumulate} parts"
            )
        # raises if there are too few steps for the method's stages
        self.method.stages(self.training.steps)
        return self
