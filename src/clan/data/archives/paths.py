"""Paths that may lie in an archive: `data.zip/images/0001.png`, or the same behind an address."""

from __future__ import annotations

import io
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from clan.core.errors import ClanError, DataError
from clan.core.files import user_path
from clan.data.archives import tars, zips
from clan.data.archives.index import STORED, Index, Member
from clan.data.archives.storage import LocalFile, RemoteFile, Storage, is_url
from clan.data.limits import pixel_limit

ENDINGS = (".zip", ".tar")
"""Endings (lower case) of archives that are read in place."""

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")
_BYTES_A_PIXEL = 8  # of 16-bit RGBA
_BESIDE_PIXELS = 1 << 24  # bytes of a file for headers and metadata
_AHEAD = 1 << 16  # bytes read at once where only the header of a picture is wanted


class Archive:
    """An archive with its table of contents; may be passed to other processes.

    Args:
        file: its bytes.
        index: its members.
    """

    def __init__(self, file: Storage, index: Index) -> None:
        self.file, self.index = file, index
        self.zipped = file.shown.lower().endswith(".zip")

    def __str__(self) -> str:
        return self.file.shown

    def path(self, inner: str = "") -> ArchivePath:
        """Return the path of a member, or of a folder of members."""
        return ArchivePath(self, inner)

    def inner(self, text: str) -> str | None:
        """Return the path in this archive of a whole path; None if it is not in here."""
        whole = str(self)
        if text == whole:
            return ""
        return text[len(whole) + 1 :] if text.startswith(f"{whole}/") else None

    def read(self, member: Member) -> bytes:
        """Return a member's content, its checksum verified."""
        if not self.zipped:
            return tars.read_member(self.file, member)
        return zips.read_member(self.file, member, _most_bytes())

    def open(self, member: Member) -> BinaryIO:
        """Open a member, to read only its beginning; no checksum is verified if it is stored."""
        if member.method != STORED:
            return io.BytesIO(self.read(member))
        start = zips.content_offset(self.file, member) if self.zipped else member.offset
        return io.BufferedReader(_Part(self.file, start, member.size), _AHEAD)


