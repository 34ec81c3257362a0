"""A folder that fills: every image that comes into it is segmented once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clan.core.errors import DataError, RunError
from clan.data.listing import find_images
from clan.prediction.files import predict_files
from clan.prediction.predictor import Predictor
from clan.scoring.submission import check_folder

PAUSE = 1.0
"""Seconds between two looks into the folder."""


def watch_folder(
    predictor: Predictor,
    folders: Sequence[str | Path],
    out: Path,
    *,
    overwrite: bool = False,
    told: Callable[[str], None] = lambda text: None,
    pause: float = PAUSE,
    **outputs: Any,
) -> int:
    """Segment what is in a folder and what comes into it, until Ctrl-C.

    A file is read once its size has not changed between two looks: a program may still be writing
    it. One that cannot be read, or whose results cannot be written, is told and left; it is tried
    again when it changes.

    Args:
        predictor: the model.
        folders: one folder.
        out: where results go, as `clan.prediction.files.predict_files` writes them.
        overwrite: write into a folder that holds something already.
        told: called with a line for each image.
        pause: seconds between two looks.
        outputs: fields of `clan.prediction.outputs.Outputs`.

    Returns:
        How many images were done.

    Raises:
        DataError: no folder, or several.
        RunError: ``out`` is a file, or holds something and ``overwrite`` is not set.
        ConfigError: as `predict_files`.
    """
    if len(folders) != 1 or not Path(folders[0]).is_dir():
        raise DataError(f"--watch takes one folder; found {', '.join(map(str, folders))}")
    folder = Path(folders[0])
    check_folder(out, overwrite)
    seen: dict[str, tuple[int, int]] = {}
    finished: dict[str, tuple[int, int]] = {}
    done = 0
    try:
        while True:
            now = {path: state for path in _images(folder, out) if (state := _state(path))}
            for path, state in now.items():
                if seen.get(path) != state or finished.get(path) == state:
                    continue
                finished[path] = state
                try:
                    where = out / Path(path).relative_to(folder).parent
                    predict_files(predictor, [path], where, overwrite=True, **outputs)
                    done += 1
                    told(f"{path}: done")
                except (DataError, RunError) as error:
                    told(str(error))
            seen = now
            time.sleep(pause)
    except KeyboardInterrupt:
        return done


def _images(folder: Path, out: Path) -> list[str]:
    inside = out.resolve()
    return [
        path
        for path in find_images(folder)[0].values()
        if not Path(path).resolve().is_relative_to(inside)
    ]


def _state(path: str) -> tuple[int, int] | None:
    """Return size and time of a file; None if it went away."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
