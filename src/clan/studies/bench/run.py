"""`clan bench`: train the missing runs, compare the finished ones, and write the table."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clan.comparison import render
from clan.comparison.export import to_csv
from clan.core.console import Console
from clan.core.errors import ConfigError, RunError, nearest
from clan.core.files import write_whole
from clan.scoring.evaluation_file import read_evaluation
from clan.studies.bench.cost import FILE as COSTS
from clan.studies.bench.cost import LOGGED, MIXED, measure_all, measured, outdated, recorded
from clan.studies.bench.facts import machine_counts
from clan.studies.bench.folder import BenchFolder, lacking_reasons, unfinished
from clan.studies.bench.html import write_html
from clan.studies.bench.page import Section, write_section, write_summary
from clan.studies.bench.records import Records, use_records
from clan.studies.bench.table import BenchTable, bench_table
from clan.studies.bench.task import BASELINE, ORACLE, System, Task, open_task
from clan.studies.jobs import Job, Start, choose_parallel, start_process
from clan.studies.launch import failure, launch
from clan.training.domains import check_alike
from clan.training.loop import Interrupted

SEEDS = (0, 1, 2)
NOTES = "notes.md"


@dataclass(frozen=True)
class Request:
    """The options of a comparison.

    Attributes:
        task: a folder of presets by name, or of configurations by path.
        systems: names of its files; empty for all but variants.
        seeds: of each system.
        overrides: ``key=value`` changes to all systems.
        out: the folder of the runs; ``runs/<task>`` by default.
        jobs: number of simultaneous trainings; by default one per GPU, or one.
        baseline: the row that gains and costs are relative to.
        oracle: the row that is trained on target labels: a gap closed of 100 %.
        control: the row that the others are tested against; the baseline by default.
        table_only: train nothing.
        cost: measure time and memory of each system, one after the other.
        page: a Markdown page that gets a section of this comparison.
        summary: a Markdown page that gets a short section, of tables that fit a screen.
        notes: Markdown below the page's numbers; by default notes.md beside the systems.
        records: a file of runs that were trained earlier, here or elsewhere; finished runs are
            added to it.
    """

    task: str
    systems: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    overrides: tuple[str, ...] = ()
    out: Path | None = None
    jobs: int | None = None
    baseline: str | None = None
    oracle: str | None = None
    control: str | None = None
    table_only: bool = False
    cost: bool = False
    page: Path | None = None
    summary: Path | None = None
    notes: Path | None = None
    records: Path | None = None

    def command(self) -> str:
        """Return the command with these options, with DATA in place of the data's folder."""
        words = ["clan", "bench", self.task]
        if self.systems:
            words += ["--systems", ",".join(self.systems)]
        if self.seeds != SEEDS:
            words += ["--seeds", ",".join(map(str, self.seeds))]
        for option in ("baseline", "oracle", "control"):
            if (value := getattr(self, option)) is not None:
                words += [f"--{option}", value]
        words += _without_places(self.overrides)
        for option in ("out", "records"):
            if (path := getattr(self, option)) is not None:
                words += [f"--{option}", str(path)]
        return shlex.join(words)


MakeData = Callable[[Task, Sequence[System], Console], None]


