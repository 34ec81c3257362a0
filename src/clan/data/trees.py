"""What lies in a folder, on the disk or in an archive: the two kinds of place that are listed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Literal, Protocol

from clan.core.errors import DataError
from clan.data.archives.paths import Archive, ArchivePath, FilePath

Kind = Literal["file", "folder", "other"]


class Tree(Protocol):
    """Folders and files; all paths are whole, as text."""

    def files(self, folder: str, before: str, behind: str, hidden: bool) -> list[str]:
        """Return the names of a folder's files that begin and end so, hidden ones only if asked."""
        ...

    def folders(self, folder: str, fits: re.Pattern[str]) -> list[re.Match[str]]:
        """Return the matches of the names of a folder's folders."""
        ...

    def content(self, folder: str) -> Iterator[tuple[str, Kind]]:
        """Yield the name and kind of what lies directly in a folder."""
        ...

    def deeper(self, folder: str) -> list[str]:
        """Return the names of the folders to search below one: not the hidden ones."""
        ...

    def is_file(self, path: str) -> bool:
        """Tell whether this is a file."""
        ...

    def is_dir(self, path: str) -> bool:
        """Tell whether this is a folder."""
        ...


def tree_of(root: FilePath) -> Tree:
    """Return the tree that a root lies in."""
    return Inside(root.archive) if isinstance(root, ArchivePath) else Disk()


class Disk:
    """The disk. DataError for a folder that cannot be read; one that is absent holds nothing."""

    def files(self, folder: str, before: str, behind: str, hidden: bool) -> list[str]:
        """Return the names of a folder's files that begin and end so, hidden ones only if asked."""
        least = len(before) + len(behind)
        try:
            # one at a time: a million entries would take gigabytes
            with os.scandir(folder) as entries:
                return [
                    name
                    for entry in entries
                    if (name := entry.name).startswith(before)
                    and name.endswith(behind)
                    and len(name) >= least
                    and (hidden or name[0] != ".")
                    and entry.is_file()
                ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(folder, error) from error

    def folders(self, folder: str, fits: re.Pattern[str]) -> list[re.Match[str]]:
        """Return the matches of the names of a folder's folders."""
        matches = [(match, e) for e in self._entries(folder) if (match := fits.fullmatch(e.name))]
        return [match for match, entry in matches if entry.is_dir()]

    def content(self, folder: str) -> Iterator[tuple[str, Kind]]:
        """Yield the name and kind of what lies directly in a folder; hidden files are files."""
        for entry in self._entries(folder):
            if entry.name.startswith("."):
                yield entry.name, "file"
            elif entry.is_dir():
                yield entry.name, "folder"
            else:
                yield entry.name, "file" if entry.is_file() else "other"

    def deeper(self, folder: str) -> list[str]:
        """Return the names of the folders to search below one: not the hidden ones."""
        return [
            entry.name
            for entry in self._entries(folder)
            if not entry.name.startswith(".") and entry.is_dir() and not _returns(entry)
        ]

    def is_file(self, path: str) -> bool:
        """Tell whether this is a file."""
        return os.path.isfile(path)

    def is_dir(self, path: str) -> bool:
        """Tell whether this is a folder."""
        return os.path.isdir(path)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(folder, error) from error


def _unreadable(folder: str, error: OSError) -> DataError:
    return DataError(f"{folder}: the folder cannot be read ({error.strerror})")


def _returns(entry: os.DirEntry[str]) -> bool:
    """Tell whether a folder is a link to one that it lies in: following it would never end."""
    if not entry.is_symlink():
        return False
    real = os.path.realpath(entry.path)
    here = os.path.realpath(os.path.dirname(entry.path))
    return os.path.commonpath([real, here]) == real


class Inside:
    """An archive; its members' names are sorted, so that a folder's stand together."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def files(self, folder: str, before: str, behind: str, hidden: bool) -> list[str]:
        """Return the names of a folder's files that begin and end so, hidden ones only if asked."""
        least = len(before) + len(behind)
        return [
            name
            for name in self._below(folder)
            if name.startswith(before)
            and name.endswith(behind)
            and len(name) >= least
            and (hidden or name[0] != ".")
            and "/" not in name
        ]

    def folders(self, folder: str, fits: re.Pattern[str]) -> list[re.Match[str]]:
        """Return the matches of the names of a folder's folders."""
        return [match for name in self._folders(folder) if (match := fits.fullmatch(name))]

    def content(self, folder: str) -> Iterator[tuple[str, Kind]]:
        """Yield the name and kind of what lies directly in a folder."""
        for name in self._folders(folder):
            yield name, "folder"
        for name in self.files(folder, "", "", True):
            yield name, "file"

    def deeper(self, folder: str) -> list[str]:
        """Return the names of the folders to search below one: not the hidden ones."""
        return [name for name in self._folders(folder) if not name.startswith(".")]

    def is_file(self, path: str) -> bool:
        """Tell whether this is a member."""
        return self.archive.path(self._inner(path)).is_file()

    def is_dir(self, path: str) -> bool:
        """Tell whether members lie below this."""
        return self.archive.path(self._inner(path)).is_dir()

    def _folders(self, folder: str) -> dict[str, None]:
        names = self._below(folder)
        return dict.fromkeys(name.split("/", 1)[0] for name in names if "/" in name)

    def _below(self, folder: str) -> list[str]:
        return self.archive.index.below(self._inner(folder))

    def _inner(self, path: str) -> str:
        inner = self.archive.inner(path)
        assert inner is not None, f"{path} is not in {self.archive}"
        return inner
