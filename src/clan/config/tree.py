"""A whole run as one typed, validated tree, and the presets that load into it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from clan.config.errors import explain
from clan.config.files import (
    domain_tree,
    find,
    is_description,
    override_key,
    preset_names,
    read_tree,
)
from clan.config.renamed import renew
from clan.core.errors import ConfigError
from clan.core.options import Options
from clan.data.datasets import BUILTIN_DATASETS
from clan.data.python import PYTHON
from clan.data.sizes import InputSize
from clan.data.views import ViewOptions
from clan.methods import MethodOptions, find_method, method_names
from clan.models.encoders.table import encoder_spec
from clan.models.options import ModelOptions
from clan.optim.options import OptimOptions
from clan.weights.hf import anchored_hf, is_hf
from clan.weights.model_files import model_file
from clan.weights.start import RUNS

__all__ = [
    "Config",
    "DataOptions",
    "DomainOptions",
    "TrainingOptions",
    "anchored",
    "differences",
    "dump_config",
    "flat",
    "is_configuration",
    "load_config",
    "load_written",
    "preset_names",
]


def _method_options(value: Any) -> Any:
    """Validate a method's options by those that the method of its name declares."""
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
    root: str | None = None
    """The data set's folder, relative to data.root; a description may name its own instead."""
    split: str = "train"
    """Which split of the data set."""
    absent: tuple[str, ...] = ()
    """Classes that this split is known to lack; `clan data check` calls others without a pixel a
    problem."""


def _none(value: Any) -> Any:
    """Let ``none`` stand for YAML's null."""
    return None if value == "none" else value


Domain = Annotated[DomainOptions, BeforeValidator(domain_tree)]
OptionalDomain = Annotated[DomainOptions | None, BeforeValidator(domain_tree)]


class DataOptions(Options):
    """What is learnt from, adapted to and scored on."""

    root: str | None = None
    """Folder that relative roots below start from; the working folder if not given."""
    classes: str | None = None
    """Class set: built-in name or file. Not given: that of the source. A named subset of that, such
    as cityscapes-16, makes a classifier of so many outputs; its other classes are ignored."""
    source: Domain
    """The labelled domain."""
    target: OptionalDomain = None
    """The domain to adapt to; labels are not read, whether there are any or not."""
    validation: OptionalDomain = None
    """A labelled split of the target for scores only; nothing is selected by it."""
    source_view: ViewOptions = ViewOptions()
    """Size, crop and augmentation of source images in training."""
    target_view: ViewOptions = ViewOptions()
    """Size, crop and augmentation of target images in training."""
    evaluation_size: InputSize | None = None
    """(H, W) that the network sees images at in scoring and prediction, or one number: their short
    side, their shape kept (portraits beside landscapes); not given: their own size."""
    evaluation_protocol: Literal["own", "paper", "reference"] = "own"
    """How logits reach the labels' size in scoring: own: from the input's size; paper: likewise,
    corners aligned; reference: in one step from the classifiers' size (published code)."""
    batch_size: int = Field(1, ge=1)
    """Images per domain and update, over all processes and accumulated parts."""
    cache: str = "none"
    """Keeps what was decoded and resized: none, memory (of each process), or a folder. Results stay
    the same bit by bit; reading is several times faster after the first pass."""
    cache_gib: float = Field(50.0, gt=0)
    """GiB that the cache holds at most; what is beyond is read from its files."""
    workers: int = Field(0, ge=0)
    """Loader processes per domain; 0 reads in the training process. The data stay the same."""