@dataclass(frozen=True)
class Bench:
    """A comparison in progress.

    Attributes:
        request: its options.
        task: the folder of configurations.
        systems: in the order of the table.
        folder: of the runs.
        console: for messages.
        records: of runs that were trained earlier; None without a file of records.
        make_data: called before the first training, to make missing data.
    """

    request: Request
    task: Task
    systems: Sequence[System]
    folder: BenchFolder
    console: Console
    records: Records | None = None
    make_data: MakeData | None = None

    @property
    def roles(self) -> tuple[str, str, str]:
        """Names of baseline, oracle and control."""
        asked = self.request
        baseline = asked.baseline or BASELINE
        return baseline, asked.oracle or ORACLE, asked.control or baseline

    @property
    def costs(self) -> Path:
        """The file of measured costs: beside the file of records if there is one."""
        if self.records is None:
            return self.folder.root / COSTS
        return self.records.path.with_name(f"{self.records.path.stem}-{COSTS}")

    def tell(self, text: str) -> None:
        """Print a line."""
        self.console.say(text)

    def train(self, start: Start) -> dict[Path, str]:
        """Train the unfinished runs; return the message of each failed run, by folder."""
        jobs = self.folder.jobs()
        if unfinished(jobs):
            if self.make_data is not None:
                self.make_data(self.task, self.systems, self.console)
            data = {system.name: system.config.data for system in self.systems}
            check_alike(data, "the systems of a comparison")
        failures = launch(
            jobs,
            [system.config for system in self.systems],
            self.console,
            parallel=self.request.jobs,
            name=self._name,
            ended=self._ended,
            start=start,
        )
        for failed in failures:
            self.tell(f"failed: {failed}\n  log: {failed.job.log}")
        return {f.job.out: f"exit code {f.code}: {f.said or 'no message'}" for f in failures}

    def _name(self, job: Job) -> str:
        return str(job.out.relative_to(self.folder.root))

    def _ended(self, job: Job, code: int) -> str:
        if code:
            return ""
        return f"mIoU {100 * read_evaluation(job.out).scores.miou():.1f}"

    def table(self, failed: Mapping[Path, str]) -> BenchTable:
        """Compare the finished runs.

        Raises:
            RunError: there is none, or they were not scored alike.
        """
        runs = self.folder.finished()
        if not runs:
            raise RunError(
                f"no run below {self.folder.root} is finished, so there is no table; train with "
                f"`{self.request.command()}`"
            )
        logged = {name: recorded(by_seed.values()) for name, by_seed in runs.items()}
        several = MIXED if len(machine_counts(runs)) > 1 else ""
        costs, how = measured(self.costs, self.systems) or (logged, LOGGED + several)
        if lost := outdated(self.costs, self.systems):
            self.tell(
                f"costs measured with another configuration are not shown: {', '.join(lost)}. "
                "Measure them again with --cost on an idle machine."
            )
        baseline, oracle, control = self.roles
        return bench_table(
            self.systems,
            self.folder.seeds,
            runs,
            costs,
            baseline=baseline,
            oracle=oracle,
            control=control,
            how=how,
            failed=lacking_reasons(self.folder, failed),
        )

    def write(self, table: BenchTable) -> None:
        """Write the table's files, and the sections of pages that were asked for."""
        root, comparison = self.folder.root, table.comparison
        section = Section(
            key=self.folder.root.name,
            title=self.task.short,
            command=self.request.command(),
            notes=self._notes(),
        )
        forms = {
            "md": render.to_markdown(comparison),
            "csv": to_csv(comparison),
            "json": json.dumps(table.to_dict(), indent=1) + "\n",
        }
        for suffix, text in forms.items():
            write_whole(root / f"bench.{suffix}", text.encode())
        write_html(root / "bench.html", table, section, self.folder.finished())
        if self.request.page is not None:
            write_section(self.request.page, section, table, self.folder.finished())
        if self.request.summary is not None:
            seeds = self.folder.seeds
            write_summary(self.request.summary, section, table, self.systems, seeds)
        self.tell(f"table: {root / 'bench.md'}, .csv, .json and .html")

    def keep(self) -> None:
        """Add the runs that are finished here to the file of records, if one was given."""
        if self.records is not None:
            total = self.records.write(self.folder.finished(elsewhere=False))
            self.tell(f"records: {total} runs in {self.records.path}")

    def _notes(self) -> Path | None:
        beside = self.task.folder / NOTES
        return self.request.notes or (beside if beside.is_file() else None)


