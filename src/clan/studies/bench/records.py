"""A file of finished runs without their networks, from which another machine can continue.

Each line is a run: its configuration without paths, the digests of the files that it names, its
environment, its log by columns, and its scores. It takes kilobytes instead of a run's tens of
megabytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clan.config.flat import flat, unflat
from clan.config.loading import anchored, dump_config
from clan.config.renamed import renew_flat
from clan.config.tree import Config
from clan.core.errors import RunError
from clan.core.files import write_whole
from clan.runs.folder import RunFolder
from clan.studies.bench.folder import FILES, BenchFolder, run_changes
from clan.studies.bench.task import System

FORMAT = 1
PARTS = {"config": dict, "files": dict, "environment": list, "evaluation": dict, "log": dict}
"""Parts of a record besides its system and seed, with their types."""
MISSING = "lacking"
"""In place of the hash of a file that is not there."""
DIGITS = 5
"""Significant digits of the numbers of a log."""
ROOTS = ("data.root", *(f"data.{name}.root" for name in ("source", "target", "validation")))

Key = tuple[str, int]
"""A system's name and a seed."""


@dataclass(frozen=True)
class Records:
    """The runs of a file.

    Attributes:
        path: the file, which need not exist yet.
        lines: its records, by system and seed.
    """

    path: Path
    lines: Mapping[Key, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Records:
        """Read a file of records.

        Raises:
            RunError: it is no file of records, or its folder does not exist.
        """
        if not path.exists():
            if not path.parent.is_dir():
                raise RunError(f"--records {path}: there is no folder {path.parent}; make it first")
            return cls(path, {})
        try:
            texts = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"cannot read --records {path}: {error}") from error
        lines: dict[Key, Mapping[str, Any]] = {}
        for number, text in enumerate(texts, start=1):
            try:
                line = json.loads(text)
                key = (str(line["system"]), int(line["seed"]))
                whole = line["format"] == FORMAT
                whole = whole and all(isinstance(line[part], of) for part, of in PARTS.items())
            except (ValueError, KeyError, TypeError, AttributeError):
                whole = False
            if not whole:
                raise RunError(
                    f"{path}, line {number} is no record of a run (format {FORMAT}); restore the "
                    "file, or delete the line to train that run anew"
                )
            if key in lines:
                raise RunError(f"{path}, line {number}: {key[0]} seed {key[1]} is there twice")
            lines[key] = line
        return cls(path, lines)

    def restore(
        self, systems: Sequence[System], seeds: Sequence[int], into: Path
    ) -> tuple[dict[Key, RunFolder], dict[Key, list[str]]]:
        """Write the requested runs as run folders, without networks.

        Args:
            systems: the systems that are compared.
            seeds: of each.
            into: ``into/<system>/seed<N>`` gets the configuration, log and scores of a run.

        Returns:
            The folders; and the differences of those records that have another configuration.
        """
        folders: dict[Key, RunFolder] = {}
        others: dict[Key, list[str]] = {}
        for system in systems:
            for seed in seeds:
                key = (system.name, seed)
                if (line := self.lines.get(key)) is None:
                    continue
                wanted = system.config.model_copy(update={"seed": seed})
                config, differing = _with_paths(line, wanted)
                if config is None or differing:
                    others[key] = differing
                    continue
                folders[key] = _unpack(line, config, into / system.name / f"seed{seed}")
        return folders, others

    def write(self, runs: Mapping[str, Mapping[int, RunFolder]]) -> int:
        """Add finished runs to the file; they replace those of the same system and seed.

        Returns:
            The number of runs in the file.

        Raises:
            RunError: it cannot be written.
        """
        added = {
            (name, seed): _record(name, seed, run)
            for name, by_seed in runs.items()
            for seed, run in by_seed.items()
        }
        lines = {**self.lines, **added}
        if added:
            texts = (json.dumps(lines[key], separators=(",", ":")) for key in sorted(lines))
            write_whole(self.path, "".join(f"{text}\n" for text in texts).encode())
        return len(lines)


def use_records(
    folder: BenchFolder, path: Path
) -> tuple[Records, BenchFolder, dict[Key, list[str]]]:
    """Read a file of records for a comparison.

    Returns:
        The records; the folder with the recorded runs; and the differences of records that have
        another configuration.

    Raises:
        RunError: as `Records.read`.
    """
    records = Records.read(path)
    taken, others = records.restore(folder.systems, folder.seeds, folder.records)
    return records, replace(folder, recorded=taken), others


def _record(name: str, seed: int, run: RunFolder) -> dict[str, Any]:
    """Return the line of a run."""
    tree, files = _without_paths(anchored(run.config))
    return {
        "format": FORMAT,
        "system": name,
        "seed": seed,
        "config": tree,
        "files": files,
        "environment": run.read_environments(),
        "evaluation": json.loads(run.evaluation_file.read_text(encoding="utf-8")),
        "log": _columns(list(run.read_metrics())),
    }


def _without_paths(config: Config) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a configuration without paths, and the digests of its files by key.

    Absolute roots of data are left out; of other files and folders only the name is kept.
    """
    values = flat(config)
    paths = {key: Path(values[key]) for key in (*ROOTS, *FILES) if _is_absolute(values.get(key))}
    files = {key: digest(path) for key, path in paths.items() if key in FILES}
    names = {key: paths[key].name for key in files}
    return {k: v for k, v in {**values, **names}.items() if k in files or k not in paths}, files


def _with_paths(line: Mapping[str, Any], wanted: Config) -> tuple[Config | None, list[str]]:
    """Return a record's configuration with the paths of the wanted one.

    A file that is missing here cannot have changed: so a table of records needs no data and no
    initial weights.

    Returns:
        The configuration, None if this version cannot read it; and how it differs.
    """
    here = {key: value for key, value in flat(wanted).items() if _is_absolute(value)}
    known = line["files"]
    roots = [key for key in ROOTS if key not in line["config"]]
    moved = {key: here[key] for key in (*roots, *known) if key in here}
    try:
        config = Config.model_validate(unflat({**renew_flat(line["config"]), **moved}))
    except ValidationError as error:
        first = error.errors()[0]
        return None, [f"{'.'.join(map(str, first['loc']))}: {first['msg']}"]
    found = {key: digest(Path(here[key])) for key in known if key in here}
    altered = [key for key, now in found.items() if now not in (known[key], MISSING)]
    changed = [f"{key}: {here[key]} has changed since" for key in altered]
    return config, [*changed, *run_changes(config, wanted)]


def _is_absolute(value: object) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()


def digest(path: Path) -> str:
    """Return a hash of a file's content; ``folder`` for a folder, `MISSING` if it is missing."""
    if path.is_dir():
        return "folder"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return MISSING


def _unpack(line: Mapping[str, Any], config: Config, path: Path) -> RunFolder:
    run = RunFolder(path)
    write_whole(run.config_file, dump_config(config).encode())
    write_whole(run.environment_file, json.dumps(line["environment"]).encode())
    write_whole(run.evaluation_file, json.dumps(line["evaluation"]).encode())
    run.rewrite_metrics(_rows(line["log"]))
    return run


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return a log by columns, None where a row has no value, so that keys are written once."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [_rounded(row.get(key)) for row in rows] for key in keys}


def _rows(columns: Mapping[str, Sequence[Any]]) -> Iterable[dict[str, Any]]:
    for values in zip(*columns.values(), strict=True):
        yield {key: v for key, v in zip(columns, values, strict=True) if v is not None}


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return value
