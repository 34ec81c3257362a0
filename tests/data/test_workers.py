"""Loader workers that fail: a sentence in seconds, never a wait without end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clan.core.errors import DataError
from clan.data.workers import Loader, killed_worker
from clan.runs.folder import RunFolder
from tests.systems import SETTINGS, command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")


class Batches(Dataset[dict[str, Tensor]]):
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": torch.full((4, 3, 8, 8), float(index))}


class Deadly(Batches):
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def full(self: Tensor) -> Tensor:
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left")


def test_shared_memory_that_is_full_is_told_with_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "share_memory_", full)
    with pytest.raises(DataError, match=r"no room for a batch of 0\.0 MiB.*--shm-size") as error:
        list(Loader(Batches(), range(4), workers=1))
    assert "No space left" in str(error.value)


def test_batches_are_shared_in_the_worker_alone() -> None:
    (own,) = Loader(Batches(), [1], workers=0)
    assert not own["image"].is_shared()
    (far,) = Loader(Batches(), [1], workers=1)
    assert far["image"].is_shared()
    assert torch.equal(own["image"], far["image"])


def what_torch_says() -> str:
    """Kill a worker; no traceback outlives this call.

    It would keep the iterator alive, and torch would raise the error again when any child ends.
    """
    try:
        list(Loader(Deadly(), range(4), workers=1))
    except RuntimeError as error:
        return str(error)
    raise AssertionError("nothing was raised")


def test_a_killed_worker_is_told_with_what_to_do() -> None:
    said = killed_worker(RuntimeError(what_torch_says()))
    # torch words it either way, by whether its queue or its signal handler notices first
    assert "killed by signal: Killed" in said or "exited unexpectedly" in said
    assert "data.workers lower" in said
    assert killed_worker(RuntimeError("another")) == ""


def test_a_training_whose_worker_is_killed_says_so(street: Path, tmp_path: Path) -> None:
    from clan.data import loading

    def before() -> None:
        read = loading._Steps.__getitem__

        def deadly(self: loading._Steps, step: int) -> object:
            if step == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(self, step)

        loading._Steps.__getitem__ = deadly  # type: ignore[assignment,method-assign]

    out = tmp_path / "run"
    arguments = ["train", str(street / "source_only.yaml"), *SETTINGS, "data.workers=1"]
    code, said = command([*arguments, "--out", str(out)], tmp_path / "log", before)
    assert code == 1, said
    assert "a process that reads data has ended" in said
    assert f"go on with: clan resume {out}" in said
    assert "Traceback" not in said
    code, said = command(["resume", str(out), "data.workers=0"], tmp_path / "log")
    assert code == 0, said
    assert RunFolder(out).finished
