"""What the benchmarks share: their options, their lists of runs, and running them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from clan.job_display import JobBars
from clan.jobs import Job, run_jobs, visible_gpus
from clan.training import Interrupted

SYSTEMS = ("source_only", "adabn", "tan", "clan", "oracle")
RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results.md"


def benchmark_parser(
    description: str, out: Path, more_systems: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks have in common; more systems run if named."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    choices = (*SYSTEMS, *more_systems)
    parser.add_argument("--systems", nargs="+", choices=choices, default=SYSTEMS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def table_jobs(
    options: argparse.Namespace, preset: Callable[[str], str], overrides: Sequence[str]
) -> list[Job]:
    """Every system and seed; whole seeds first, so that an interrupted call leaves a table."""
    return [
        Job(preset(system), (*overrides, f"seed={seed}"), options.out / system / f"seed{seed}")
        for seed in options.seeds
        for system in options.systems
    ]


def run_all(jobs: Sequence[Job], parallel: int) -> None:
    """Run all jobs, ``parallel`` at a time, each on a GPU of its own where there are several.

    Raises:
        SystemExit: a training failed; its log is named, the others were finished. Or Ctrl-C.
    """
    try:
        with JobBars() as display:
            failures = run_jobs(jobs, parallel, display, gpus=visible_gpus())
    except Interrupted as error:
        raise SystemExit(f"{error}. The same command goes on.") from None
    if failures:
        lines = [f"{failure}\n  log: {failure.job.log}" for failure in failures]
        raise SystemExit("\n".join([f"{len(failures)} runs failed:", *lines]))
