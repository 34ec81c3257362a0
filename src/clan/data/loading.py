"""Batches for training and evaluation.

Batch i of a loader is a pure function of (seed, stream, step). It does not depend on the number of
workers and processes, or on a resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict, TypeVar, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from clan.core.errors import ClanError, DataError
from clan.data.cache import Cache
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
    resize_image,
)

T = TypeVar("T")

_AHEAD = 2
"""Batches that each worker reads ahead."""


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


class _Shared(TorchDataset[T | ClanError]):
    """What workers read, in shared memory before it leaves them.

    torch would put it there in a thread of the worker's: an error in that is printed and the batch
    is lost, so that the training waits for ever.
    """

    def __init__(self, parts: TorchDataset[T]) -> None:
        self.parts = parts

    def __getitem__(self, index: int) -> T | ClanError:
        part = self.parts[index]
        if get_worker_info() is None or not isinstance(part, dict):
            return part
        try:
            for value in part.values():
                if isinstance(value, Tensor):
                    value.share_memory_()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            return DataError(_no_shared_memory(part, error))
        return part


def _no_shared_memory(part: Mapping[str, object], error: RuntimeError) -> str:
    size = sum(v.nbytes for v in part.values() if isinstance(v, Tensor))
    workers = getattr(get_worker_info(), "num_workers", 1)
    return (
        "the shared memory of this machine (/dev/shm) has no room for a batch of "
        f"{size / 2**20:.1f} MiB; each of the {workers} data.workers keeps up to {_AHEAD} there. "
        "In Docker: --shm-size 8g, or --ipc host; else set data.workers=0, which needs none "
        f"({str(error).splitlines()[0]})"
    )


def killed_worker(error: BaseException) -> str:
    """Return what to say of an error by which torch tells that a worker was killed, else nothing.

    Args:
        error: of whatever the process was doing: torch raises it where a signal finds it.
    """
    said = str(error)
    if not isinstance(error, RuntimeError) or "DataLoader worker" not in said:
        return ""
    if "killed by signal" not in said and "exited unexpectedly" not in said:
        return ""
    return (
        f"a process that reads data has ended ({said.splitlines()[0]}). Most often the system "
        "kills one when memory runs out: set data.workers lower, or 0, which reads in the training "
        "itself"
    )


class Loader(DataLoader[T]):
    """A DataLoader that raises a worker's `ClanError` as it was, without a traceback in its text.

    It takes ready batches from a map-style data set, in the order of ``indices``. Workers live as
    long as an iteration: all loaders here are made for one.
    """

    def __init__(self, parts: TorchDataset[T], indices: Sequence[int], workers: int) -> None:
        super().__init__(
            cast("TorchDataset[T]", _Shared(parts)),
            sampler=indices,
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=workers,
            prefetch_factor=_AHEAD if workers else None,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker,
            # Its own generator: starting an iteration must not draw from the process's numbers.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        batches = super().__iter__()
        failure: ClanError | None = None
        while failure is None:
            try:
                batch = next(batches)
            except StopIteration:
                break
            except (ConnectionError, EOFError) as error:
                # a worker died between telling of a batch and handing its memory over
                raise RuntimeError(f"DataLoader worker exited unexpectedly ({error})") from error
            if isinstance(batch, ClanError):
                failure = batch
            else:
                yield batch
        # Deleted before the error is raised, whose traceback would keep the workers alive; the
        # garbage collector takes five seconds to end each of them.
        del batches
        if failure is not None:
            try:
                raise failure
            finally:
                del failure


def _unchanged(batch: T) -> T:
    return batch


def _start_worker(_: int) -> None:
    # One thread a worker: OpenCV's own pool would compete with the other workers.
    cv2.setNumThreads(0)


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
    ) -> None:
        self.cache = cache
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
        scale = draw_image_scale(self.view, self.seed, step, self.stream)
        for slot in self.slots:
            index, rare = self._choose(step, slot)
            image, label = self._read(index)
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
        return batch

    def _choose(self, step: int, slot: int) -> tuple[int, RareCrops | None]:
        """Return which image stands in a slot, and what its crop is drawn towards."""
        if self.by_class is not None:
            shown, index = self.by_class(self.seed, step, slot, self.stream)
            return index, RareCrops((shown,), 1.0)
        position = step * self.batch_size + slot
        return sample_index(self.seed, self.stream, position, len(self.dataset)), self.rare

    def _read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
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
    parts = (slots, with_labels, rare, by_class, cache)
    steps = _Steps(dataset, view, seed, stream, batch_size, *parts)
    loader = Loader(steps, range(start_step, stop_step), workers)
    return cast("DataLoader[Batch]", loader)


def class_counts(dataset: Dataset, indices: Sequence[int], workers: int = 0) -> NDArray[np.int64]:
    """Count the pixels of each class in some of a data set's labels: (len(indices), C) int64."""
    counts = Loader(LabelCounts(dataset, indices), range(len(indices)), workers)
    return np.array(list(counts), np.int64).reshape(len(indices), len(dataset.classes))


class _Whole(TorchDataset[Batch | ClanError]):
    """Whole images with full-size labels, indexed by item."""

    def __init__(self, dataset: Dataset, size: Size | None) -> None:
        self.dataset, self.size = dataset, size

    def __getitem__(self, index: int) -> Batch | ClanError:
        try:
            image, label = self.dataset.read(index)
        except ClanError as error:
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
) -> DataLoader[Batch]:
    """Return batches of one image, resized to ``size``, and its label as stored.

    Rank r of W has items r, r + W, r + 2W, ...: over all ranks each item comes exactly once, so
    ranks may differ by one in length. `size` None leaves images as they are.
    """
    _check_rank(rank, world_size)
    loader = Loader(_Whole(dataset, size), range(rank, len(dataset), world_size), workers)
    return cast("DataLoader[Batch]", loader)


def _check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise DataError(f"process {rank} of {world_size}: expected 0 <= rank < world_size")
