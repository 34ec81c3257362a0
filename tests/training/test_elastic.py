"""A run that resumes on other numbers of processes and workers goes on as if on the first ones."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from clan.config.loading import load_written
from clan.methods import Progress
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.domains import open_domains
from clan.training.loop import Interrupted, Trainer
from clan.training.processes import OtherProcess
from clan.training.resuming import is_finished, prepare_folder
from tests.systems import records, tensors
from tests.training.test_processes import configuration, double_precision

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(sys.platform != "linux", reason="forks processes that use torch"),
]

CASES = ("source_only", "dacs", "cbst")
"""Labels alone; a teacher with mixed images; pseudo-labels of two rounds."""
CHANGES = ("training.steps=6", "training.log_every=1", "method.loss.class_weights=balanced")


class StopAfter(Silent):
    """Asks the training to stop after a step, as a scheduler does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, step: int, means: Mapping[str, float], speed: float, *rest: Any) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def _part(fabric: Fabric, run: str, overrides: list[str], stop: int, seen: str) -> None:
    """Train up to a step as one process of a run; note the images of each step."""
    torch.set_num_threads(1)
    folder, notes = RunFolder(run), []
    config = load_written(folder.config_file, overrides)
    assert not is_finished(folder, config)
    with double_precision():
        trainer = Trainer(fabric, config, folder, open_domains(config.data), StopAfter(stop))
        if fabric.global_rank == 0:
            prepare_folder(folder, config, resume=True)
        step, used = trainer.method.step, trainer.method.uses_target

        def watched(source: Any, target: Any, progress: Progress) -> dict[str, Tensor]:
            domains = {"source": source, "target": target} if used else {"source": source}
            for domain, batch in domains.items():
                sums = [int(view.long().sum()) for view in batch["image"]]
                notes.append((progress.step, domain, list(zip(batch["name"], sums, strict=True))))
            return step(source, target, progress)

        trainer.method.step = watched  # type: ignore[method-assign]
        if stop < config.training.steps:
            with pytest.raises((Interrupted, OtherProcess), match=f"stopped after step {stop} of"):
                trainer.fit()
        else:
            trainer.fit()
    Path(f"{seen}.{fabric.global_rank}").write_text(json.dumps(notes))


def _train(street: Path, out: Path, case: str, parts: list[tuple[int, int, int]]) -> list[Any]:
    """Train in parts of (processes, workers, last step); return what each step was given."""
    config = configuration(street, case, *CHANGES)
    RunFolder.create(out / "run", config)
    given: list[Any] = []
    for processes, workers, stop in parts:
        fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp_fork")
        overrides = [f"training.devices={processes}", f"data.workers={workers}"]
        fabric.launch(_part, str(out / "run"), overrides, stop, str(out / "seen"))
        ranks = [json.loads((out / f"seen.{rank}").read_text()) for rank in range(processes)]
        for entries in zip(*ranks, strict=True):
            (step, domain), *others = {tuple(entry[:2]) for entry in entries}
            assert not others
            # a process has a part of the batch, in the order of the processes
            images = [image for entry in entries for image in entry[2]]
            given.append((step, domain, images))
    return given


@pytest.mark.parametrize("case", CASES)
def test_one_then_two_then_one_process(street: Path, tmp_path: Path, case: str) -> None:
    """The same images in the same order and the same crops; networks and curves equal to 1e-9."""
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = _train(street, tmp_path / "whole", case, [(1, 0, 6)])
    parts = _train(street, tmp_path / "parts", case, [(1, 0, 2), (2, 2, 4), (1, 1, 6)])
    domains = {domain for _, domain, _ in whole}
    assert [entry[0] for entry in whole] == [step for step in range(6) for _ in domains]
    assert parts == whole
    runs = [RunFolder(tmp_path / name / "run") for name in ("whole", "parts")]
    expected, found = (tensors(run) for run in runs)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-9, msg=name)
    before, after = (records(run) for run in runs)
    assert [sorted(record) for record in before] == [sorted(record) for record in after]
    for mine, theirs in zip(before, after, strict=True):
        for key in mine:
            assert theirs[key] == pytest.approx(mine[key], rel=1e-6, abs=1e-9), key


def test_the_number_of_workers_changes_no_bit(street: Path, tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = _train(street, tmp_path / "whole", "cbst", [(1, 0, 6)])
    parts = _train(street, tmp_path / "parts", "cbst", [(1, 0, 2), (1, 2, 4), (1, 1, 6)])
    assert parts == whole
    runs = [RunFolder(tmp_path / name / "run") for name in ("whole", "parts")]
    expected, found = (tensors(run) for run in runs)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert records(runs[0]) == records(runs[1])
