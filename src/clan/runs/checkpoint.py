"""Checkpoints: one file, written whole or not at all, loaded without running code from it."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from clan.core.archives import damaged_member
from clan.core.errors import RunError, WeightsError
from clan.core.files import writing
from clan.core.jsonfile import first_problem
from clan.runs.schema import Checkpoint

FORMAT = 1
UNFINISHED = "unfinished.part"
"""Name of the temporary file; always the same, so that a killed process's file is overwritten."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the file of the checkpoint taken after ``step`` updates."""
    return folder / f"step_{step:08d}.pt"


def checkpoints(folder: Path) -> list[Path]:
    """Return a folder's checkpoints, oldest first; parts of unfinished ones do not count."""
    return sorted(folder.glob("step_*.pt"))


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a folder."""
    return max(folder.glob("step_*.pt"), default=None)


def save_checkpoint(
    path: Path, content: dict[str, Any], keep: int, spared: Path | None = None
) -> list[str]:
    """Write a checkpoint and drop all but the newest ``keep`` and one that is ``spared``.

    The bytes go to a temporary file, to the disk, and then under the final name, so that a crash
    or a full disk at any instant leaves the former checkpoints whole.

    Returns:
        A sentence for each old checkpoint that could not be deleted; the new one is written.

    Raises:
        RunError: the file could not be written; nothing half-written stays.
    """
    try:
        with writing(path, temporary=UNFINISHED) as file:
            torch.save({"format": FORMAT, **content}, file)
    except RunError as error:
        last = newest_checkpoint(path.parent)
        stays = f"the former one, {last}, is whole" if last else "there is no former one"
        raise RunError(
            f"{error}; of the checkpoints, {stays}. Free space or mend the permissions, then "
            "resume."
        ) from error
    dropped = (old for old in checkpoints(path.parent)[:-keep] if old != spared)
    return [said for old in dropped if (said := _drop(old))]


def _drop(old: Path) -> str:
    """Delete an old checkpoint; return the reason if that is not possible."""
    try:
        old.unlink(missing_ok=True)
    except OSError as error:
        return f"the old checkpoint {old} stays: it cannot be deleted ({error.strerror})"
    return ""


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        WeightsError: not a checkpoint of this package, or damaged: each of its members has the
            checksum that the archive names.
    """
    try:
        if (damage := damaged_member(path)) is not None:
            raise WeightsError(f"{path} cannot be read as a checkpoint: {damage}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    # whatever a damaged pickle makes torch's reader do
    except (
        *(OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError),
        *(TypeError, AttributeError, IndexError, AssertionError, MemoryError, OverflowError),
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise WeightsError(f"{path} is not a checkpoint of format {FORMAT} (found {found})")
    try:
        Checkpoint.model_validate(content)
    except ValidationError as error:
        raise WeightsError(f"{path} is no checkpoint: {first_problem(error)}") from error
    if path != checkpoint_path(path.parent, content["step"]):
        raise WeightsError(f"{path} is a checkpoint of step {content['step']}, of another name")
    return content


def load_newest(folder: Path) -> tuple[dict[str, Any] | None, dict[Path, str]]:
    """Read the newest checkpoint that is in order.

    Returns:
        Its content, None if there is no checkpoint; and, for newer ones that are damaged, what is
        wrong with them. As every step is a function of its number, continuing from an older
        checkpoint gives the same result.

    Raises:
        WeightsError: all are damaged; names them.
    """
    damaged: dict[Path, str] = {}
    for path in reversed(checkpoints(folder)):
        try:
            return load_checkpoint(path), damaged
        except WeightsError as error:
            damaged[path] = str(error)
    if damaged:
        raise WeightsError(
            f"{'; '.join(damaged.values())}. There is no other checkpoint: bring one back from a "
            f"backup, or delete the damaged ones from {folder} to begin again at step 0."
        )
    return None, damaged


def set_aside(damaged: Iterable[Path]) -> None:
    """Rename damaged checkpoints, so that they neither count nor push out good ones.

    Raises:
        RunError: one cannot be renamed.
    """
    for path in damaged:
        try:
            path.rename(path.with_suffix(".damaged"))
        except OSError as error:
            raise RunError(f"{path} is damaged and cannot be renamed: {error.strerror}") from error
