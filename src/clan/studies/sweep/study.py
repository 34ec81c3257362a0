"""`clan sweep`: trains a study's cells, continues a stopped study, writes its table and figure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from clan.config.loading import load_config
from clan.core.errors import RunError
from clan.core.files import write_whole
from clan.figures.style import save_figure
from clan.runs.folder import RunFolder
from clan.studies.jobs import Job, Start, start_process, was_stopped
from clan.studies.launch import failure, launch, refuse_other_run
from clan.studies.sweep.figure import draw_study
from clan.studies.sweep.grid import (
    Axis,
    Cell,
    expand,
    grid_texts,
    lookup,
    merge,
    parameters,
    parse_grid,
)
from clan.studies.sweep.results import Table, record, scored_on, write_table
from clan.studies.sweep.settings import rich_table
from clan.training.domains import check_alike
from clan.training.loop import Interrupted
from clan.training.resuming import FREE_TO_CHANGE, changes

GRIDS = "sweep.yaml"
FIGURES = ("study.png", "study.svg")


class Study:
    """The folder of a study: its grids, a run folder per cell, its table and figure.

    Attributes:
        root: the folder. It holds ``sweep.yaml`` (the grids, as they were asked for), a run per
            cell with its log beside it, ``sweep.csv``, ``sweep.json`` and the figure.
        preset: what is varied; a file's path is absolute.
        grids: the arguments of each grid.
        arguments: those of the grid that is asked for.
        failed: the folders of the cells that failed in this call.
    """

    def __init__(
        self, root: Path, preset: str, grids: Sequence[Sequence[str]], arguments: Sequence[str]
    ) -> None:
        self.root, self.preset, self.arguments = root, preset, list(arguments)
        self.grids = [list(grid) for grid in grids]
        # in the order of their first call: which cell's folder stays depends on it
        known = [_fixed(grid) for grid in grids]
        self._number = known.index(_fixed(arguments)) if _fixed(arguments) in known else len(known)
        self.grids[self._number : self._number + 1] = [self.arguments]
        axes = [parse_grid(grid) for grid in self.grids]
        self._axes: list[Axis] = [axis for grid in axes for axis in grid]
        self._cells = merge([expand(preset, grid) for grid in axes])
        self.failed: set[str] = set()

    @classmethod
    def open(cls, root: Path, preset: str, arguments: Sequence[str]) -> Study:
        """Open a study with a grid: a new one, one that is gone on with, or one that is extended.

        Raises:
            RunError: the folder holds something else, or the study of another preset.
            ConfigError: the grid is not valid, or does not fit the study's others.
        """
        preset = _absolute_file(preset)
        parse_grid(arguments)
        found = _read_grids(root)
        if found is None:
            return cls(root, preset, [], arguments)
        if found["preset"] != preset:
            raise RunError(
                f"{root} holds a study of {found['preset']}, not of {preset}. Give another folder "
                "(--out)."
            )
        return cls(root, preset, found["grids"], arguments)

    @property
    def cells(self) -> list[Cell]:
        """All cells, each once."""
        return list({cell.folder: cell for grid in self._cells for cell in grid}.values())

    @property
    def chosen(self) -> list[Cell]:
        """The cells of the grid that is asked for."""
        return list({cell.folder: cell for cell in self._cells[self._number]}.values())

    def job(self, cell: Cell) -> Job:
        """Return what trains a cell."""
        return Job(self.preset, cell.overrides, self.root / cell.folder)

    def check(self) -> None:
        """Check all cells before the first one starts.

        Raises:
            RunError: a run in the folder has another configuration than its cell.
            DataError: data that are not there.
            ConfigError: cells that would not be scored alike.
        """
        for cell in self.chosen:
            refuse_other_run(RunFolder(self.root / cell.folder), cell.config, changes)
        data = {cell.folder: cell.config.data for cell in self.chosen}
        check_alike(data, "the cells of a study")

    def write_grids(self) -> None:
        """Write ``sweep.yaml``."""
        content = {"preset": self.preset, "grids": self.grids}
        text = "# The grids of this study, as given to clan sweep.\n"
        text += yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
        write_whole(self.root / GRIDS, text.encode())

    def table(self) -> Table:
        """Return the study's numbers as they stand now."""
        cells = self.cells
        keys = parameters(cells, self._axes)
        lines = [record(self.root, cell, keys, cell.folder in self.failed) for cell in cells]
        preset = load_config(self.preset)
        return Table(
            preset=self.preset,
            system=preset.name,
            keys=tuple(keys),
            preset_values={key: lookup(preset, key) for key in keys},
            scored=scored_on(self.root, lines),
            records=tuple(lines),
        )

    def folder(self, job: Job) -> str:
        """Return what a cell is called: its folder below the study's."""
        return str(job.out.relative_to(self.root))

    def ended(self, job: Job, code: int) -> str:
        """Keep the table up to date, so that a killed study has one; return the cell's mIoU."""
        folder = self.folder(job)
        if code and not was_stopped(code):
            self.failed.add(folder)
        table = self.table()
        write_table(self.root, table)
        found = next(line.measured for line in table.records if line.run == folder)
        return "" if found is None or found.miou is None else f"mIoU {100 * found.miou:.1f}"

    def command(self, jobs: int | None) -> str:
        """Return the command that goes on with the grid that is asked for."""
        more = [] if jobs is None else ["--jobs", str(jobs)]
        words = ["clan", "sweep", self.preset, *self.arguments, *more, "--out", str(self.root)]
        return shlex.join(words)


