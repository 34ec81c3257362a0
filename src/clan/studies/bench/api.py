"""`clan.bench`: a comparison as a function call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clan.core.console import Console
from clan.studies.bench.run import SEEDS, MakeData, Request, run_request
from clan.studies.bench.table import BenchTable
from clan.studies.jobs import Start, start_process


def bench(
    task: str | Path,
    *,
    systems: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    jobs: int | None = None,
    baseline: str | None = None,
    oracle: str | None = None,
    control: str | None = None,
    table_only: bool = False,
    cost: bool = False,
    page: str | Path | None = None,
    summary: str | Path | None = None,
    notes: str | Path | None = None,
    records: str | Path | None = None,
    console: Console | None = None,
    make_data: MakeData | None = None,
    start: Start = start_process,
) -> BenchTable:
    """Train all systems of a task over seeds and write the paper's Table 1 for them.

    Every training is its own process. The same call continues a stopped comparison: finished runs
    are skipped.

    Args:
        task: a folder of presets by name, such as ``town``, or of configurations by path.
        systems: names of its files; empty for all but variants of others.
        seeds: of each system.
        overrides: ``key=value`` changes to all systems.
        out: folder of the runs and the table; ``runs/TASK`` by default.
        jobs: number of simultaneous trainings; None for one per GPU, or one.
        baseline: the row that gains and costs are relative to; None for source_only.
        oracle: the row that is trained on target labels; None for oracle.
        control: the row that the others are tested against; None for the baseline.
        table_only: train nothing; write the table of the finished runs.
        cost: measure time and memory of an update of each system; needs an idle machine.
        page: a Markdown page that gets the table in its own section.
        summary: a Markdown page that gets a short section: a table that fits a screen, and what
            it shows.
        notes: Markdown below the table of ``page``; None for notes.md beside the systems, if it
            exists.
        records: a file of runs that were trained earlier: they are not trained again, and runs that
            are finished here are added to it.
        console: where to show progress and table; None shows nothing.
        make_data: called with (task, systems, console) before the first training, to make missing
            data.
        start: starts a training's process.

    Returns:
        The table; it is also written to ``out``, as Markdown, CSV, JSON and HTML.

    Raises:
        ConfigError: unknown names, or options that contradict each other; nothing was started.
        RunError: trainings failed (the table has the others); a folder with other content, or with
            a run of another configuration.
        DataError: missing data.
        Interrupted: after Ctrl-C or SIGTERM.

    Example:
        data = clan.make_town("data/town")
        table = clan.bench("town", systems=["source_only", "clan"], overrides=[f"data.root={data}"])
        print({row.name: row.miou for row in table.comparison.rows})  # in percent
    """
    request = Request(
        task=str(task),
        systems=tuple(systems),
        seeds=tuple(seeds),
        overrides=tuple(overrides),
        out=_path(out),
        jobs=jobs,
        baseline=baseline,
        oracle=oracle,
        control=control,
        table_only=table_only,
        cost=cost,
        page=_path(page),
        summary=_path(summary),
        notes=_path(notes),
        records=_path(records),
    )
    return run_request(request, console, start, make_data)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
