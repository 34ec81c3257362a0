"""Batches for training and evaluation.

Batch i of a loader is a pure function of (seed, stream, step). It does not depend on the number of
workers and processes, or on a resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from clan.core.errors import ClanError, DataError
from clan.data.cache import Cache, Pair
from clan.data.datasets import Dataset
from clan.data.sampling import ClassDraw, LabelCounts, sample_index
from clan.data.sizes import Size, input_size
from clan.data.views import (
    RareCrops,
    ViewOptions,
    augment,
    camera_generator,
    draw_image_scale,
    random_camera,
    random_generator,
    replacement_generator,
    resize_image,
)
from clan.data.workers import Loader


class Batch(TypedDict, total=False):
    """Images and, unless the domain is unlabelled, their labels."""

    image: Tensor
    """(N, 3, H, W) uint8 RGB."""
    label: Tensor
    """(N, H, W) uint8 class indices, 255 = ignore."""
    name: list[str]
    """The items' names."""
    size: tuple[int, int]
    """(H, W) of the labels and so of the predictions; absent where it is that of the images."""
    index: Tensor
    """(N,) int64: the items' places in their data set."""
    skipped: list[tuple[str, str]]
    """Names of items that could not be read, and why; others stand in their place. Absent where
    there are none."""


OnError = Literal["stop", "skip", "skip_images"]
"""Whether an item that cannot be read stops the reading, or is replaced; ``skip_images``: a label
stops it, an image does not."""

ATTEMPTS = 32
"""How many images are tried in a slot; among them `OF_CLASS` of the class that was drawn."""
OF_CLASS = 8


class _Steps(TorchDataset[Batch | ClanError]):
    """The batches of one rank, indexed by step."""

    def __init__(
        self,
        dataset: Dataset,
        view: ViewOptions,
        seed: int,
        stream: int,
        batch_size: int,
        slots: range,
        with_labels: bool,
        rare: RareCrops | None,
        by_class: ClassDraw | None,
        cache: Cache | None,
        on_error: OnError,
    ) -> None:
        self.cache, self.on_error = cache, on_error
        self.rare, self.by_class = rare, by_class
        self.dataset, self.view, self.seed, self.stream = dataset, view, seed, stream
        self.batch_size, self.slots = batch_size, slots
        self.with_labels = with_labels and dataset.labelled

    def __getitem__(self, step: int) -> Batch | ClanError:
        try:
            return self._batch(step)
        except ClanError as error:
            return error

    def _batch(self, step: int) -> Batch:
        pictures, labels, names, indices = [], [], [], []
        skipped: list[tuple[str, str]] = []
        scale = draw_image_scale(self.view, self.seed, step, self.stream)
        for slot in self.slots:
            index, rare, (image, label) = self._read_slot(step, slot, skipped)
            rng = random_generator(self.seed, step, slot, self.stream)
            size = input_size(self.view.size, (image.shape[0], image.shape[1]))
            image, label = augment(image, label, self.view, rng, scale, rare)
            if self.view.strong:
                camera = camera_generator(self.seed, step, slot, self.stream)
                image = random_camera(image, self.view.strong, camera)
            pictures.append(image)
            indices.append(index)
            names.append(self.dataset.items[index].name)
            if label is not None:
                labels.append(label)
        self._check_sizes(pictures, names)
        batch = Batch(image=_channels_first(pictures), name=names, index=torch.tensor(indices))
        if labels:
            batch["label"] = torch.from_numpy(np.stack(labels))
        if self.view.image_scales:
            batch["size"] = size
        if skipped:
            batch["skipped"] = skipped
        return batch

    def _read_slot(
        self, step: int, slot: int, skipped: list[tuple[str, str]]
    ) -> tuple[int, RareCrops | None, Pair]:
        """Return the index of a slot's image, what its crop is drawn towards, and the item.

        What cannot be read is added to ``skipped``.
        """
        index, rare = self._choose(step, slot, 0)
        for attempt in range(1, ATTEMPTS):
            try:
                return index, rare, self._read(index)
            except DataError as error:
                if not self._may_skip(index, error):
                    raise
                skipped.append((self.dataset.items[index].name, str(error)))
            index, rare = self._choose(step, slot, attempt)
        return index, rare, self._read(index)

    def _may_skip(self, index: int, error: DataError) -> bool:
        if self.on_error == "skip_images":
            return not str(error).startswith(f"{self.dataset.items[index].label}: ")
        return self.on_error == "skip"

    def _choose(self, step: int, slot: int, attempt: int) -> tuple[int, RareCrops | None]:
        """Return which image stands in a slot, and what its crop is drawn towards.

        A later ``attempt`` draws another: of the same class if images are drawn by class.
        """
        place = self.seed, step, slot, self.stream
        if self.by_class is not None and attempt < OF_CLASS:
            shown, index = self.by_class(*place)
            if attempt:
                index = self.by_class.another(shown, _draw(place, attempt))
            return index, RareCrops((shown,), 1.0)
        if attempt:
            return int(_draw(place, attempt) * len(self.dataset)), self.rare
        position = step * self.batch_size + slot
        return sample_index(self.seed, self.stream, position, len(self.dataset)), self.rare

    def _read(self, index: int) -> Pair:
        if self.cache is not None:
            return self.cache.read(index, self.with_labels)
        if self.with_labels:
            return self.dataset.read(index)
        return self.dataset.read_image(index), None

    def _check_sizes(self, pictures: list[NDArray[np.uint8]], names: list[str]) -> None:
        for picture, name in zip(pictures, names, strict=True):
            if picture.shape != pictures[0].shape:
                first, other = pictures[0].shape[:2], picture.shape[:2]
                scaled = self.view.scale[0] != self.view.scale[1]
                way = "crop" if scaled else "crop, or size as [height, width],"
                raise DataError(
                    f"data set {self.dataset.name!r}: {names[0]} is {first[0]}x{first[1]} (height "
                    f"x width) and {name} is {other[0]}x{other[1]}, but the images of a batch need "
                    f"one size: set {way} in the view, or a batch size of 1"
                )