def sweep(
    preset: str | Path,
    grid: Sequence[str] | Mapping[str, Sequence[Any]],
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    console: Console | None = None,
    start: Start = start_process,
) -> Study:
    """Train every cell of a grid that is not finished; draw the figure.

    Args:
        preset: a preset's name or a configuration file.
        grid: values by key; or ``key=value,value`` texts whose values are YAML. All combinations
            are cells, each a run of its own.
        out: the study's folder; ``runs/NAME-sweep`` by default. Another grid over the same preset
            extends the study that is there.
        jobs: trainings at a time; by default one per GPU, or one.
        console: where to show progress and table; None shows nothing.
        start: starts a job's process.

    Returns:
        The study; ``Study.table()`` has its numbers, a record per cell.

    Raises:
        ConfigError: a grid that is not valid; nothing was started.
        RunError: cells failed, all others are finished; or a folder that holds something else.
        Interrupted: after Ctrl-C or SIGTERM.

    Example:
        grid = {"method.epsilon": [0.1, 0.4], "seed": [0, 1, 2], "data.root": ["data/town"]}
        study = clan.sweep("town/clan", grid, "study", jobs=2)
        mious = [line.measured.miou for line in study.table().records]
    """
    preset = str(preset)
    root = Path(out or Path("runs") / f"{load_config(preset).name}-sweep")
    study = Study.open(root, preset, grid_texts(grid))
    study.check()
    study.write_grids()
    console = console or Console(quiet=True)
    chosen = study.chosen
    try:
        failures = launch(
            [study.job(cell) for cell in chosen],
            [cell.config for cell in chosen],
            console,
            parallel=jobs,
            name=study.folder,
            ended=study.ended,
            start=start,
        )
    except Interrupted as error:
        write_table(study.root, study.table())
        raise Interrupted(f"{error}. Go on with: {study.command(jobs)}") from None
    _conclude(study, console)
    if failures:
        problems = [f"{failed}\n    log: {failed.job.log}" for failed in failures]
        again = f"Try them again with: {study.command(jobs)}"
        raise failure(problems, len(chosen), "cells", again)
    return study


def _conclude(study: Study, console: Console) -> None:
    """Write and show what the study found."""
    table = study.table()
    write_table(study.root, table)
    if table.scored:
        console.print(f"mIoU in percent over {table.scored}", markup=False, highlight=False)
    console.print(rich_table(table))
    if any(line.measured for line in table.records):
        for name in FIGURES:
            save_figure(draw_study(table), study.root / name)
        console.print(f"figure: {study.root / FIGURES[0]}", markup=False, highlight=False)


def _fixed(arguments: Sequence[str]) -> list[str]:
    """Return what makes a grid: its arguments without those that a resumed run may change."""
    return sorted(a for a in arguments if a.partition("=")[0] not in FREE_TO_CHANGE)


def _absolute_file(preset: str) -> str:
    """Return a configuration file's absolute path; a preset's name is unchanged."""
    path = Path(preset).expanduser()
    return str(path.resolve()) if path.suffix in (".yaml", ".yml") else preset


def _read_grids(root: Path) -> dict[str, Any] | None:
    """Read a study's grids; None where there is nothing yet."""
    path = root / GRIDS
    if not path.is_file():
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise RunError(
                f"{root} exists and is neither an empty folder nor a study; nothing was written. "
                "Give another folder (--out)."
            )
        return None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        grids = [[str(argument) for argument in grid] for grid in content["grids"]]
        return {"preset": str(content["preset"]), "grids": grids}
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} does not hold the grids of a study: {error}") from error
