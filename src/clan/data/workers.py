"""Worker processes that read data, and what to say where one fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, cast

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from clan.core.errors import ClanError, DataError

T = TypeVar("T")

_AHEAD = 2
"""Batches that each worker reads ahead."""


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
