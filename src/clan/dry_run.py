"""What a training will cost, before any data set is there: three updates on generated images."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
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
from clan.data.transforms import ViewOptions, scaled_size
from clan.errors import ConfigError, RunError
from clan.methods import METHODS, Method, Progress
from clan.models.segmenter import Segmenter
from clan.processes import launch, refuse_uneven

STEPS = 3


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
    """What three updates told.

    Attributes:
        classes: outputs of each classifier.
        parameters: learning and all parameters of each network.
        groups: what the optimizers hold.
        shapes: (N, H, W) of each domain's images, the largest that its view makes.
        device: where the updates ran.
        peak_bytes: most memory in use: of the device, or on the CPU of this process.
        seconds: of an update, the mean of all but the first.
        processor_seconds: the same, of processor time over all threads; on a CPU that others use
            too, the steadier number.
        hours: of the whole training at that pace, without reading images and scoring.
    """

    classes: int
    parameters: dict[str, tuple[int, int]]
    groups: tuple[Group, ...]
    shapes: dict[str, tuple[int, int, int]]
    device: str
    peak_bytes: int
    seconds: float
    processor_seconds: float
    hours: float


def dry_run(config: Config) -> DryRun:
    """Build all that a training needs and do three updates; nothing is read or written.

    Weights are not loaded: they change neither time nor memory.

    Raises:
        ConfigError: a view whose size only the data tell, a source that does not tell its classes,
            devices that this machine lacks.
        RunError: not enough memory.
    """
    classes = _classes(config.data)
    views = {"source": config.data.source_view}
    if METHODS[config.method.name].uses_target:
        views["target"] = config.data.target_view
    shapes = {name: _size(name, view) for name, view in views.items()}
    fabric = launch(config.training)
    refuse_uneven(config, fabric.world_size)
    images = config.data.batch_size // fabric.world_size
    torch.manual_seed(config.seed)
    segmenter = Segmenter(config.model, classes, config.data.evaluation_size)
    method = METHODS[config.method.name](segmenter, config.method, config.optim)
    method.setup(fabric)
    batches = {
        name: fabric.to_device(_batch(images, shapes[name], view, len(classes)))
        for name, view in views.items()
    }
    seconds, processor_seconds = _timed_updates(method, config, batches, fabric)
    return DryRun(
        classes=len(classes),
        parameters={name: _count(part) for name, part in method.named_children()},
        groups=tuple(_groups(method)),
        shapes={name: (images, *shape) for name, shape in shapes.items()},
        device=_device_name(fabric),
        peak_bytes=_peak_bytes(fabric),
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


def _size(domain: str, view: ViewOptions) -> tuple[int, int]:
    """Return (H, W) of the largest images that a view makes."""
    if view.crop is not None:
        return view.crop
    if view.size is None:
        raise ConfigError(
            f"data.{domain}_view has neither size nor crop: images come as stored, and a dry run "
            f"looks at none. Say how large they are, as in data.{domain}_view.size=[512,1024]"
        )
    alone = max((factor for factor, _ in view.image_scales), default=1.0)
    return scaled_size(view.size, view.scale[1] * alone)


def _batch(images: int, shape: tuple[int, int], view: ViewOptions, classes: int) -> Batch:
    labelled = view.size if view.image_scales and view.size is not None else shape
    batch = Batch(
        image=torch.randint(0, 256, (images, 3, *shape), dtype=torch.uint8),
        label=torch.randint(0, classes, (images, *labelled), dtype=torch.uint8),
        name=[str(index) for index in range(images)],
    )
    if view.image_scales:
        batch["size"] = labelled
    return batch


def _timed_updates(
    method: Method, config: Config, batches: dict[str, Batch], fabric: Fabric
) -> tuple[float, float]:
    """Do the updates; return the mean seconds of all but the first, which also sets things up.

    The second number counts processor time instead of the clock's.
    """
    steps = config.training.schedule_steps or config.training.steps
    ends = []
    try:
        for index in range(STEPS):
            progress = Progress(min(index, steps - 1), steps)
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
        (last - first) / (STEPS - 1) for first, last in zip(ends[0], ends[-1], strict=True)
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


def _peak_bytes(fabric: Fabric) -> int:
    if fabric.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(fabric.device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kibibytes, macOS in bytes
    return peak if sys.platform == "darwin" else peak * 1024


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