class TrainingOptions(Options):
    """How long, on what, and what is written when."""

    steps: int = Field(ge=1)
    """Updates; every schedule ends here, unless it is made for more."""
    schedule_steps: int | None = Field(None, ge=1)
    """Updates that schedules and damping are made for, where the training stops before their end
    (published code of TAN: 250,000, stopped at 150,000). Not given: `steps`."""
    log_every: int = Field(10, ge=1)
    """Steps between lines of metrics.jsonl; scalars leave the device only then."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between scores on data.validation; 0: only at the end."""
    checkpoint_every: int = Field(500, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many of the newest checkpoints stay."""
    snapshot_every: int = Field(0, ge=0)
    """Steps between model files kept in snapshots/ for analyses, the first before any step; 0:
    none."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device."""
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """Processes on this machine, one per device; auto: all devices."""
    nodes: int = Field(1, ge=1)
    """Machines; start the same command on each, through torchrun or a scheduler."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic of the networks; losses are always float32."""
    sinks: tuple[str, ...] = ("tensorboard",)
    """Where scalars go beside metrics.jsonl: tensorboard, csv, wandb, mlflow (the last two are
    extras), or what `clan.register_sink` has added."""

    @model_validator(mode="after")
    def _schedule_reaches(self) -> TrainingOptions:
        if self.schedule_steps is not None and self.schedule_steps < self.steps:
            raise ValueError(
                f"schedule_steps {self.schedule_steps} end before the {self.steps} steps: give as "
                "many or more, or leave it out"
            )
        return self


class Config(Options):
    """Everything that a run depends on."""

    name: str = Field(min_length=1)
    """The system's name: runs of one name and different seeds are one row of a table."""
    description: str = ""
    """What the preset reproduces or is for."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of weights, order, crops and mirrors."""
    data: DataOptions
    """What is learnt from, adapted to and scored on."""
    model: ModelOptions = ModelOptions()
    """The network."""
    weights: Annotated[str | None, BeforeValidator(_none)] = None
    """Weights to start from: a file, a run folder, imagenet (downloads), for an encoder of
    transformers hf: and a folder or a name on its hub, or none. In a path
    {seed} is the run's seed, and {runs} the folder RUNS of a run RUNS/SYSTEM/seedN:
    {runs}/source_only/seed{seed}."""
    weights_for: Literal["encoder", "network"] = "encoder"
    """What starts from them: the encoder, or with network the classifiers too, for which the file
    has to be a model of such a network and such classes (a finished run's)."""
    method: AnyMethod
    """How to learn."""
    optim: OptimOptions = OptimOptions()
    """Optimizers and schedules."""
    training: TrainingOptions
    """How long, on what, and what is written when."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Config:
        """Check what no single group can."""
        method, encoder = find_method(self.method.name), encoder_spec(self.model.encoder)
        if method.uses_target and self.data.target is None:
            raise ValueError(f"method {self.method.name} learns from a target: give data.target")
        if self.data.source_view.fourier is not None and self.data.target is None:
            raise ValueError("data.source_view.fourier takes a target's style: give data.target")
        if self.data.target_view.fourier is not None:
            raise ValueError(
                "data.target_view.fourier is read of the source alone: set data.source_view.fourier"
            )
        if self.model.classifiers < method.least_classifiers:
            raise ValueError(
                f"method {self.method.name} compares {method.least_classifiers} classifiers: set "
                f"model.classifiers={method.least_classifiers} (found {self.model.classifiers})"
            )
        if self.optim.segmenter.step_repeats != "once" and not encoder.published_repeats:
            raise ValueError(
                "optim.segmenter.step_repeats=published is how the published codes list a ResNet; "
                f"{self.model.encoder} is listed once"
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
                f"{option} holds features near those that the training starts from, and weights="
                f"none starts from random ones: give weights, or set {option}=0"
            )
        if self.data.batch_size % self.optim.accumulate:
            raise ValueError(
                f"data.batch_size {self.data.batch_size} does not divide into optim.accumulate "
                f"{self.optim.accumulate} parts"
            )
        # a method says so if there are too few steps for what it does in turn
        self.method.stages(self.training.steps)
        return self


def load_config(preset: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Load a preset by name, or a configuration file, with ``key=value`` changes.

    Args:
        preset: a name from `preset_names`, or the path of a ``.yaml`` file.
        overrides: changes, such as ``training.steps=500``; values are YAML.

    Returns:
        The whole run, checked.

    Raises:
        ConfigError: unknown preset, key or value (naming the nearest valid one), or a value out
            of range.

    Example:
        config = clan.load_config("town/clan", ["data.root=data/town", "seed=1"])
    """
    return _checked(read_tree(find(str(preset))), preset, overrides)


def load_written(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Load the configuration that a run wrote, keys by their names of then included.

    Raises:
        ConfigError: as `load_config`.
    """
    return _checked(renew(read_tree(find(str(path)))), path, overrides)


def _checked(tree: dict[str, Any], preset: str | Path, overrides: Sequence[str]) -> Config:
    for change in overrides:
        override_key(tree, change)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        # the branches of a union fail one by one, each with the same words
        lines = dict.fromkeys(f"  {explain(details, Config, tree)}" for details in error.errors())
        changes = f" with {' '.join(overrides)}" if overrides else ""
        raise ConfigError(f"{preset}{changes} is not valid:\n" + "\n".join(lines)) from error


def anchored(config: Config) -> Config:
    """Return the configuration with absolute paths: it means the same from any folder.

    Roots of domains stay relative to ``data.root`` where there is one. A folder of images is
    looked for in the working folder, then in its domain's root. Of a run folder, weights are its
    model.
    """
    data = config.data
    base = None if data.root is None else _absolute(data.root)
    domains = {
        name: None if domain is None else _anchored_domain(domain, base)
        for name in ("source", "target", "validation")
        for domain in [getattr(data, name)]
    }
    classes = data.classes
    if classes is not None and Path(classes).expanduser().is_file():
        classes = _absolute(classes)
    weights = config.weights
    if weights is not None and is_hf(weights):
        weights = anchored_hf(weights)
    elif weights not in (None, "imagenet") and not str(weights).startswith(RUNS):
        weights = str(model_file(Path(_absolute(str(weights)))))
    data = data.model_copy(update={"root": base, "classes": classes, **domains})
    method = config.method
    if method.models:
        found = tuple(str(model_file(Path(_absolute(path)))) for path in method.models)
        method = method.model_copy(update={"label_models": found})
    return config.model_copy(update={"data": data, "weights": weights, "method": method})


def _anchored_domain(domain: DomainOptions, base: str | None) -> DomainOptions:
    if domain.dataset == PYTHON:
        return domain
    root = domain.root
    if root is not None:
        root = _absolute(root) if base is None else str(Path(root).expanduser())
    dataset = domain.dataset
    inside = Path(base or ".", root or ".", dataset)
    # with a root, `gta5` is the layout, even where a folder of that name lies beside it
    layout = dataset in BUILTIN_DATASETS and (root is not None or base is not None)
    if is_description(dataset) or (Path(dataset).expanduser().is_dir() and not layout):
        dataset = _absolute(dataset)
    elif dataset not in BUILTIN_DATASETS and inside.is_dir():
        dataset = _absolute(str(inside))
    return domain.model_copy(update={"root": root, "dataset": dataset})


def _absolute(path: str) -> str:
    return os.path.abspath(Path(path).expanduser())


def is_configuration(path: Path) -> bool:
    """Tell a run's configuration from another YAML file, such as a data set's description."""
    tree = read_tree(path)
    return "method" in tree or "training" in tree


def dump_config(config: Config) -> str:
    """Return the resolved configuration as YAML that `load_config` reads back."""
    tree = config.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, allow_unicode=True)


def differences(a: Config, b: Config) -> list[tuple[str, Any, Any]]:
    """Return (key, value in a, value in b) wherever two configurations differ."""
    flat_a, flat_b = flat(a), flat(b)
    return [
        (key, flat_a.get(key), flat_b.get(key))
        for key in dict.fromkeys([*flat_a, *flat_b])
        if flat_a.get(key) != flat_b.get(key)
    ]


def flat(config: Config) -> dict[str, Any]:
    """Return every value by its dotted key, such as ``method.epsilon``."""
    return dict(_flatten(config.model_dump(mode="json")))


def unflat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree whose values by dotted keys these are, as `Config.model_validate` reads."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *groups, last = key.split(".")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return tree


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
