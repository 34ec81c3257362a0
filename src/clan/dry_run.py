"""What a training will cost, before any data set is there: updates on generated images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from clan.config import Config, DataOptions
from clan.config_files import is_description
from clan.data.datasets import BUILTIN_DATASETS
from clan.data.description import read_description
from clan.data.labels import ClassSet, class_set
from clan.data.loading import Batch
from clan.environment import peak_bytes
from clan.errors import ConfigError, RunError
from clan.generated import GeneratedDomains, generated_batch, largest_size
from clan.inference import evaluating
from clan.methods import METHODS, Method, Progress, Stage
from clan.models.segmenter import Segmenter
from clan.processes import launch, refuse_uneven

STEPS = 3
"""Updates, at the least."""


@dataclass(frozen=True)
class Group:
    """One group of parameters of one optimizer."""

    player: str
    name: str
    rule: str
    tensors: int
    parameters: int
    rate: float
    listings: int
    """Steps that one update takes with each tensor; more than 1 with ``listings: published``."""


@dataclass(frozen=True)
class DryRun:
    """What the updates told.

    Attributes:
        stage: the last stage of the training, in which they were done.
        classes: outputs of each classifier.
        parameters: learning and all parameters of each network.
        groups: what the optimizers hold.
        shapes: (N, H, W) of each domain's images, the largest that its view makes.
        device: where the updates ran.
        peak_bytes: most memory in use: of the device, or on the CPU of this process.
        seconds: of an update, the mean of all but the first.
        processor_seconds: the same, of processor time over all threads; on a CPU that others use
            too, the steadier number.
        hours: of the whole training at that pace, without reading images, passes over data sets
            and scoring; of a training in stages the most, since its last stage is its dearest.
    """

    stage: str
    classes: int
    parameters: dict[str, tuple[int, int]]
    groups: tuple[Group, ...]
    shapes: dict[str, tuple[int, int, int]]
    device: str
    peak_bytes: int
    seconds: float
    processor_seconds: float
    hours: float


def dry_run(config: Config, patience: float = 0.0) -> DryRun:
    """Build all that a training needs and do updates; nothing is read or kept.

    Weights are not loaded: they change neither time nor memory. A method in stages passes over two
    generated images of each domain before each of them, and its last stage is measured.

    Args:
        config: of the training.
        patience: seconds to go on with updates for, beyond the three that are always done.

    Raises:
        ConfigError: a view whose size only the data tell, a source that does not tell its classes,
            devices that this machine lacks.
        RunError: not enough memory.
    """
    classes = _classes(config.data)
    views = {"source": config.data.source_view}
    if METHODS[config.method.name].uses_target:
        views["target"] = config.data.target_view
    shapes = {name: largest_size(name, view) for name, view in views.items()}
    fabric = launch(config.training)
    refuse_uneven(config, fabric.world_size)
    images = config.data.batch_size // fabric.world_size
    torch.manual_seed(config.seed)
    segmenter = Segmenter(config.model, classes, config.data.evaluation_size)
    method = METHODS[config.method.name](segmenter, config.method, config.optim)
    method.setup(fabric)
    stages = config.method.stages(config.training.steps)
    _prepare(method, stages, config, shapes, fabric)
    batches = {
        name: fabric.to_device(generated_batch(images, shapes[name], view, len(classes)))
        for name, view in views.items()
    }
    if "target" in batches and not method.reading(stages[-1]).target_labels:
        del batches["target"]["label"]
    start = config.training.steps - stages[-1].steps
    seconds, processor_seconds = _timed_updates(method, config, batches, fabric, start, patience)
    return DryRun(
        stage=stages[-1].name,
        classes=len(classes),
        parameters={name: _count(part) for name, part in method.named_children()},
        groups=tuple(_groups(method)),
        shapes={name: (images, *shape) for name, shape in shapes.items()},
        device=_device_name(fabric),
        peak_bytes=peak_bytes(fabric.device),
        seconds=seconds,
        processor_seconds=processor_seconds,
        hours=seconds * config.training.steps / 3600,
    )


def _classes(data: DataOptions) -> ClassSet:
    """Return the class set that the data would have, from their description alone."""
    if data.classes is not None:
        return class_set(data.classes)
    source = data.source.dataset
    if source in BUILTIN_DATASETS:
        path = Path(str(files("clan"))) / "data" / "builtin" / f"{source}.yaml"
    elif is_description(source):
        path = Path(source).expanduser()
    else:
        raise ConfigError(
            f"data.source {source!r} is a folder, which does not tell its classes: give "
            "data.classes, or a description of the data set"
        )
    return class_set(read_description(path).classes, base=path.parent)


def _prepare(
    method: Method,
    stages: Sequence[Stage],
    config: Config,
    shapes: Mapping[str, tuple[int, int]],
    fabric: Fabric,
) -> None:
    """Let the method prepare its stages, as a training would, on a few generated images."""
    size = config.data.evaluation_size or shapes.get("target", shapes["source"])
    classes = len(method.segmenter.classes)
    with (
        tempfile.TemporaryDirectory() as folder,
        evaluating(method.segmenter),
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        for stage in stages:
            if stage.prepared:
                domains = GeneratedDomains(Path(folder), size, classes, fabric)
                method.begin_stage(stage, domains)


def _timed_updates(
    method: Method,
    config: Config,
    batches: dict[str, Batch],
    fabric: Fabric,
    start: int,
    patience: float,
) -> tuple[float, float]:
    """Do the updates from ``start``; return the mean seconds of all but the first.

    The first also sets things up. The second number counts processor time, not the clock's.
    """
    last = config.training.steps - 1
    steps = config.training.schedule_steps or config.training.steps
    ends: list[tuple[float, float]] = []
    try:
        while len(ends) < STEPS or ends[-1][0] - ends[0][0] < patience:
            progress = Progress(min(start + len(ends), last), steps)
            method.step(batches["source"], batches.get("target", Batch()), progress)
            if fabric.device.type == "cuda":
                torch.cuda.synchronize(fabric.device)
            ends.append((time.perf_counter(), time.process_time()))
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"{_device_name(fabric)} has not enough memory for an update of this configuration. "
            "Smaller are: training.precision=bf16-mixed, a crop or size of fewer pixels in "
            "data.source_view and data.target_view, and, above one image, optim.accumulate"
        ) from error
    seconds, processor = (
        (end - first) / (len(ends) - 1) for first, end in zip(ends[0], ends[-1], strict=True)
    )
    return seconds, processor


def _count(module: nn.Module) -> tuple[int, int]:
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes)


def _groups(method: Method) -> Iterator[Group]:
    for player, optimizer in method.optimizers.items():
        for group in optimizer.param_groups:
            yield Group(
                player,
                group["name"],
                getattr(method.optim, player).name,
                len(group["params"]),
                sum(p.numel() for p in group["params"]),
                group["base_lr"],
                group.get("listings", 1),
            )


def _device_name(fabric: Fabric) -> str:
    if fabric.device.type == "cuda":
        return str(torch.cuda.get_device_name(fabric.device))
    return f"{fabric.device.type} ({torch.get_num_threads()} threads)"


def print_dry_run(result: DryRun, config: Config, console: Console) -> None:
    """Print what a dry run told."""

    def tell(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    model, steps = config.model, config.training.steps
    tell(f"{config.name}: {config.description or config.method.name}")
    tell(
        f"network: {model.encoder} with {model.classifiers} x {model.head}, {result.classes} "
        f"classes; weights {config.weights or 'none'} (not loaded here)"
    )
    for name, (learning, total) in result.parameters.items():
        tell(f"parameters: {name} {total:,}, of which {learning:,} learn")
    for name, (images, height, width) in result.shapes.items():
        tell(f"images: {name} {images} of {height}x{width}")
    console.print(_table(result.groups))
    if len(config.method.stages(steps)) > 1:
        tell(f"stage: {result.stage}, the last; an update of the first ones may cost less")
    tell(f"device: {result.device}, precision {config.training.precision}")
    tell(f"peak memory: {result.peak_bytes / 2**30:.1f} GiB")
    tell(
        f"time: {result.seconds:.2f} s an update, {result.hours:.1f} hours for {steps:,} steps, "
        "without reading images and scoring"
    )


def _table(groups: tuple[Group, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("optimizer", "rule", "group"):
        table.add_column(Text(head))
    for head in ("tensors", "parameters", "rate", "listings"):
        table.add_column(Text(head), justify="right")
    for group in groups:
        numbers = (f"{group.tensors:,}", f"{group.parameters:,}", f"{group.rate:g}")
        table.add_row(group.player, group.rule, group.name, *numbers, str(group.listings))
    return table
