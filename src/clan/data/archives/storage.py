"""The bytes of an archive: of a local file, or of an address through fsspec.

Both are read by ranges only. Both are safe with processes that are forked or spawned: a local file
is opened anew in each and has no position, and fsspec gives each process connections of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from clan.core.errors import DataError

T = TypeVar("T")

TRIES = 5
"""How often a remote read is tried."""

PAUSE = 0.5
"""Seconds before the second try; the pause doubles each time."""

_VERSIONS = ("ETag", "LastModified", "mtime", "created")  # what file systems tell of a version

_PASSING = (408, 425, 429)  # answers of a server, beside 5xx, that another try may change


class Storage(Protocol):
    """Where an archive's bytes are."""

    shown: str
    """Its name in messages and in the names of members, without secrets."""
    size: int
    """Bytes."""
    version: str
    """Differs where the file was changed."""

    def read(self, start: int, length: int) -> bytes:
        """Return a range; DataError if it cannot be read whole."""
        ...


class LocalFile:
    """A file on this machine; DataError if it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path, self.shown = path, str(path)
        self._file: tuple[int, int] | None = None
        try:
            stat = os.stat(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        self.size, self.version = stat.st_size, str(stat.st_mtime_ns)

    def read(self, start: int, length: int) -> bytes:
        """Return a range; DataError if the file is shorter, or changed since it was opened."""
        try:
            data = os.pread(self._descriptor(), length, start)
            while 0 < len(data) < length:
                more = os.pread(self._descriptor(), length - len(data), start + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise DataError(f"{self.shown}: cannot be read ({error.strerror})") from error
        if len(data) < length:
            raise DataError(f"{self.shown}: the archive ends early; copy or download it again")
        return data

    def _descriptor(self) -> int:
        """Return the open file of this process."""
        process = os.getpid()
        if self._file is None or self._file[0] != process:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            stat = os.fstat(descriptor)
            if (stat.st_size, str(stat.st_mtime_ns)) != (self.size, self.version):
                os.close(descriptor)
                raise DataError(
                    f"{self.shown}: the archive changed after it was listed; start again"
                )
            self._file = (process, descriptor)
        return self._file[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __del__(self) -> None:
        if self._file is not None and self._file[0] == os.getpid():
            os.close(self._file[1])


class RemoteFile:
    """A file at an address that fsspec knows, such as ``https://`` or ``s3://``.

    Raises:
        DataError: no such file, an unknown kind of address, or a server that tells no size.
    """

    def __init__(self, url: str) -> None:
        self.url, self.shown = url, without_secrets(url)
        about = self._tried(lambda fs, path: fs.info(path))
        size = about.get("size")
        if not isinstance(size, int):
            raise DataError(
                f"{self.shown}: the server does not tell the size of the file, so that parts of it "
                "cannot be read; download it"
            )
        self.size = size
        self.version = str([about.get(key) for key in _VERSIONS])

    def read(self, start: int, length: int) -> bytes:
        """Return a range, tried several times; DataError if the server cannot give it."""
        return self._tried(lambda fs, path: self._range(fs, path, start, length))

    def _range(self, fs: Any, path: str, start: int, length: int) -> bytes:
        data: bytes = fs.cat_file(path, start=start, end=start + length)
        if len(data) > length:
            raise DataError(
                f"{self.shown}: the server sends more than the range that was asked for; archives "
                "need a server that answers Range requests: download it"
            )
        if len(data) < length:
            raise ConnectionError(f"{len(data)} of {length} bytes came")
        return data

    def _tried(self, ask: Callable[[Any, str], T]) -> T:
        """Ask, and once more after a pause where the error may pass."""
        for attempt in range(TRIES):
            try:
                return ask(*_file_system(self.url, self.shown))
            except DataError:
                raise
            except Exception as error:  # each file system raises errors of its own
                if isinstance(error, FileNotFoundError):
                    raise DataError(f"{self.shown}: no such file") from error
                if not _may_pass(error) or attempt == TRIES - 1:
                    said = str(error).replace(self.url, self.shown) or type(error).__name__
                    raise DataError(
                        f"{self.shown}: cannot be read, tried {attempt + 1} times ({said})"
                    ) from error
                time.sleep(PAUSE * 2**attempt)
        raise AssertionError("unreachable")


def _file_system(url: str, shown: str) -> tuple[Any, str]:
    """Return the file system of this process for an address, and the path in it."""
    try:
        import fsspec

        # fsspec keeps one for each process
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DataError(
            f"{shown}: an archive at an address needs the extra `remote`: pip install "
            f"'clan[remote]' ({error})"
        ) from error
    except ValueError as error:
        raise DataError(f"{shown}: no such kind of address ({error})") from error
    return system, path


def _may_pass(error: Exception) -> bool:
    """Tell whether the same request may succeed later."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status >= 500 or status in _PASSING
    return not isinstance(
        error, PermissionError | NotImplementedError | ValueError | TypeError | LookupError
    )


def is_url(place: object) -> bool:
    """Tell whether a text is an address, such as ``s3://bucket/data.zip``, and no path."""
    scheme, mark, rest = str(place).partition("://")
    return bool(mark and rest) and scheme.isidentifier()


def without_secrets(url: str) -> str:
    """Return an address without user, password and query, which may be keys."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