class _Part(io.RawIOBase):
    """A part of an archive as a file."""

    def __init__(self, file: Storage, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        length = max(0, min(len(view), self._size - self._at))
        view[:length] = self._file.read(self._start + self._at, length)
        self._at += length
        return length


class ArchivePath:
    """A path in an archive. It reads like a `pathlib.Path`, as far as there is something to read.

    Args:
        archive: the archive.
        inner: the path in it, with slashes; empty: the archive itself, which acts as a folder.
    """

    __slots__ = ("archive", "inner")

    def __init__(self, archive: Archive, inner: str = "") -> None:
        self.archive, self.inner = archive, inner

    def __str__(self) -> str:
        return f"{self.archive}/{self.inner}" if self.inner else str(self.archive)

    def __repr__(self) -> str:
        return f"ArchivePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchivePath) and str(self) == str(other)

    def __lt__(self, other: ArchivePath) -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, below: str | PurePosixPath) -> ArchivePath:
        # what leads out of the archive is never a member: such names are refused in its index
        inner = posixpath.normpath(posixpath.join(self.inner, str(below)))
        return self.archive.path("" if inner == "." else inner)

    @property
    def name(self) -> str:
        """The last component."""
        return PurePosixPath(self.inner or str(self.archive)).name

    @property
    def stem(self) -> str:
        """The last component without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> ArchivePath:
        """The folder it lies in; of the archive itself, the archive."""
        return self.archive.path(posixpath.dirname(self.inner))

    def resolve(self) -> ArchivePath:
        """Return the path itself: there are no links."""
        return self

    def is_file(self) -> bool:
        """Tell whether there is such a member."""
        return self.archive.index.member(self.inner) is not None

    def is_dir(self) -> bool:
        """Tell whether members lie below it."""
        return self.archive.index.holds(self.inner)

    def exists(self) -> bool:
        """Tell whether it is a member, or a folder of some."""
        return self.is_dir() or self.is_file()

    def iterdir(self) -> Iterator[ArchivePath]:
        """Yield what lies directly in it."""
        for name in dict.fromkeys(n.split("/", 1)[0] for n in self.archive.index.below(self.inner)):
            yield self / name

    def read_bytes(self) -> bytes:
        """Return a member's content, its checksum verified; DataError if it is damaged."""
        return self.archive.read(self._member())

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open a member to read its header; only ``rb``."""
        if mode != "rb":
            raise ValueError(f"{self}: archives are only read, as bytes; not {mode!r}")
        return self.archive.open(self._member())

    def fingerprint(self) -> str:
        """Return a text that changes with the content."""
        member = self._member()
        return f"{self}|{member.size}|{member.crc:08x}"

    def _member(self) -> Member:
        member = self.archive.index.member(self.inner)
        if member is None:
            raise FileNotFoundError(str(self))
        return member


FilePath = Path | ArchivePath
"""A file or folder, in an archive or not."""

Root = str | Path | Sequence[str]
"""Where a data set is, as a user says it; several are archives."""


def _most_bytes() -> int:
    """Return how many bytes a member may unpack to: those of the largest picture allowed."""
    return pixel_limit() * _BYTES_A_PIXEL + _BESIDE_PIXELS


def is_archive(text: str | Path) -> bool:
    """Tell whether a text names an archive, or a folder in one: by its ending, nothing is opened.

    A local folder that is named like an archive is none.
    """
    if is_url(text):
        return _split_url(str(text)) is not None
    return _local_archive(Path(text)) is not None


def locate(text: str | Path) -> FilePath:
    """Return the path that a user means: a local one, or one in an archive.

    Args:
        text: a path, or an address such as ``s3://bucket/data.zip``; behind an archive a folder in
            it may follow.

    Raises:
        DataError: an archive that is damaged, lacks its index or holds what it should not; an
            address of something else.
    """
    if is_url(text):
        found = _split_url(str(text))
        if found is None:
            raise DataError(
                f"{text}: expected an archive at this address ({', '.join(ENDINGS)}); a folder of "
                "files must be local, or packed: clan data pack"
            )
        url, inner = found
        return _remote(url) / inner
    path = user_path(text, DataError)
    archive = _local_archive(path)
    if archive is None:
        if path.is_file() and path.name.lower().endswith(_COMPRESSED):
            raise DataError(
                f"{path}: this kind of archive cannot be read at any place; expected .zip or .tar: "
                "unpack it (a .tar.gz by gunzip), then see clan data index, clan data pack"
            )
        return path
    return _local(archive) / PurePosixPath(*path.parts[len(archive.parts) :])


def below(
    base: str | Path | None, root: str | Path, error: type[ClanError] = DataError
) -> str | Path:
    """Return a path relative to another place; either may be an address.

    Raises:
        ClanError: of type ``error``, if one of them cannot be a path.
    """
    if is_url(root):
        return str(root)
    if is_url(base):
        return f"{str(base).rstrip('/')}/{root}"
    return user_path(base or ".", error) / user_path(root, error)


def root_below(
    base: str | Path | None, root: Root, error: type[ClanError] = DataError
) -> str | Path | tuple[str, ...]:
    """Return a root, of one or of several archives, relative to another place; see `below`."""
    if isinstance(root, str | Path):
        return below(base, root, error)
    return tuple(str(below(base, one, error)) for one in root)


def _local_archive(path: Path) -> Path | None:
    """Return the archive that a path names or leads into."""
    for place in (path, *path.parents):
        if place.suffix.lower() in ENDINGS:
            return place if place.is_file() else None
    return None


def _split_url(url: str) -> tuple[str, str] | None:
    """Return the address of an archive and the path in it."""
    address, mark, query = url.partition("?")
    parts = address.split("/")
    for at in range(3, len(parts)):
        if parts[at].lower().endswith(ENDINGS):
            return "/".join(parts[: at + 1]) + mark + query, "/".join(parts[at + 1 :])
    return None


_opened: dict[tuple[str, int, str], Archive] = {}
"""Archives that this process has opened: several splits and domains share one."""

_KEPT = 8


def open_archive(file: Storage, beside: Callable[[], Storage]) -> Archive:
    """Open an archive, or return it as it was opened before.

    Args:
        file: its bytes; its ending says which kind it is.
        beside: opens the index of a tar.

    Raises:
        DataError: as `locate` says.
    """
    key = (file.shown, file.size, file.version)
    if key not in _opened:
        if file.shown.lower().endswith(".zip"):
            index = zips.read_index(file)
        else:
            index = tars.read_index(file, beside())
        while len(_opened) >= _KEPT:
            del _opened[next(iter(_opened))]
        _opened[key] = Archive(file, index)
    return _opened[key]


def _local(path: Path) -> ArchivePath:
    index = path.with_name(path.name + tars.ENDING)

    def beside() -> Storage:
        if not index.is_file():
            raise DataError(
                f"{path}: a tar is read by its index, and there is no {index.name} beside it; "
                f"write it by: clan data index {path}"
            )
        return LocalFile(index)

    return open_archive(LocalFile(path), beside).path()


def _remote(url: str) -> ArchivePath:
    address, mark, query = url.partition("?")
    index = f"{address}{tars.ENDING}{mark}{query}"
    return open_archive(RemoteFile(url), lambda: RemoteFile(index)).path()


def fingerprint(path: FilePath) -> str:
    """Return a text that changes if a file does; OSError if there is none."""
    if isinstance(path, ArchivePath):
        return path.fingerprint()
    stat = os.stat(path)
    return f"{os.path.abspath(path)}|{stat.st_size}|{stat.st_mtime_ns}"
