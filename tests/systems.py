"""A tiny two-domain data set and configurations that train on it in a second."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from clan import cli
from clan.config.loading import load_config
from clan.config.tree import Config
from clan.methods import METHODS, Method, Progress
from clan.runs.folder import RunFolder
from clan.studies.jobs import Job
from clan.training.display import Silent
from tests.conftest import write_values

SIZE = (32, 64)
DESCRIPTION = """\
name: {name}
classes:
  name: street
  classes: {{sky: [70, 130, 180], building: [70, 70, 70], road: [128, 64, 128]}}
splits:
  train: {{images: train/*.png, labels: labels/train/*.png}}
  val: {{images: val/*.png, labels: labels/val/*.png}}
"""
SETTINGS = (
    "model.encoder=resnet18",
    "model.width=4",
    "model.aspp_rates=[1, 2]",
    "optim.segmenter.name=adamw",
    "optim.segmenter.lr=1e-3",
    "training.accelerator=cpu",
    "training.steps=7",
    "training.log_every=3",
    "training.checkpoint_every=2",
    "data.batch_size=2",
)
SMALL = {
    **{"discriminator_width": 4, "remembered": 8, "window": 3, "superpixels": 8},
    # the tiny networks start from random weights
    **{"lambda_distance": 0, "mask_block": 16},
}
"""Values of whatever method has such an option."""


class Spy(Silent):
    """Keeps what a training says."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


SHORT: dict[str, dict[str, Any]] = {
    "cda": {"source_steps": 3},
    "cbst": {"source_steps": 2, "rounds": 2, "rare_classes": 1},
    "clan_st": {"clan_steps": 2, "rounds": 2, "rare_temperature": 0.1},
}
"""What lets seven steps reach every stage of the methods that have some."""

OF_THE_MACHINE = ("images_per_second", "seconds", "memory", "waiting")
"""Values of metrics.jsonl and curves that depend on the machine, not on the training alone."""


def write_domain(root: Path, name: str, shift: int) -> None:
    """Write six training and three validation images: three noisy bands, every pixel labelled."""
    for split, count in (("train", 6), ("val", 3)):
        for number in range(count):
            rng = np.random.default_rng([shift, number, count])
            rows = np.sort(rng.choice(np.arange(4, 28), 2, replace=False))
            label = np.digitize(np.arange(SIZE[0]), rows)[:, None].repeat(SIZE[1], 1)
            color = np.array([[70, 130, 180], [90, 70, 70], [128, 64, 128]])[label] + shift
            image = np.clip(color + rng.integers(-20, 20, color.shape), 0, 255)
            path = root / split / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.astype(np.uint8)).save(path)
            write_values(root / "labels" / split / path.name, label.astype(np.uint8))
    (root / f"{name}.yaml").write_text(DESCRIPTION.format(name=name))


def write_street(root: Path) -> Path:
    """Write both domains and one configuration per method; return the folder."""
    write_domain(root / "game", "game", 0)
    write_domain(root / "photos", "photos", 40)
    for name in METHODS:
        fields = METHODS[name].Options.model_fields
        small = {key: value for key, value in SMALL.items() if key in fields}
        method = {"name": name, **small, **SHORT.get(name, {})}
        data = {
            "source": {"dataset": "game/game.yaml"},
            "target": {"dataset": "photos/photos.yaml"},
            "validation": {"dataset": "photos/photos.yaml", "split": "val"},
        }
        tree = {"name": name, "data": data, "method": method, "training": {"steps": 7}}
        # JSON is YAML
        (root / f"{name}.yaml").write_text(json.dumps(tree))
    return root


def tiny(street: Path, system: str = "source_only", *changes: str) -> Config:
    return load_config(street / f"{system}.yaml", [*SETTINGS, *changes])


def tensors(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(run.model_file)


def records(run: RunFolder) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without what depends on the machine."""
    lines = run.metrics_file.read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [{k: v for k, v in record.items() if k not in OF_THE_MACHINE} for record in found]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def at_step(step: int, action: Callable[[], None]) -> None:
    """Do something in the middle of the update after ``step`` others; for processes of their own.

    Every method begins its updates with `Method.start_update`.
    """
    original = Method.start_update

    def patched(self: Method, progress: Progress) -> None:
        if progress.step == step:
            action()
        original(self, progress)

    Method.start_update = patched  # type: ignore[method-assign]


def command(
    arguments: list[str], log: Path, before: Callable[[], None] = lambda: None
) -> tuple[int | None, str]:
    """Run the command line in a process group of its own; return exit code and output.

    It is a fork: a new Python would spend its time importing torch.
    """
    process = multiprocessing.get_context("fork").Process(
        target=_run, args=(arguments, log, before)
    )
    process.start()
    process.join(120)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"{arguments} hangs: {log.read_text()}")
    return process.exitcode, log.read_text()


def _run(arguments: list[str], log: Path, before: Callable[[], None]) -> None:
    os.setpgid(0, 0)
    _in_fork(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), arguments, before)


def default_signals() -> None:
    """Let signals end a new process, as from a terminal: it would inherit what `nohup` ignores."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _in_fork(file: int, arguments: list[str], before: Callable[[], None]) -> None:
    default_signals()
    torch.set_num_threads(1)  # a forked process cannot use its parent's thread pool
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["clan", *arguments]
    before()
    cli.main()


class Fork:
    """A job's process for `clan.studies.jobs.run_jobs`: a fork that does its command.

    A subclass says in `before` what it does first.
    """

    def __init__(self, job: Job, log: BinaryIO, environment: Mapping[str, str]) -> None:
        self.job, self.file = job, log.fileno()
        # not multiprocessing: its processes are waited for when their parent ends
        self.pid = os.fork()
        if self.pid == 0:
            self._run()
        self._code: int | None = None

    def before(self) -> None:
        """Do nothing before the command."""

    def _run(self) -> None:
        code = 1
        try:
            os.setsid()
            arguments = self.job.command
            _in_fork(self.file, arguments[arguments.index("clan.cli") + 1 :], self.before)
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
