"""The files of analyses in a run's folder ``analysis/``: results and settings."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clan.config.tree import Config
from clan.core.errors import ClanError, RunError
from clan.core.files import write_whole
from clan.data.classes import ClassSet
from clan.runs.folder import RunFolder

FORMAT = 1
FOLDER = "analysis"
FILES = {
    "ccd": "ccd.json",
    "tsne": "tsne.npz",
    "maps": "maps.npz",
    "label-free": "label_free.json",
}
COMMANDS = {
    "ccd": "clan analyse ccd",
    "tsne": "clan analyse tsne",
    "maps": "clan analyse maps",
    "label-free": "clan evaluate --label-free --snapshots",
}


@dataclass(frozen=True, eq=False)
class Result:
    """One analysis of one run.

    Attributes:
        kind: of analysis, a key of `FILES`.
        run: the run's folder.
        name: of the system.
        seed: of the run's training.
        classes: the class set.
        about: data, options and whatever else is no array, as stored.
        arrays: the numbers of an ``.npz``; empty for a ``.json``, which holds all in ``about``.
    """

    kind: str
    run: Path
    name: str
    seed: int
    classes: ClassSet
    about: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def result_file(run: str | Path, kind: str) -> Path:
    """Return where an analysis of a run is kept."""
    return Path(run) / FOLDER / FILES[kind]


def write_result(
    run: RunFolder,
    kind: str,
    config: Config,
    classes: ClassSet,
    about: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]] | None = None,
) -> Result:
    """Write an analysis whole or not at all, and return it as `read_result` does.

    Numbers that are not finite become null in what is JSON.

    Raises:
        RunError: it cannot be written.
    """
    head = {
        "format": FORMAT,
        "kind": kind,
        "name": config.name,
        "seed": config.seed,
        "classes": classes.to_dict(),
    }
    text = json.dumps(_plain({**head, **about}), allow_nan=False)
    path = result_file(run.path, kind)
    if path.suffix == ".json":
        write_whole(path, (text + "\n").encode())
    else:
        buffer = io.BytesIO()
        named: dict[str, Any] = {"about": np.array(text), **(arrays or {})}
        np.savez_compressed(buffer, **named)
        write_whole(path, buffer.getvalue())
    return read_result(run.path, kind)


def read_result(run: str | Path, kind: str) -> Result:
    """Read an analysis of a run.

    Raises:
        RunError: the run was not analysed, or the file is damaged; says which command makes it.
    """
    path = result_file(run, kind)
    if not path.is_file():
        raise RunError(f"{run} has no {FOLDER}/{FILES[kind]}; make it: {COMMANDS[kind]} {run}")
    try:
        about, arrays = _read(path)
        if about.get("format") != FORMAT or about.get("kind") != kind:
            raise ValueError(f"format {about.get('format')}, kind {about.get('kind')}")
        classes = ClassSet.from_dict(about["classes"])
        name, seed = str(about["name"]), int(about["seed"])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, ClanError) as error:
        raise RunError(
            f"{path} is not an analysis of this version ({error}); make it again: "
            f"{COMMANDS[kind]} {run}"
        ) from error
    return Result(kind, Path(run), name, seed, classes, about, arrays)


def read_alike(
    runs: Sequence[str | Path], kind: str, same: Sequence[str] = ("source", "target", "options")
) -> list[Result]:
    """Read an analysis of several runs that can be shown side by side.

    Args:
        runs: their folders.
        kind: of analysis.
        same: parts of ``about`` that must be equal, beside the classes.

    Raises:
        RunError: no run, one that was not analysed, or runs that differ in classes, data or
            options; says in what.
    """
    if not runs:
        raise RunError("no run given; name run folders")
    results = [read_result(run, kind) for run in runs]
    first, reasons = results[0], []
    for other in results[1:]:
        facts: list[tuple[str, Any, Any]]
        facts = [("classes", list(first.classes.names), list(other.classes.names))]
        facts += [(part, first.about.get(part), other.about.get(part)) for part in same]
        reasons += [
            f"  {first.run} and {other.run} differ in {what}: {_short(x)} and {_short(y)}"
            for what, x, y in facts
            if x != y
        ]
    if reasons:
        raise RunError("\n".join(["these runs cannot be shown side by side:", *reasons[:8]]))
    return results


def matrix(rows: Sequence[float | None] | Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """Return numbers, or rows of them, in which null stands for nan."""
    return np.array(rows, np.float64)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8")), {}
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(str(arrays.pop("about"))), arrays


def _plain(value: Any) -> Any:
    """Return lists, dictionaries and finite numbers in place of arrays and nan."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else text[:117] + "..."
