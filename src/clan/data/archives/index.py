"""The table of contents of an archive, as columns: there may be a million members."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError

STORED, DEFLATED = 0, 8
"""Compression methods, by their numbers in zip."""

_NO_NAME = re.compile(rb"(?:\A|(?<=[\0/]))\.{0,2}(?=[\0/]|\Z)|\\|(?:\A|(?<=\0))[A-Za-z]:")
"""A component that is empty, `.` or `..`; a backslash; a drive: none stays below a folder."""

_CHUNK = 1 << 16


class Member(NamedTuple):
    """Where a member lies in its archive."""

    name: str
    offset: int
    """Of its header in a zip, of its content in a tar."""
    packed: int
    """Bytes in the archive."""
    size: int
    """Bytes of its content."""
    crc: int
    """CRC-32 of its content."""
    method: int


@dataclass(frozen=True)
class Columns:
    """What an archive's members are, in any order; one entry each.

    ``offset``, ``packed`` and ``size`` are int64, ``crc`` is uint32 and ``method`` uint8.
    """

    names: list[bytes]
    """In UTF-8."""
    offset: NDArray[np.int64]
    packed: NDArray[np.int64]
    size: NDArray[np.int64]
    crc: NDArray[np.uint32]
    method: NDArray[np.uint8]


class _Names(Sequence[bytes]):
    """Sorted names in one text, each with a zero byte behind it."""

    def __init__(self, names: Sequence[bytes]) -> None:
        self.text = b"".join(b"%b\0" % name for name in names)
        ends = np.fromiter((len(name) + 1 for name in names), np.int64, len(names)).cumsum()
        self.starts = np.concatenate([np.zeros(1, np.int64), ends])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.text[self.starts[index] : self.starts[index + 1] - 1]

    def between(self, first: int, last: int) -> list[str]:
        """Return the names from ``first`` to before ``last`` as text."""
        if first >= last:
            return []
        return self.text[self.starts[first] : self.starts[last] - 1].decode().split("\0")


class Index:
    """Finds members by name.

    Args:
        columns: the members.
        where: the archive, for messages.

    Raises:
        DataError: two members have one name, or a name leads out of the archive.
    """

    def __init__(self, columns: Columns, where: str) -> None:
        names = columns.names
        order = sorted(range(len(names)), key=names.__getitem__)
        names = [names[place] for place in order]
        self._names = _Names(names)
        _check_names(self._names, where)
        rows = np.array(order, np.int64)
        self._offset, self._packed = columns.offset[rows], columns.packed[rows]
        self._size, self._crc = columns.size[rows], columns.crc[rows]
        self._method = columns.method[rows]

    def __len__(self) -> int:
        return len(self._names)

    def member(self, name: str) -> Member | None:
        """Return the member of a name; None if there is none."""
        wanted = name.encode("utf-8", "surrogateescape")
        row = bisect_left(self._names, wanted)
        if row == len(self._names) or self._names[row] != wanted:
            return None
        numbers = (self._offset, self._packed, self._size, self._crc, self._method)
        return Member(name, *(int(column[row]) for column in numbers))

    def below(self, folder: str) -> list[str]:
        """Return the paths of all members below a folder (empty: all), relative to it, sorted."""
        if not folder:
            return self._names.between(0, len(self))
        first, last = self._range(folder)
        start = len(folder) + 1
        return [name[start:] for name in self._names.between(first, last)]

    def holds(self, folder: str) -> bool:
        """Tell whether there is a member below a folder (empty: any at all)."""
        first, last = self._range(folder) if folder else (0, len(self))
        return first < last

    def _range(self, folder: str) -> tuple[int, int]:
        name = folder.encode("utf-8", "surrogateescape")
        # "0" is the character behind "/"
        return bisect_left(self._names, name + b"/"), bisect_left(self._names, name + b"0")


def _check_names(names: _Names, where: str) -> None:
    if not len(names):
        raise DataError(f"{where}: the archive holds no file")
    if found := _NO_NAME.search(names.text[:-1]):
        row = int(np.searchsorted(names.starts, found.start(), side="right")) - 1
        raise DataError(
            f"{where}: a member is named {names[row].decode(errors='replace')!r}, which is no path "
            "below a folder; an archive of images needs names such as images/0001.png: pack it "
            "anew, or unpack it where nothing can be overwritten"
        )
    try:
        names.text.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: a member's name is not UTF-8; pack the archive anew") from error
    _check_twins(names, where)


def _check_twins(names: _Names, where: str) -> None:
    before: list[str] = []
    for first in range(0, len(names), _CHUNK):
        chunk = before + names.between(first, min(first + _CHUNK, len(names)))
        if len(set(chunk)) < len(chunk):
            twin = next(one for one, two in pairwise(chunk) if one == two)
            raise DataError(
                f"{where}: two members are named {twin!r}, and nothing says which one is meant; "
                "pack the archive anew"
            )
        before = chunk[-1:]
