"""A study's numbers: one record per cell, from its run's own files; sweep.csv and sweep.json."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from clan.config.tree import Config
from clan.core.errors import RunError
from clan.core.files import write_whole
from clan.runs.folder import RunFolder
from clan.runs.health import end_mean, examine
from clan.scoring.evaluation_file import Evaluation, read_evaluation
from clan.studies.sweep.grid import Cell

FILE = "sweep.json"
D_LOSSES = ("loss_d_source", "loss_d_target")

Status = Literal["finished", "unfinished", "failed", "waiting"]


@dataclass(frozen=True)
class Measured:
    """Numbers from the end of a run.

    Attributes:
        steps: updates done.
        seconds: of the training, without scores.
        miou: mean IoU over all classes of its last checkpoint, 0..1; None without scores.
        d_loss: what D minimises, the mean of its losses on both domains, over the last tenth of
            the steps; None where there is no D. 0.69 is chance for TAN.
        d_accuracy: share of locations that D classifies correctly, over the same steps.
        adv_share: the adversary's share of G's gradient, over the same steps.
        alignment: mean of the alignment map, over the same steps.
        health: kinds of `clan.runs.health.Verdict`.
    """

    steps: int
    seconds: float
    miou: float | None
    d_loss: float | None
    d_accuracy: float | None
    adv_share: float | None
    alignment: float | None
    health: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """A cell's line.

    Attributes:
        run: the run's folder, below the study's.
        seed: of the training.
        values: of the study's parameters, by key.
        status: ``failed`` in the last call, ``unfinished`` or ``waiting`` to be started.
        measured: how the run ended; None unless it is finished.
    """

    run: str
    seed: int
    values: Mapping[str, Any]
    status: Status
    measured: Measured | None


@dataclass(frozen=True)
class Table:
    """A whole study.

    Attributes:
        preset: what was varied.
        system: its name.
        keys: its parameters.
        preset_values: what the preset has for them.
        scored: what mIoU is over and on, a clause; empty where no run has scores.
        records: a line per cell.
    """

    preset: str
    system: str
    keys: tuple[str, ...]
    preset_values: Mapping[str, Any]
    scored: str
    records: tuple[Record, ...]


def measure(run: RunFolder, config: Config) -> Measured:
    """Read how a finished run ended."""
    lines = list(run.read_metrics())
    scores = read_evaluation(run.path) if run.evaluation_file.is_file() else None
    miou = None if scores is None else scores.scores.miou()
    return Measured(
        steps=config.training.steps,
        seconds=round(math.fsum(line.get("seconds", 0.0) for line in lines), 1),
        miou=None if miou is None or math.isnan(miou) else miou,
        d_loss=end_mean(lines, D_LOSSES),
        d_accuracy=end_mean(lines, ["d_accuracy"]),
        adv_share=end_mean(lines, ["adv_share"]),
        alignment=end_mean(lines, ["alignment"]),
        health=tuple(verdict.kind for verdict in examine(lines, config.training.steps)),
    )


def record(root: Path, cell: Cell, keys: Sequence[str], failed: bool) -> Record:
    """Return a cell's line as it stands now."""
    run = RunFolder(root / cell.folder)
    begun = run.config_file.is_file()
    status: Status = "failed" if failed else "unfinished" if begun else "waiting"
    return Record(
        run=cell.folder,
        seed=cell.config.seed,
        values={key: cell.value(key) for key in keys},
        status="finished" if run.finished else status,
        measured=measure(run, cell.config) if run.finished else None,
    )


def scored_on(root: Path, records: Sequence[Record]) -> str:
    """Say what the records' mIoU is over and on; more than one clause where inputs differ."""
    texts = [
        scored_text(read_evaluation(root / line.run))
        for line in records
        if line.measured is not None and line.measured.miou is not None
    ]
    return "; ".join(dict.fromkeys(texts))


def scored_text(evaluation: Evaluation) -> str:
    """Say what an evaluation's mIoU is over and on, in a clause."""
    scores, protocol = evaluation.scores, evaluation.protocol
    return (
        f"{scores.classes.name} ({len(scores.classes)} classes), {evaluation.dataset} "
        f"{evaluation.split} ({scores.images} images, input {protocol.size_text()}), "
        f"checkpoint: {evaluation.checkpoint}"
    )


def write_table(root: Path, table: Table) -> None:
    """Write ``sweep.json`` and ``sweep.csv``, each whole or not at all.

    Raises:
        RunError: they cannot be written.
    """
    content = json.dumps(asdict(table), indent=1, allow_nan=False) + "\n"
    write_whole(root / FILE, content.encode())
    write_whole(root / "sweep.csv", _csv(table).encode())


def _csv(table: Table) -> str:
    buffer = io.StringIO()
    measures = [name for name in Measured.__dataclass_fields__ if name != "health"]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["run", "seed", *table.keys, "status", *measures, "health"])
    for line in table.records:
        numbers = {} if line.measured is None else asdict(line.measured)
        values = [_cell_text(line.values[key]) for key in table.keys]
        found = [numbers.get(name) for name in measures]
        health = " ".join(numbers.get("health", ()))
        writer.writerow([line.run, line.seed, *values, line.status, *found, health])
    return buffer.getvalue()


def _cell_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_table(root: Path) -> Table:
    """Read ``sweep.json``, given the study's folder.

    Raises:
        RunError: missing, or not a study's.
    """
    path = root / FILE
    if not path.is_file():
        raise RunError(f"no study at {root}: it has no {FILE}, which `clan sweep` writes")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        records = tuple(
            Record(**{**line, "measured": _measured(line["measured"])}) for line in data["records"]
        )
        return Table(**{**data, "keys": tuple(data["keys"]), "records": records})
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not a study's table: {error}") from error


def _measured(data: Mapping[str, Any] | None) -> Measured | None:
    return None if data is None else Measured(**{**data, "health": tuple(data["health"])})
