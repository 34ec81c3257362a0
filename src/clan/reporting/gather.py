"""Reads runs for a report, names their missing parts, and refuses runs that do not fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clan.comparison.compare import compare
from clan.comparison.table import Comparison
from clan.config.loading import anchored, load_written
from clan.config.tree import Config, DomainOptions
from clan.core.errors import RunError
from clan.core.files import user_path
from clan.data.classes import ClassSet
from clan.runs.folder import RunFolder
from clan.scoring.evaluation_file import Evaluation, read_evaluation
from clan.weights.model_files import read_about


@dataclass(frozen=True)
class Run:
    """One training and the content of its folder.

    Attributes:
        folder: its folder.
        config: its configuration, with absolute paths.
        records: the lines of ``metrics.jsonl``.
        evaluation: the scores, None if there are none.
        classes: its class set, None if no file has it.
        environments: machine and versions, as `RunFolder.read_environments`.
        missing: the missing parts, a sentence each.
    """

    folder: RunFolder
    config: Config
    records: tuple[dict[str, Any], ...]
    evaluation: Evaluation | None
    classes: ClassSet | None
    environments: tuple[dict[str, Any], ...]
    missing: tuple[str, ...]

    @property
    def name(self) -> str:
        """The system; the name given to `clan evaluate`, if any, replaces the training's."""
        return self.evaluation.name if self.evaluation else self.config.name

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return self.config.seed


@dataclass(frozen=True)
class System:
    """Runs that differ only in the seed, sorted by seed."""

    name: str
    runs: tuple[Run, ...] = field(repr=False)

    @property
    def first(self) -> Run:
        """The run whose predictions are shown: the one with the lowest seed that has a model."""
        return next((run for run in self.runs if run.folder.finished), self.runs[0])


def read_runs(paths: Sequence[Path], root: str | None = None) -> list[Run]:
    """Read run folders, finished or not.

    Args:
        paths: the folders.
        root: replaces each run's ``data.root``.

    Raises:
        RunError: no folder; a folder that is no run or is damaged; or runs that cannot be compared:
            other classes, other data, the same name and seed twice.
        ConfigError: a configuration that cannot be read.
    """
    if not paths:
        raise RunError("no run to report on; name run folders")
    runs = [_read(path, root) for path in paths]
    _refuse_other_runs(runs)
    return runs


def systems_of(runs: Sequence[Run]) -> list[System]:
    """Group runs into systems, in order of first appearance."""
    names = dict.fromkeys(run.name for run in runs)
    seeds = sorted(runs, key=lambda run: run.seed)
    return [System(name, tuple(run for run in seeds if run.name == name)) for name in names]


def compare_scored(
    runs: Sequence[Run], baseline: str, oracle: str, subset: str | None
) -> Comparison | None:
    """Compare the scored runs, with the arguments of `compare`; None if there are none."""
    scored = [run.folder.evaluation_file for run in runs if run.evaluation]
    return compare(scored, baseline=baseline, oracle=oracle, subset=subset) if scored else None


def _read(path: Path, root: str | None) -> Run:
    folder = RunFolder.open(path)
    changes = [] if root is None else [f"data.root={user_path(root).resolve()}"]
    config = anchored(load_written(folder.config_file, changes))
    records = tuple(folder.read_metrics())
    missing = []
    if not folder.finished:
        missing.append(
            f"{path} has no model.safetensors: the training is not finished, so the page has no "
            f"predictions of it. Finish it with `{folder.resume_command}`."
        )
    if not records:
        missing.append(f"{path} has no metrics.jsonl, so the page has no curves of it.")
    evaluation = read_evaluation(path) if folder.evaluation_file.is_file() else None
    if evaluation is None:
        why = "the training is not finished" if config.data.validation else "no data.validation"
        missing.append(
            f"{path} has no evaluation.json ({why}), so it has no scores. `clan evaluate` writes "
            f"them: `clan evaluate {path} --dataset DATASET --out {folder.evaluation_file}`."
        )
    classes = evaluation.scores.classes if evaluation else _classes_of_model(folder)
    machines = tuple(folder.read_environments())
    return Run(folder, config, records, evaluation, classes, machines, tuple(missing))


def _classes_of_model(folder: RunFolder) -> ClassSet | None:
    about = read_about(folder.model_file) if folder.finished else None
    return ClassSet.from_dict(about["classes"]) if about and "classes" in about else None


def _refuse_other_runs(runs: Sequence[Run]) -> None:
    """Refuse runs of other classes or data; `compare` checks only runs with scores."""
    reasons = []
    seen = dict[tuple[str, int], Run]()
    for run in runs:
        twin = seen.setdefault((run.name, run.seed), run)
        if twin is not run:
            reasons.append(
                f"{run.name}, seed {run.seed}, is there twice: {twin.folder.path} and "
                f"{run.folder.path}"
            )
    told = [(run, ", ".join(run.classes.names)) for run in runs if run.classes is not None]
    for run, names in told[1:]:
        if names != told[0][1]:
            reasons.append(
                f"classes: {told[0][1]} in {told[0][0].folder.path}, {names} in {run.folder.path}"
            )
    for run in runs[1:]:
        # `compare` checks the data of runs with scores
        if run.evaluation is None or runs[0].evaluation is None:
            places = [_place(each.config) for each in (runs[0], run)]
            if places[0] != places[1]:
                reasons.append(
                    f"target: {places[0]} in {runs[0].folder.path}, {places[1]} in "
                    f"{run.folder.path}"
                )
    if reasons:
        listed = "\n".join(f"  {reason}" for reason in reasons)
        raise RunError(
            f"these runs do not fit into one report:\n{listed}\nMake separate reports, or leave "
            "some out."
        )


def _place(config: Config) -> str:
    """Return the folder and split of the images that a report shows."""
    domain = shown_domain(config)
    if domain is None:
        return "none"
    return f"{Path(config.data.root or '', domain.shown_root, domain.dataset)} {domain.split}"


def shown_domain(config: Config) -> DomainOptions | None:
    """Return the domain whose images a report shows: the validation split, else the target."""
    return config.data.validation or config.data.target
