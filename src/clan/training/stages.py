"""The data of a stage: passes over whole data sets before it, batches during it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from clan.config.tree import Config
from clan.core.errors import DataError
from clan.data.cache import Cache, open_cache
from clan.data.datasets import Dataset
from clan.data.images import write_label
from clan.data.items import Item
from clan.data.label_maps import LabelMap
from clan.data.loading import (
    Batch,
    OnError,
    class_counts,
    evaluation_loader,
    training_loader,
)
from clan.data.sampling import UNREAD, ClassDraw
from clan.data.sizes import Size
from clan.data.views import RareCrops, ViewOptions, resize_label
from clan.losses.fourier import fourier_style
from clan.methods import METHODS, Reading, Stage
from clan.training.domains import Domains

SOURCE_STREAM, TARGET_STREAM = 0, 1
"""Random streams of the two domains' batches."""


Note = Callable[[str, Sequence[tuple[str, str]]], None]
"""Called with a domain, and names and reasons of its images that cannot be read."""


class RunDomains:
    """Both domains without augmentation, and the folder of a stage.

    Each process passes over its own share of the images, one at a time; a method that counts must
    sum its counts over the processes.

    Args:
        domains: of the run.
        folder: of the stage, within the run's; shared by the processes.
        size: that images are resized to, as in evaluation; None for their own size.
        fabric: gives device, rank and processes.
        workers: processes that read.
        watch: called before each image; it may raise to end the pass.
        only: indices of the target images whose labels are written; None for all.
        note: called with domain, names and reasons of images that cannot be read and are left out;
            None: the first one ends the pass.
    """

    def __init__(
        self,
        domains: Domains,
        folder: Path,
        *,
        size: Size | None,
        fabric: Fabric,
        workers: int = 0,
        watch: Callable[[], None] = lambda: None,
        only: Collection[int] | None = None,
        note: Note | None = None,
    ) -> None:
        self._domains, self._size, self._fabric = domains, size, fabric
        self._workers, self._watch, self._only, self._note = workers, watch, only, note
        self.folder = folder
        items = self._unlabelled().items
        self._target = {item.name: index for index, item in enumerate(items)}

    @property
    def target_images(self) -> int:
        """How many images the target has, over all processes."""
        return len(self._target)

    def source(self, most: int | None = None) -> Iterator[Batch]:
        """Yield this process's source images with their labels (at the size they are stored).

        With ``most``, at most that many images, chosen evenly from the whole data set.
        """
        dataset = self._domains.source
        if most is not None:
            stride = -(-len(dataset) // most)
            dataset = replace(dataset, items=dataset.items[::stride])
        return self._pass(dataset, "source")

    def target(self) -> Iterator[Batch]:
        """Yield this process's target images, without labels."""
        return self._pass(self._unlabelled(), "target")

    def write_label(self, name: str, label: Tensor) -> None:
        """Keep a label (H, W) uint8 of the target image ``name`` for this stage's training.

        It is stored as a palette PNG of its image's size, so that views crop both in the same way.

        Raises:
            DataError: it cannot be written.
        """
        index = self._target[name]
        if self._only is not None and index not in self._only:
            return
        size = self._unlabelled().image_size(index)
        stored = resize_label(label.cpu().numpy(), size)
        path = label_path(self.folder, name)
        write_label(path, stored, self._unlabelled().classes.palette())

    def _unlabelled(self) -> Dataset:
        target = self._domains.target
        assert target is not None, "the configuration was checked for a target"
        assert not target.labelled, "the target is opened without its labels"
        return target

    def _pass(self, dataset: Dataset, domain: str) -> Iterator[Batch]:
        loader = evaluation_loader(
            dataset,
            size=self._size,
            rank=self._fabric.global_rank,
            world_size=self._fabric.world_size,
            workers=self._workers,
            skip=self._note is not None,
        )
        for batch in loader:
            self._watch()
            if self._note is not None and (skipped := batch.get("skipped")):
                self._note(domain, skipped)
                continue
            yield self._fabric.to_device(batch)


class StageBatches:
    """The training batches of both domains, read as the method asks in each stage.

    Args:
        config: of the run.
        domains: of the run.
        fabric: gives device, rank and processes.
        note: called with what ``data.on_error: skip`` leaves out.
    """

    def __init__(self, config: Config, domains: Domains, fabric: Fabric, note: Note) -> None:
        self._config, self._domains, self._fabric = config, domains, fabric
        self._note, self._skip = note, config.data.on_error == "skip"
        self._caches: dict[int, tuple[Dataset, Cache | None]] = {}

    def of(self, steps: range, reading: Reading, folder: Path) -> Iterator[tuple[Batch, Batch]]:
        """Yield this process's source and target batches of the ``steps``, on its device.

        Args:
            steps: consecutive steps.
            reading: how the method wants them read.
            folder: the stage's folder, with its target labels if it has any.
        """
        draw = None
        if reading.rare_temperature:
            draw = ClassDraw.of(self.source_classes, reading.rare_temperature)
        source = self._domains.source
        loaders = [self._loader(source, SOURCE_STREAM, steps, reading, True, draw)]
        beta = self._config.data.source_view.fourier
        uses_target = METHODS[self._config.method.name].uses_target
        if uses_target or beta is not None:
            target = self._domains.target
            assert target is not None, "the configuration was checked for a target"
            if reading.target_labels:
                target = relabelled(target, folder)
            labels = reading.target_labels
            loaders.append(self._loader(target, TARGET_STREAM, steps, reading, labels))
        for batches in zip(*loaders, strict=True):
            for domain, batch in zip(("source", "target"), batches, strict=False):
                self._note(domain, batch.pop("skipped", []))
            first, *second = (self._fabric.to_device(batch) for batch in batches)
            if beta is not None:
                first["image"] = fourier_style(first["image"], second[0]["image"], beta)
            yield first, second[0] if uses_target else Batch()

    def _loader(
        self,
        dataset: Dataset,
        stream: int,
        steps: range,
        reading: Reading,
        with_labels: bool,
        by_class: ClassDraw | None = None,
    ) -> DataLoader[Batch]:
        data, rare = self._config.data, None
        if reading.rare_classes:
            rare = RareCrops(reading.rare_classes, reading.rare_chance)
        view = data.target_view if stream == TARGET_STREAM else data.source_view
        return training_loader(
            dataset,
            view,
            seed=self._config.seed,
            stream=stream,
            batch_size=data.batch_size,
            start_step=steps.start,
            stop_step=steps.stop,
            rank=self._fabric.global_rank,
            world_size=self._fabric.world_size,
            workers=data.workers,
            with_labels=with_labels,
            rare=rare,
            by_class=by_class,
            cache=self._cache(stream, dataset, view),
            on_error=self._on_error(stream, with_labels),
        )

    def _on_error(self, stream: int, with_labels: bool) -> OnError:
        # labels of the target are the training's own: those that are broken can be made anew
        own = stream == TARGET_STREAM and with_labels
        return ("skip_images" if own else "skip") if self._skip else "stop"

    def _cache(self, stream: int, dataset: Dataset, view: ViewOptions) -> Cache | None:
        """Return a domain's cache; one in memory lasts over stages that read the same data set."""
        data = self._config.data
        known, cache = self._caches.get(stream, (None, None))
        if known is not dataset:
            # one for each domain: what a former stage read is not kept beside it
            cache = open_cache(dataset, view, data.cache, data.cache_gib)
            self._caches[stream] = dataset, cache
        return cache

    @cached_property
    def source_classes(self) -> NDArray[np.int64]:
        """Pixel counts (N, C) of each class in each source label; each process reads its share."""
        source, fabric = self._domains.source, self._fabric
        own = range(fabric.global_rank, len(source), fabric.world_size)
        counts = np.zeros((len(source), len(source.classes)), np.int64)
        counts[own] = class_counts(source, own, self._config.data.workers, self._skip)
        for index in np.flatnonzero((counts == UNREAD).any(axis=1)).tolist():
            counts[index] = 0
            self._note("source", [(source.items[index].name, _reason(source, index))])
        total = torch.from_numpy(counts).to(fabric.device)
        total = cast(Tensor, fabric.all_reduce(total, reduce_op="sum"))
        return np.asarray(total.cpu().numpy(), np.int64)


def _reason(dataset: Dataset, index: int) -> str:
    """Return why a label cannot be read."""
    try:
        dataset.read_label(index)
    except DataError as error:
        return str(error)
    return f"{dataset.items[index].label}: could not be read at first"


def label_path(folder: Path, name: str) -> Path:
    """Return the file of a target image's label in a stage's folder."""
    return folder / "labels" / f"{name}.png"


def relabelled(target: Dataset, folder: Path) -> Dataset:
    """Return the target with the labels that a stage wrote into its folder."""
    return replace(
        target,
        items=tuple(Item(i.name, i.image, label_path(folder, i.name)) for i in target.items),
        label_map=LabelMap.identity(target.classes),
        encoding="index",
        size_mismatch="error",
        orientation="shown",
    )


def warn_untrained_labeller(stage: Stage, config: Config) -> str:
    """Return a warning if untrained classifiers would label the target; else empty."""
    if not stage.labelled_by or config.weights_for == "network":
        return ""
    return (
        "the target is labelled by untrained classifiers. Set "
        f"method.{stage.labelled_by}, or start from a finished training by weights_for=network"
    )
