"""Train a list of runs in parallel; skip what is done, go on where it stopped."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clan.runs import RunFolder

SYSTEMS = ("source_only", "adabn", "tan", "clan", "oracle")
RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results.md"


@dataclass(frozen=True)
class Job:
    """One training: a preset, its changes, its run folder."""

    preset: str
    overrides: tuple[str, ...]
    out: Path

    @property
    def command(self) -> list[str]:
        clan = [sys.executable, "-m", "clan.cli"]
        if (self.out / "config.yaml").is_file():
            return [*clan, "resume", str(self.out)]
        return [*clan, "train", self.preset, *self.overrides, "--out", str(self.out)]


def benchmark_parser(description: str, out: Path) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks have in common."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
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
    """Run all jobs, ``parallel`` at a time, the machine's threads shared between them.

    Raises:
        SystemExit: a training failed; its log is named, the others were finished.
    """
    waiting = [job for job in jobs if not RunFolder(job.out).finished]
    print(f"{len(jobs)} runs, {len(jobs) - len(waiting)} of them finished already", flush=True)
    threads = str(max(1, (os.cpu_count() or 1) // parallel))
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    running: list[tuple[Job, subprocess.Popen[bytes], Path]] = []
    failed = []
    while waiting or running:
        while waiting and len(running) < parallel:
            job = waiting.pop(0)
            job.out.parent.mkdir(parents=True, exist_ok=True)
            log = job.out.with_name(job.out.name + ".log")
            with open(log, "ab") as file:
                # a session of its own: schedulers share the cores between sessions
                process = subprocess.Popen(
                    job.command,
                    stdout=file,
                    stderr=file,
                    env=environment,
                    start_new_session=True,
                )
            running.append((job, process, log))
            print(f"{time.strftime('%H:%M:%S')} started {job.out}", flush=True)
        time.sleep(1)
        for entry in [r for r in running if r[1].poll() is not None]:
            running.remove(entry)
            job, process, log = entry
            print(f"{time.strftime('%H:%M:%S')} ended {job.out} ({process.returncode})", flush=True)
            if process.returncode:
                failed.append(log)
    if failed:
        raise SystemExit(f"{len(failed)} runs failed: {', '.join(map(str, failed))}")