def run_request(
    request: Request,
    console: Console | None = None,
    start: Start = start_process,
    make_data: MakeData | None = None,
) -> BenchTable:
    """Train every system over seeds, without those runs that are finished, and write the table.

    Args:
        request: the options.
        console: where to show progress and table; None shows nothing.
        start: starts a training's process.
        make_data: called before the first training, to make missing data.

    Raises:
        ConfigError: unknown names, or options that contradict each other; nothing was started.
        RunError: trainings failed (the table has the others); a folder with other content, or with
            a run of another configuration.
        DataError: missing data.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    console = console or Console(quiet=True)
    this = replace(prepare(request, console), make_data=make_data)
    failed: dict[Path, str] = {}
    problems: list[str] = []
    if not request.table_only:
        try:
            failed = this.train(start)
        except Interrupted as error:
            this.keep()
            raise Interrupted(f"{error}. Go on with: {request.command()}") from None
    if request.cost:
        problems = measure_all(this.costs, this.systems, this.tell)
    total = len(this.systems) * len(request.seeds)
    problems += [f"{run}: {said}\n    log: {run}.log" for run, said in failed.items()]
    if failed and not this.folder.finished():
        raise _failure(problems, total)
    this.keep()
    table = this.table(failed)
    this.write(table)
    render.write(table.comparison, console, "text")
    if problems:
        raise _failure(problems, total)
    return table


def prepare(request: Request, console: Console) -> Bench:
    """Open the task, its runs and records, and check the options.

    Raises:
        ConfigError, RunError: as `run_request`.
    """
    task = open_task(request.task)
    baseline, oracle = request.baseline or BASELINE, request.oracle or ORACLE
    systems = task.systems(request.systems, request.overrides, baseline=baseline, oracle=oracle)
    check_request(request, [system.name for system in systems])
    for system in systems:
        if system.config.data.validation is None:
            raise ConfigError(
                f"{system.name} has no data.validation, so it cannot be scored; name a labelled "
                "split of the target"
            )
    folder = BenchFolder(request.out or Path("runs") / task.short, systems, request.seeds)
    folder.check()
    if request.records is None:
        return Bench(request, task, systems, folder, console)
    records, folder, others = use_records(folder, request.records)
    this = Bench(request, task, systems, folder, console, records)
    if folder.recorded:
        this.tell(f"{len(folder.recorded)} runs are taken from {records.path}")
    for (name, seed), differing in others.items():
        this.tell(
            f"{name} seed {seed} in {records.path} has another configuration and is not used: "
            f"{'; '.join(differing)}"
        )
    return this


def check_request(request: Request, names: Sequence[str]) -> None:
    """Check that the options fit each other and the systems.

    Raises:
        ConfigError: they do not.
    """
    choose_parallel(request.jobs, ())
    seeds = request.seeds
    if not seeds:
        raise ConfigError("no seed: give at least one, such as --seeds 0")
    if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ConfigError(f"--seeds: {', '.join(map(str, twice))} given more than once")
    if any(seed < 0 for seed in seeds):
        raise ConfigError(f"--seeds {min(seeds)}: expected 0 or more")
    for option in ("baseline", "oracle", "control"):
        name = getattr(request, option)
        if name is not None and name not in names:
            raise ConfigError(
                f"--{option} {name!r} is not one of the systems compared{nearest(name, names)}"
            )
    if request.control is not None and request.control == (request.oracle or ORACLE):
        raise ConfigError(
            f"--control {request.control}: the oracle learns from target labels and is left out of "
            "the test; choose another system"
        )
    if request.notes is not None and not request.notes.is_file():
        raise ConfigError(f"--notes: there is no file {request.notes}")


def _failure(problems: Sequence[str], total: int) -> RunError:
    again = "The same command tries them again."
    return failure(problems, total, "runs or measurements", again)


def _without_places(overrides: Sequence[str]) -> list[str]:
    """Return the overrides with DATA in place of the data's folder, also within paths."""
    values = dict(override.partition("=")[::2] for override in overrides)
    root = values.get("data.root")
    if root is None:
        return list(overrides)
    return [
        f"{key}=DATA{value.removeprefix(root)}" if value.startswith(root) else f"{key}={value}"
        for key, value in values.items()
    ]
