"""The folder of a comparison: its runs, and the check that they have the right configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clan.config.flat import flat
from clan.config.tree import Config
from clan.core.errors import RunError
from clan.runs.folder import RunFolder
from clan.scoring.evaluation_file import FILE as SCORES
from clan.studies.bench.task import System
from clan.studies.jobs import Job
from clan.studies.launch import refuse_other_run
from clan.training.resuming import FREE_TO_CHANGE, changes
from clan.weights.start import placed

NO_MATTER = (
    *(*FREE_TO_CHANGE, "training.log_every"),
    *(f"data.{domain}.absent" for domain in ("source", "target", "validation")),
)
"""Keys that do not affect the trained network or its scores."""
FILES = (
    *("data.source.dataset", "data.target.dataset", "data.validation.dataset"),
    *("data.classes", "weights", "method.pretrained"),
)
"""Keys that may name a file; files with the same content count as equal."""
RECORDS = "records"
TABLES = ("bench.md", "bench.csv", "bench.json", "bench.html")


@dataclass(frozen=True)
class BenchFolder:
    """Runs by system and seed: ``ROOT/<system>/seed<N>``.

    Attributes:
        root: the folder.
        systems: the systems that are compared.
        seeds: of each.
        recorded: runs from a file of records, without networks, by system and seed; a run that is
            finished in this folder is preferred.
    """

    root: Path
    systems: Sequence[System]
    seeds: Sequence[int]
    recorded: Mapping[tuple[str, int], RunFolder] = field(default_factory=dict)

    @property
    def records(self) -> Path:
        """Return the folder of recorded runs."""
        return self.root / RECORDS

    def run(self, system: System, seed: int) -> RunFolder:
        """Return the folder of a run, which need not exist."""
        return RunFolder(self.root / system.name / f"seed{seed}")

    def jobs(self) -> list[Job]:
        """Return a job for each run that is not recorded.

        They are ordered by seed, so that a comparison that is stopped has a table of whole seeds. A
        recorded run has a job too if another run starts from its model: a record has no network.
        """
        jobs = {
            (system.name, seed): self._job(system, seed)
            for seed in self.seeds
            for system in self.systems
        }
        starts = {
            job.after for key, job in jobs.items() if key not in self.recorded and not job.finished
        }
        return [job for key, job in jobs.items() if key not in self.recorded or job.out in starts]

    def _job(self, system: System, seed: int) -> Job:
        overrides = (*system.overrides, f"seed={seed}")
        return Job(system.preset, overrides, self.run(system, seed).path, self._start(system, seed))

    def _start(self, system: System, seed: int) -> Path | None:
        """Return the run of this comparison whose model a run starts from, if it is one."""
        if system.config.weights is None:
            return None
        weights = Path(placed(system.config.weights, self.root.absolute(), seed))
        runs = (self.run(other, seed).path for other in self.systems if other is not system)
        return next((run for run in runs if weights in _places(run)), None)

    def finished(self, elsewhere: bool = True) -> dict[str, dict[int, RunFolder]]:
        """Return the runs that are finished and scored, by system and seed.

        Args:
            elsewhere: include recorded runs that are not finished here.
        """
        found: dict[str, dict[int, RunFolder]] = {}
        for system in self.systems:
            for seed in self.seeds:
                here = self.run(system, seed)
                done = here.finished and here.evaluation_file.is_file()
                known = self.recorded.get((system.name, seed)) if elsewhere else None
                if (run := here if done else known) is not None:
                    found.setdefault(system.name, {})[seed] = run
        return found

    def check(self) -> None:
        """Check that the folder belongs to this comparison.

        Raises:
            RunError: it has other content, or a run of another configuration; names the
                differences.
        """
        self._refuse_other_content()
        for seed in self.seeds:
            for system in self.systems:
                run = self.run(system, seed)
                if not run.config_file.is_file():
                    run.refuse_existing()
                    continue
                wanted = system.config.model_copy(update={"seed": seed})
                refuse_other_run(run, wanted, run_changes)
                if run.finished and not run.evaluation_file.is_file():
                    raise RunError(
                        f"{run.path} is finished and has no {SCORES}: it was trained without "
                        f"data.validation. Score it with `clan evaluate {run.path} --dataset "
                        f"DATASET --out {run.evaluation_file}`, or delete the run."
                    )

    def _refuse_other_content(self) -> None:
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise RunError(f"{self.root} is a file; expected a folder for the runs (--out)")
        names = {path.name for path in self.root.iterdir()}
        own = {*(system.name for system in self.systems), *TABLES, RECORDS}
        if names and not names & own:
            raise RunError(
                f"{self.root} is not a folder of this comparison: it has "
                f"{', '.join(sorted(names)[:3])}; expected a folder for each system, or nothing. "
                "Give another folder (--out)."
            )


def _places(run: Path) -> tuple[Path, Path]:
    """Return the paths by which weights can name a run: its folder and its model."""
    folder = run.absolute()
    return folder, RunFolder(folder).model_file


def run_changes(old: Config, new: Config) -> list[str]:
    """Return how a run differs from the requested one, a clause each.

    Files with the same content count as equal.
    """
    return changes(old, new, (*NO_MATTER, "description", *same_files(old, new)))


def same_files(old: Config, new: Config) -> list[str]:
    """Return the keys whose files have the same content in both configurations."""
    before, after = flat(old), flat(new)
    return [key for key in FILES if _same_file(before.get(key), after.get(key))]


def _same_file(a: object, b: object) -> bool:
    files = [Path(name) for name in (a, b) if isinstance(name, str)]
    if len(files) < 2 or not all(file.is_file() for file in files):
        return False
    return files[0].read_bytes() == files[1].read_bytes()


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs that are not finished."""
    return [job for job in jobs if not job.finished]


def lacking_reasons(folder: BenchFolder, failed: Mapping[Path, str]) -> dict[tuple[str, int], str]:
    """Return why runs are missing: failed in this call, or not finished."""
    reasons: dict[tuple[str, int], str] = {}
    for system in folder.systems:
        for seed in folder.seeds:
            run = folder.run(system, seed)
            if run.path in failed:
                reasons[system.name, seed] = f"failed ({failed[run.path]})"
            elif run.config_file.is_file() and not run.finished:
                reasons[system.name, seed] = "is not finished"
    return reasons
