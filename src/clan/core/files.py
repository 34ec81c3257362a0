"""The one place that writes files: each is whole on the disk or not there.

A file is written under a temporary name, flushed to the disk, renamed, and its folder is flushed
too: the rename itself then survives a power cut.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, cast

from clan.core.errors import ClanError, RunError


def write_whole(path: Path, content: bytes | str, error: type[ClanError] = RunError) -> None:
    """Write a file, whole or not at all; its folder is made.

    A reader of the path finds the former content or the new one, never a part.

    Args:
        path: the file; one that exists is replaced.
        content: its bytes, or text, which is written as UTF-8.
        error: the error to raise if it cannot be written; it names the path.
    """
    make_folder(path.parent, error)
    with writing(path, error) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(
    path: Path, error: type[ClanError] = RunError, temporary: str | None = None
) -> Iterator[BinaryIO]:
    """Give a file to write into, which becomes ``path`` when the block ends without an error.

    If the disk refuses bytes, that error is raised, not the one of the library that wrote them.

    Args:
        path: the file; its folder must exist.
        error: what is raised where it cannot be written, naming the path.
        temporary: name of the file until it is whole, beside ``path``. One name for all files of a
            folder lets the next one write over what a killed process left.
    """
    part = path.with_name(temporary or f"{path.name}.part")
    raw: _Raw | None = None
    try:
        raw = _Raw(part, "wb")
        file = io.BufferedWriter(raw)
        try:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(raw.fileno())
            file.close()
        finally:
            # only after an error: the rest of the file's buffer is not needed
            with suppress(OSError):
                file.close()
        os.replace(part, path)
        flush_folder(path.parent)
    except Exception as failure:
        refused = raw.refused if raw is not None and raw.refused is not None else failure
        if not isinstance(refused, OSError):
            raise
        raise error(f"cannot write {path}: {refused.strerror or refused}") from failure
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file and flush it to the disk.

    A line that a crash cuts off has no line break at its end.

    Raises:
        RunError: it cannot be written.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as failure:
        raise RunError(f"cannot write {path}: {failure.strerror or failure}") from failure


def make_folder(folder: Path, error: type[ClanError] = RunError) -> None:
    """Make a folder and those above it where they are missing, and flush their names to the disk.

    Args:
        folder: may exist.
        error: the error to raise if it cannot be made; it names the folder.
    """
    missing = list(takewhile(lambda f: not os.path.lexists(f), (folder, *folder.parents)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            flush_folder(made.parent)
    except OSError as failure:
        reason = failure.strerror or failure
        raise error(f"cannot write into {folder}: {reason}") from failure


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as failure:
        # some network file systems cannot flush a folder: there is no more to be done
        if failure.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


class _Raw(io.FileIO):
    """A file that remembers the first refusal of the disk."""

    refused: OSError | None = None

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as failure:
            self.refused = self.refused or failure
            raise
