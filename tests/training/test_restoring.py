"""Checkpoints of another training are refused, whatever in them is other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clan.core.errors import RunError, WeightsError
from clan.runs.folder import RunFolder
from clan.training.train import resume, train
from tests.systems import tiny

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def stopped(street: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of which the last checkpoints are left and the end is not."""
    run = train(tiny(street, "source_only"), tmp_path_factory.mktemp("runs") / "run")
    run.model_file.unlink()
    return run


def first_state(content: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = next(iter(content["optimizers"]["segmenter"]["state"].values()))
    return state


def huge_step(content: dict[str, Any]) -> None:
    content["step"] = 10**9


def other_shape(content: dict[str, Any]) -> None:
    first_state(content)["exp_avg"] = torch.zeros(3, 3)


def infinite(content: dict[str, Any]) -> None:
    first_state(content)["exp_avg_sq"].fill_(float("inf"))


def text_for_a_number(content: dict[str, Any]) -> None:
    content["optimizers"]["segmenter"]["param_groups"][0]["lr"] = "fast"


def list_for_a_state(content: dict[str, Any]) -> None:
    first_state(content)["exp_avg"] = [1]


def no_group(content: dict[str, Any]) -> None:
    content["optimizers"]["segmenter"]["param_groups"] = []


def other_tensor(content: dict[str, Any]) -> None:
    content["method"] = {"nothing": torch.zeros(1)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (huge_step, "step 1000000000, and the training has 7"),
        (other_shape, r"exp_avg is \(3, 3\), expected"),
        (infinite, "exp_avg_sq is not finite"),
        (text_for_a_number, "segmenter: lr should be a number"),
        (list_for_a_state, "do not fit its configuration"),
        (no_group, "do not fit its configuration"),
        (other_tensor, "do not fit its configuration"),
    ],
)
def test_what_is_other_is_named(stopped: RunFolder, change: Change, said: str) -> None:
    paths = sorted(stopped.checkpoints.glob("*.pt"))
    kept = {path: path.read_bytes() for path in paths}
    content = torch.load(paths[-1], weights_only=True)
    change(content)
    name = f"step_{content['step']:08d}.pt"
    torch.save(content, stopped.checkpoints / name)
    try:
        with pytest.raises((RunError, WeightsError), match=said):
            resume(stopped.path)
    finally:
        for path in stopped.checkpoints.iterdir():
            path.unlink()
        for path, data in kept.items():
            path.write_bytes(data)
    assert not stopped.finished
