"""Atomic writing of files, used by the whole package.

A file is written under a temporary name, flushed to the disk and renamed. Then its folder is
flushed, so that the rename survives a power cut.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, cast

from clan.core.errors import ClanError, ConfigError, RunError

PART = ".part"
"""Ending of temporary files."""
MOST_BYTES = 255
"""Longest name of a file, on the usual file systems."""


def write_whole(path: Path, content: bytes | str, error: type[ClanError] = RunError) -> None:
    """Write a file atomically; make its folder if it is missing.

    A reader sees the old content or the new content, never a part.

    Args:
        path: the file; an existing one is replaced.
        content: bytes, or text to write as UTF-8.
        error: the error to raise if it cannot be written; it names the path.
    """
    make_folder(path.parent, error)
    with writing(path, error) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(
    path: Path, error: type[ClanError] = RunError, temporary: str | None = None
) -> Iterator[BinaryIO]:
    """Open a temporary file; it becomes ``path`` if the block ends without an error.

    If writing to the disk fails, its error is raised, not a later one of the calling library.

    Args:
        path: the file; its folder must exist.
        error: the error to raise if it cannot be written; it names the path.
        temporary: name of the temporary file, beside ``path``. If all files of a folder share the
            name, the next write replaces what a killed process left behind.
    """
    part = path.with_name(temporary or _temporary(path.name))
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
            # matters only after an error: the buffer is then no longer needed
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
    """Append a line to a text file and flush it to the disk.

    After a crash, an incomplete line has no line break at its end.

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
    """Make a folder and its missing parents, and flush their names to the disk.

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


def user_path(path: str | Path, error: type[ClanError] = ConfigError) -> Path:
    """Return a path from a user, with ``~`` and ``~name`` expanded to home folders.

    Args:
        path: as written.
        error: the error to raise if there is no such user, or no file can have such a name.
    """
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as failure:
        name = Path(path).parts[0]
        raise error(
            f"{path}: there is no user {name[1:]!r}, whose home folder {name} would be; to name a "
            f"file so, write ./{name}"
        ) from failure
    if _too_long(expanded):
        said = f"{str(path)[:60]}... ({len(str(path))} characters)"
        raise error(f"{said} is longer than the name of a file can be")
    return expanded


def _too_long(path: Path) -> bool:
    """Tell of a path of which `Path.is_file` would raise instead of returning False."""
    try:
        os.stat(path)
    except OSError as failure:
        return failure.errno == errno.ENAMETOOLONG
    except ValueError:
        return False  # characters that no name has: there is no such file
    return False


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as failure:
        # some network file systems cannot flush a folder
        if failure.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def _temporary(name: str) -> str:
    """Return the temporary file's name: a file whose own name just fits must be written too."""
    if len(os.fsencode(name)) + len(PART) <= MOST_BYTES:
        return f"{name}{PART}"
    return f"{hashlib.sha256(os.fsencode(name)).hexdigest()}{PART}"


class _Raw(io.FileIO):
    """A file that keeps the first error of the disk."""

    refused: OSError | None = None

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as failure:
            self.refused = self.refused or failure
            raise