def _draw(place: tuple[int, int, int, int], attempt: int) -> float:
    """Return the number in [0, 1) that chooses the image of a later attempt."""
    return float(replacement_generator(*place).random(attempt)[-1])


def _channels_first(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    height, width = pictures[0].shape[:2]
    batch = torch.empty((len(pictures), 3, height, width), dtype=torch.uint8)
    # NumPy's copy: torch's starts its threads for it, which costs milliseconds on busy cores.
    for slot, picture in zip(batch.numpy(), pictures, strict=True):
        np.copyto(slot, picture.transpose(2, 0, 1))
    return batch


def training_loader(
    dataset: Dataset,
    view: ViewOptions,
    *,
    seed: int,
    stream: int,
    batch_size: int,
    start_step: int,
    stop_step: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    with_labels: bool = True,
    rare: RareCrops | None = None,
    by_class: ClassDraw | None = None,
    cache: Cache | None = None,
    on_error: OnError = "stop",
) -> DataLoader[Batch]:
    """Return the batches of steps ``start_step`` to ``stop_step - 1``, one a step.

    Args:
        dataset: what to draw from; each image once an epoch, in the order of `sample_index`.
        view: size, crop and augmentation; all images of a batch must come out of one size.
        seed: of order and augmentation.
        stream: tells domains apart: 0 source, 1 target.
        batch_size: images a step over all ranks; rank r has slots r * b / W to (r + 1) * b / W - 1.
        start_step: the first step; the batches from there on are those of a loader from 0.
        stop_step: the step after the last.
        rank: of this process.
        world_size: number of processes.
        workers: loader processes; 0 reads in this one. The batches stay the same.
        with_labels: False, or an unlabelled data set, gives batches without ``label``.
        rare: draws the crops of labelled images towards rare classes.
        by_class: chooses the images, and draws their crops towards the class each was chosen for;
            in place of the order of `sample_index` and of ``rare``.
        cache: of this data set for this view; the batches stay the same.
        on_error: whether an item that cannot be read is replaced by another one, which is a
            function of (seed, stream, step, slot, attempt). The batch names it as ``skipped``.

    Raises:
        DataError: a batch size that the processes cannot share; in iteration, unreadable files.

    The sampler is already that of the rank: it must not be replaced by a distributed one.
    """
    if batch_size < 1 or batch_size % world_size:
        raise DataError(
            f"a batch of {batch_size} images cannot be shared evenly by {world_size} processes; "
            "choose a multiple of the number of processes"
        )
    _check_rank(rank, world_size)
    if not 0 <= start_step <= stop_step:
        raise DataError(f"no steps from {start_step} to {stop_step}; expected 0 <= start <= stop")
    share = batch_size // world_size
    slots = range(rank * share, (rank + 1) * share)
    parts = (slots, with_labels, rare, by_class, cache, on_error)
    steps = _Steps(dataset, view, seed, stream, batch_size, *parts)
    loader = Loader(steps, range(start_step, stop_step), workers)
    return cast("DataLoader[Batch]", loader)


def class_counts(
    dataset: Dataset, indices: Sequence[int], workers: int = 0, skip: bool = False
) -> NDArray[np.int64]:
    """Count the pixels of each class in some of a data set's labels: (len(indices), C) int64.

    With ``skip``, the row of a label that cannot be read is `UNREAD`.
    """
    counts = Loader(LabelCounts(dataset, indices, skip), range(len(indices)), workers)
    return np.array(list(counts), np.int64).reshape(len(indices), len(dataset.classes))


class _Whole(TorchDataset[Batch | ClanError]):
    """Whole images with full-size labels, indexed by item."""

    def __init__(self, dataset: Dataset, size: Size | None, skip: bool) -> None:
        self.dataset, self.size, self.skip = dataset, size, skip

    def __getitem__(self, index: int) -> Batch | ClanError:
        try:
            image, label = self.dataset.read(index)
        except ClanError as error:
            if self.skip and isinstance(error, DataError):
                return Batch(skipped=[(self.dataset.items[index].name, str(error))])
            return error
        image = resize_image(image, input_size(self.size, (image.shape[0], image.shape[1])))
        batch = Batch(
            image=_channels_first([image]),
            name=[self.dataset.items[index].name],
            index=torch.tensor([index]),
        )
        if label is not None:
            batch["label"] = torch.from_numpy(label[None])
        return batch


def evaluation_loader(
    dataset: Dataset,
    *,
    size: Size | None,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    skip: bool = False,
) -> DataLoader[Batch]:
    """Return batches of one image, resized to ``size``, and its label as stored.

    Rank r of W has items r, r + W, r + 2W, ...: over all ranks each item comes exactly once, so
    ranks may differ by one in length. `size` None leaves images as they are.

    With ``skip``, the batch of an item that cannot be read holds only ``skipped``.
    """
    _check_rank(rank, world_size)
    loader = Loader(_Whole(dataset, size, skip), range(rank, len(dataset), world_size), workers)
    return cast("DataLoader[Batch]", loader)


def _check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise DataError(f"process {rank} of {world_size}: expected 0 <= rank < world_size")
