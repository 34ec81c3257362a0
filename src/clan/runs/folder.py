"""The folder of a run: all that is needed to resume, evaluate, compare and report it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from clan.config.loading import dump_config, load_written
from clan.config.tree import Config
from clan.core.errors import ClanError, RunError
from clan.core.files import append_line, make_folder, write_whole
from clan.data.python import PYTHON
from clan.runs.checkpoint import newest_checkpoint

TAIL = 1 << 14
"""Bytes at the end of metrics.jsonl that hold its last line, however many classes it has."""


class RunFolder:
    """Paths of a run and its line-by-line metrics.

    Attributes:
        path: the folder. It holds ``config.yaml`` (resolved), ``metrics.jsonl``, TensorBoard
            events, ``checkpoints/``, ``model.safetensors``, ``evaluation.json``,
            ``environment.json``, where the training started from weights ``weights.txt`` and, where
            asked for, ``snapshots/``. What methods keep of their passes over whole data sets lies
            in ``stages/``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.model_file = self.path / "model.safetensors"
        self.snapshot_folder = self.path / "snapshots"
        self.stages = self.path / "stages"
        self.evaluation_file = self.path / "evaluation.json"
        self.environment_file = self.path / "environment.json"

    @classmethod
    def create(cls, path: str | Path, config: Config) -> RunFolder:
        """Make a new run folder with its configuration.

        Raises:
            RunError: the folder holds something already, or cannot be written.
        """
        run = cls(path)
        run.refuse_existing()
        make_folder(run.path)
        try:
            # of two that begin at once, one finds it there
            run.checkpoints.mkdir()
        except OSError as error:
            raise RunError(f"cannot write into {run.path}: {error.strerror}") from error
        try:
            run.write_config(config)
        except RunError:
            # an empty folder is no obstacle to the next attempt
            with suppress(OSError):
                run.checkpoints.rmdir()
            raise
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            RunError: there is no run at the path.
        """
        run = cls(path)
        if not run.config_file.is_file():
            state = "it has no config.yaml" if run.path.is_dir() else "there is no such folder"
            raise RunError(f"{run.path} is not a run folder: {state}")
        return run

    def refuse_existing(self) -> None:
        """Refuse a folder that holds anything.

        Raises:
            RunError: it holds a run, or something else, or cannot be looked into.
        """
        try:
            if self.config_file.exists():
                way = f"Resume it with `{self.resume_command}`, or give"
                state, way = ("a finished", "Give") if self.finished else ("an unfinished", way)
                raise RunError(
                    f"{self.path} holds {state} run already. {way} another folder (--out)."
                )
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise RunError(
                    f"{self.path} exists and is neither an empty folder nor a run; nothing was "
                    "written. Give another folder (--out)."
                )
        except OSError as error:
            raise RunError(f"cannot look into {self.path}: {error.strerror}") from error

    @property
    def resume_command(self) -> str:
        """Return the command that resumes the run; a Python call if its data came from Python."""
        given = [f"{name}=..." for name in ("source", "target", "validation") if self._given(name)]
        if given:
            return f"clan.resume({str(self.path)!r}, {', '.join(given)})"
        return f"clan resume {shlex.quote(str(self.path))}"

    def _given(self, name: str) -> bool:
        """Whether a domain's data were passed from Python; False if the file is damaged."""
        with suppress(ClanError):
            domain = getattr(self.config.data, name) if self.config_file.is_file() else None
            return domain is not None and domain.dataset == PYTHON
        return False

    @property
    def config(self) -> Config:
        """Return the resolved configuration."""
        return load_written(self.config_file)

    @property
    def finished(self) -> bool:
        """Tell whether the training reached its end; the model file is written last."""
        return self.model_file.is_file()

    def newest_checkpoint(self) -> Path | None:
        """Return the newest checkpoint."""
        return newest_checkpoint(self.checkpoints)

    def snapshot_path(self, step: int) -> Path:
        """Return the model file kept of the network after ``step`` updates."""
        return self.snapshot_folder / f"step_{step:08d}.safetensors"

    def snapshots(self) -> dict[int, Path]:
        """Return the model files kept during the training, by step, in order."""
        found = sorted(self.snapshot_folder.glob("step_*.safetensors"))
        return {int(path.stem.removeprefix("step_")): path for path in found}

    def write_config(self, config: Config) -> None:
        """Write ``config.yaml``, whole or not at all."""
        write_whole(self.config_file, dump_config(config))

    def write_weights_report(self, text: str) -> None:
        """Write ``weights.txt``: what became of each tensor of the initial weights."""
        write_whole(self.path / "weights.txt", text)

    def read_environments(self) -> list[dict[str, Any]]:
        """Return the environments of the training, an entry per change, with its ``since_step``.

        Raises:
            RunError: ``environment.json`` is damaged.
        """
        if not self.environment_file.is_file():
            return []
        try:
            entries: list[dict[str, Any]] = json.loads(self.environment_file.read_text("utf-8"))
        except ValueError as error:
            raise RunError(f"{self.environment_file} is not valid JSON ({error})") from error
        return entries

    def note_environment(self, step: int, environment: dict[str, Any]) -> None:
        """Add an entry with the environment from ``step`` on, if it has changed."""
        entries = [entry for entry in self.read_environments() if entry["since_step"] < step]
        if entries and entries[-1] == {**environment, "since_step": entries[-1]["since_step"]}:
            return
        entries.append({"since_step": step, **environment})
        write_whole(self.environment_file, json.dumps(entries, indent=1) + "\n")

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``.

        Raises:
            RunError: it cannot be written.
        """
        append_line(self.metrics_file, json.dumps(record, allow_nan=False))

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """Yield the records of ``metrics.jsonl``; a last line cut off by a crash is left out.

        Raises:
            RunError: another line is not JSON.
        """
        if not self.metrics_file.is_file():
            return
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                if number == len(lines):
                    return
                raise RunError(f"{self.metrics_file}, line {number} is not JSON") from error
            yield record

    def last_step(self) -> int:
        """Return the step of the newest whole line of ``metrics.jsonl``, 0 if there is none.

        It reads the end of the file only, so that it may be asked often.
        """
        try:
            with open(self.metrics_file, "rb") as file:
                file.seek(-min(TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
                lines = file.read().split(b"\n")
        except OSError:
            return 0
        # behind the last line break nothing is whole
        for line in reversed(lines[:-1]):
            with suppress(ValueError, KeyError, TypeError):
                return int(json.loads(line)["step"])
        return 0

    def rewrite_metrics(self, records: Iterable[dict[str, Any]]) -> None:
        """Replace ``metrics.jsonl``, whole or not at all."""
        write_whole(self.metrics_file, "".join(json.dumps(r) + "\n" for r in records))
