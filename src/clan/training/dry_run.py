"""Measures the cost of a training without its data: a few updates on generated images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from clan.config.files import is_description
from clan.config.tree import Config, DataOptions
from clan.core.errors import ConfigError, RunError
from clan.data.classes import ClassSet, class_set
from clan.data.datasets import BUILTIN_DATASETS
from clan.data.description import read_description
from clan.methods import METHODS, Method, Progress, Stage
from clan.models.segmenter import Segmenter
from clan.runs.environment import peak_bytes
from clan.scoring.inference import evaluating
from clan.training.network import prepare_network
from clan.training.processes import launch, refuse_uneven
from clan.training.trial_data import TrialData

UPDATES = 3


class Cost(NamedTuple):
    """Seconds of an update: wall time, and processor time summed over threads."""

    seconds: float
    processor_seconds: float


@dataclass(frozen=True)
class Group:
    """One group of parameters of one optimizer."""

    player: str
    name: str
    rule: str
    tensors: int
    parameters: int
    rate: float
    step_repeats: int
    """Steps that an update takes with each tensor; above 1 with ``step_repeats: published``."""


@dataclass(frozen=True)
class DryRun:
    """The measurements.

    Attributes:
        classes: outputs of each classifier.
        parameters: learning and all parameters of each network.
        groups: what the optimizers hold.
        shapes: (N, H, W) of each domain's images, the largest that its view makes.
        device: where the updates ran.
        peak_bytes: most memory in use: of the device, or on the CPU of this process.
        seconds: of an update, the mean of all but the first; of the most expensive stage.
        processor_seconds: the same in processor time, summed over threads; on a shared CPU it
            varies less.
        stages: seconds of an update in each kind of stage, by the name of the first of its kind.
        hours: of the whole training at that pace, without reading images, passes over whole data
            sets before a stage, and scoring.
    """

    classes: int
    parameters: dict[str, tuple[int, int]]
    groups: tuple[Group, ...]
    shapes: dict[str, tuple[int, int, int]]
    device: str
    peak_bytes: int
    seconds: float
    processor_seconds: float
    stages: dict[str, float]
    hours: float


def dry_run(config: Config, updates: int = UPDATES) -> DryRun:
    """Build all that a training needs and do a few updates; nothing is read or written.

    Weights are not loaded: they change neither time nor memory. Of a method with stages each kind
    is tried, as far as they differ in whether they are prepared and the target has labels;
    preparing passes over two images of each domain.

    Args:
        config: of the training.
        updates: of each kind of stage; the first also sets things up and counts only if alone.

    Raises:
        ConfigError: a view whose size only the data tell, a source that does not tell its classes,
            devices that this machine lacks.
        RunError: not enough memory.
    """
    classes = _classes(config.data)
    fabric = launch(config.training)
    refuse_uneven(config, fabric.world_size)
    data = TrialData(config, fabric, len(classes))
    torch.manual_seed(config.seed)
    segmenter = Segmenter(config.model, classes, config.data.evaluation_size)
    prepare_network(segmenter, config.training)
    method = METHODS[config.method.name](segmenter, config.method, config.optim)
    method.setup(fabric)
    costs, hours = _try_stages(method, config, data, updates)
    on_cpu = fabric.device.type == "cpu"
    dearest = max(
        costs.values(),
        # others may use a CPU meanwhile: its own time tells which costs more
        key=lambda cost: cost.processor_seconds if on_cpu else cost.seconds,
    )
    return DryRun(
        classes=len(classes),
        parameters={name: _count(part) for name, part in method.named_children()},
        groups=tuple(_groups(method)),
        shapes=data.shapes,
        device=_device_name(fabric),
        peak_bytes=peak_bytes(fabric.device),
        seconds=dearest.seconds,
        processor_seconds=dearest.processor_seconds,
        stages={name: cost.seconds for name, cost in costs.items()},
        hours=hours,
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


def _try_stages(
    method: Method, config: Config, data: TrialData, updates: int
) -> tuple[dict[str, Cost], float]:
    """Do updates in the first stage of each kind; return their costs, and the hours of all."""
    costs: dict[str, Cost] = {}
    first: dict[tuple[bool, bool], str] = {}
    start, seconds = 0, 0.0
    for stage in config.method.stages(config.training.steps):
        kind = (stage.prepared, method.reading(stage).target_labels)
        if kind not in first:
            first[kind] = stage.name
            try:
                costs[stage.name] = _try_stage(method, config, data, stage, start, updates)
            except torch.OutOfMemoryError as error:
                raise _too_large(method.fabric) from error
        seconds += stage.steps * costs[first[kind]].seconds
        start += stage.steps
    return costs, seconds / 3600


def _try_stage(
    method: Method, config: Config, data: TrialData, stage: Stage, start: int, updates: int
) -> Cost:
    """Prepare a stage as training does and do its first updates."""
    if stage.prepared:
        network = method.segmenter
        with evaluating(network), torch.inference_mode(False), torch.no_grad():
            method.begin_stage(stage, data)
    source, target = data.batches(method.reading(stage))
    steps = config.training.schedule_steps or config.training.steps
    marks = [_now(method.fabric)]
    for step in range(start, start + updates):
        method.step(source, target, Progress(min(step, steps - 1), steps))
        marks.append(_now(method.fabric))
    # the first update also sets things up
    counted = marks[1:] if updates > 1 else marks
    seconds, processor = (
        (last - first) / (len(counted) - 1)
        for first, last in zip(counted[0], counted[-1], strict=True)
    )
    return Cost(seconds, processor)


def _now(fabric: Fabric) -> tuple[float, float]:
    """Return wall time and processor time, after waiting for the device."""
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    return time.perf_counter(), time.process_time()


def _too_large(fabric: Fabric) -> RunError:
    return RunError(
        f"{_device_name(fabric)} has not enough memory for an update of this configuration. "
        "Smaller are: training.precision=bf16-mixed, a crop or size of fewer pixels in "
        "data.source_view and data.target_view, and, above one image, optim.accumulate"
    )


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
                group.get("step_repeats", 1),
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
        f"network: {model.encoder} with {model.classifiers} x {model.decoder}, {result.classes} "
        f"classes; weights {config.weights or 'none'} for the {config.weights_for} (not loaded "
        "here)"
    )
    for name, (learning, total) in result.parameters.items():
        tell(f"parameters: {name} {total:,}, of which {learning:,} learn")
    for name, (images, height, width) in result.shapes.items():
        tell(f"images: {name} {images} of {height}x{width}")
    console.print(_table(result.groups))
    tell(f"device: {result.device}, precision {config.training.precision}")
    tell(f"peak memory: {result.peak_bytes / 2**30:.1f} GiB")
    for name, seconds in result.stages.items() if len(result.stages) > 1 else ():
        tell(f"stage {name} and its like: {seconds:.2f} s an update")
    tell(
        f"time: {result.seconds:.2f} s an update, {result.hours:.1f} hours for {steps:,} steps, "
        "without reading images and scoring"
    )


def _table(groups: tuple[Group, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("optimizer", "rule", "group"):
        table.add_column(Text(head))
    for head in ("tensors", "parameters", "rate", "repeats"):
        table.add_column(Text(head), justify="right")
    for group in groups:
        numbers = (f"{group.tensors:,}", f"{group.parameters:,}", f"{group.rate:g}")
        table.add_row(group.player, group.rule, group.name, *numbers, str(group.step_repeats))
    return table
