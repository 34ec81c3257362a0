"""Zip archives: the central directory, and reading a member.

After PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3 (Zip64). Members are stored or deflated.
Python's `zipfile` would make an object for each of a million members, and needs a file.
"""

from __future__ import annotations

import stat
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError
from clan.data.archives.index import DEFLATED, STORED, Columns, Index, Member
from clan.data.archives.storage import Storage

_END = struct.Struct("<4s4H2LH")  # end of central directory
_LOCATOR = struct.Struct("<4sLQL")  # of the Zip64 end of central directory
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = np.dtype(
    [
        *(("signature", "<u4"), ("made", "<u2"), ("needed", "<u2"), ("flags", "<u2")),
        *(("method", "<u2"), ("time", "<u2"), ("date", "<u2"), ("crc", "<u4"), ("packed", "<u4")),
        *(("size", "<u4"), ("name", "<u2"), ("extra", "<u2"), ("comment", "<u2"), ("disk", "<u2")),
        *(("inside", "<u2"), ("outside", "<u4"), ("offset", "<u4")),
    ]
)
_SIGNATURE = 0x02014B50
_ENCRYPTED = 0x2041  # bits 0, 6 and 13
_UNIX = 3  # made on a system whose file types stand in the upper half of `outside`
_MOST_DEFLATED = 1032  # deflate makes at most so many bytes of one
_TAIL = 1 << 16  # the end's comment has at most 65,535 bytes
_SLACK = 256  # bytes read beyond a member for an extra field that is longer than known
_CHUNK = 1 << 16

Table = NDArray[np.void]


def read_index(file: Storage) -> Index:
    """Read the central directory; DataError if the archive is damaged or not to be trusted."""
    count, start, length = _find_directory(file)
    data = file.read(start, length)
    at = _positions(data, count, file.shown)
    table = _table(data, at)
    names = _names(data, at, table)
    files = ~np.fromiter((name.endswith(b"/") for name in names), bool, count)
    table, at = table[files], at[files]
    names = [name for name, keep in zip(names, files, strict=True) if keep]
    _check_kinds(table, names, file.shown)
    offset, packed, size = _numbers(data, at, table, file.shown)
    _check_places(offset, packed, table, names, start, file.shown)
    _check_sizes(packed, size, table, names, file.shown)
    return Index(
        Columns(
            [_utf8(name) for name in names],
            offset,
            packed,
            size,
            table["crc"].astype(np.uint32),
            table["method"].astype(np.uint8),
        ),
        file.shown,
    )


def _damaged(where: str, what: str) -> DataError:
    return DataError(
        f"{where}: a damaged or truncated zip archive ({what}); copy or download it again"
    )


def _find_directory(file: Storage) -> tuple[int, int, int]:
    """Return how many entries the central directory has, where it starts, and its bytes."""
    length = min(file.size, _TAIL + _END.size + _LOCATOR.size)
    tail = file.read(file.size - length, length)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise _damaged(file.shown, "no end of the central directory")
    _, disk, first, _, count, size, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise _damaged(file.shown, "bytes behind its end")
    end = file.size - len(tail) + at
    locator = at - _LOCATOR.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
        _, _, end, _ = _LOCATOR.unpack_from(tail, locator)
        if end + _END64.size > file.size:
            raise _damaged(file.shown, "its Zip64 end lies outside")
        mark, _, _, _, disk, first, _, count, size, start = _END64.unpack(
            file.read(end, _END64.size)
        )
        if mark != b"PK\6\6":
            raise _damaged(file.shown, "no Zip64 end of the central directory")
    if disk or first:
        raise DataError(f"{file.shown}: one part of a zip in several parts; join them first")
    if start + size != end or count * _ENTRY.itemsize > size:
        raise _damaged(file.shown, "its central directory is not where it should be")
    return count, start, size


def _positions(data: bytes, count: int, where: str) -> NDArray[np.int64]:
    """Return where the entries of the central directory start; each tells how long it is."""
    lengths = struct.Struct("<3H").unpack_from
    places, at, last = [], 0, len(data) - _ENTRY.itemsize
    for _ in range(count):
        if at > last:
            raise _damaged(where, "its central directory ends early")
        places.append(at)
        name, extra, comment = lengths(data, at + 28)
        at += 46 + name + extra + comment
    if at != len(data):
        raise _damaged(where, "its central directory has another length than its entries")
    return np.array(places, np.int64)


def _table(data: bytes, at: NDArray[np.int64]) -> Table:
    """Return the fixed parts of the entries as a table."""
    whole = np.frombuffer(data, np.uint8)
    table = np.zeros(len(at), _ENTRY)
    fixed = np.arange(_ENTRY.itemsize)
    for first in range(0, len(at), _CHUNK):
        part = at[first : first + _CHUNK]
        rows = np.ascontiguousarray(whole[part[:, None] + fixed])
        table[first : first + _CHUNK] = rows.view(_ENTRY)[:, 0]
    return table


def _names(data: bytes, at: NDArray[np.int64], table: Table) -> list[bytes]:
    starts = at + _ENTRY.itemsize
    ends = starts + table["name"]
    return [data[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def _utf8(name: bytes) -> bytes:
    """Return a name in UTF-8. Many programs write that without saying so; else it is code page 437.

    UTF-8 is recognised safely: other text is hardly ever valid UTF-8.
    """
    if name.isascii():
        return name
    try:
        name.decode()
        return name
    except UnicodeDecodeError:
        return name.decode("cp437").encode()


def _refuse(bad: NDArray[np.bool_], names: list[bytes], where: str, what: str) -> None:
    if bad.any():
        name = names[int(bad.argmax())].decode(errors="replace")
        raise DataError(f"{where}: {name!r} {what}")


def _check_kinds(table: Table, names: list[bytes], where: str) -> None:
    if (table["signature"] != _SIGNATURE).any():
        raise _damaged(where, "an entry of its central directory has no signature")
    mode = np.where(table["made"] >> 8 == _UNIX, table["outside"] >> 16, 0)
    kind = mode & 0o170000  # S_IFMT
    _refuse(
        (kind != 0) & (kind != stat.S_IFREG),
        names,
        where,
        "is a link or a special file; an archive of images holds plain files only: pack it anew",
    )
    _refuse(
        table["flags"] & _ENCRYPTED != 0,
        names,
        where,
        "is encrypted; unpack the archive with its password, and pack it anew without",
    )
    _refuse(
        (table["method"] != STORED) & (table["method"] != DEFLATED),
        names,
        where,
        "is compressed in a way that is not read here; expected stored or deflated: pack it anew",
    )


def _numbers(
    data: bytes, at: NDArray[np.int64], table: Table, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return offset, bytes in the archive and bytes of the content, of Zip64 too."""
    size, packed, offset = (table[key].astype(np.int64) for key in ("size", "packed", "offset"))
    large = 0xFFFFFFFF
    for row in np.flatnonzero((size == large) | (packed == large) | (offset == large)).tolist():
        start = int(at[row]) + _ENTRY.itemsize + int(table["name"][row])
        values = _extra64(data[start : start + int(table["extra"][row])])
        for column in (size, packed, offset):
            if column[row] == large:
                if len(values) < 8:
                    raise _damaged(where, "an entry lacks its Zip64 numbers")
                number = int.from_bytes(values[:8], "little")
                if number >= 1 << 62:
                    raise _damaged(where, "an entry has an absurd Zip64 number")
                column[row], values = number, values[8:]
    return offset, packed, size


def _extra64(extra: bytes) -> bytes:
    """Return the content of the Zip64 field among the extra fields of an entry."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""


def _check_places(
    offset: NDArray[np.int64],
    packed: NDArray[np.int64],
    table: Table,
    names: list[bytes],
    end: int,
    where: str,
) -> None:
    """Refuse members that reach beyond the central directory, or into each other."""
    behind = offset + _LOCAL.size + table["name"] + packed
    if (behind > end).any():
        raise _damaged(where, "a member reaches beyond the archive")
    order = np.argsort(offset, kind="stable")
    overlap = np.zeros(len(offset), bool)
    overlap[order[1:]] = offset[order[1:]] < behind[order[:-1]]
    _refuse(overlap, names, where, "lies within another member; do not trust this archive")


def _check_sizes(
    packed: NDArray[np.int64],
    size: NDArray[np.int64],
    table: Table,
    names: list[bytes],
    where: str,
) -> None:
    most = np.where(table["method"] == STORED, packed, packed * _MOST_DEFLATED)
    least = np.where(table["method"] == STORED, packed, 0)
    _refuse(
        (size > most) | (size < least),
        names,
        where,
        "cannot have the size that the archive says; copy or download the archive again",
    )


def read_member(file: Storage, member: Member, most: int) -> bytes:
    """Return a member's content, its checksum verified; DataError names it if that fails.

    Args:
        file: the archive.
        member: of its index.
        most: bytes that a member may have at most.
    """
    where = f"{file.shown}/{member.name}"
    if member.size > most:
        raise DataError(
            f"{where}: {member.size:,} bytes unpacked are more than any picture of allowed size "
            f"has ({most:,})"
        )
    name = member.name.encode("utf-8", "surrogateescape")
    length = _LOCAL.size + len(name) + member.packed
    data = file.read(member.offset, min(length + _SLACK, file.size - member.offset))
    start = _content(data, where)
    if start + member.packed > len(data):
        missing = start + member.packed - len(data)
        if member.offset + len(data) + missing > file.size:
            raise _damaged(where, "it reaches beyond the archive")
        data += file.read(member.offset + len(data), missing)
    packed = data[start : start + member.packed]
    content = packed if member.method == STORED else _inflated(packed, member, where)
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise _damaged(where, "the checksum of this member does not hold")
    return content


def content_offset(file: Storage, member: Member) -> int:
    """Return where a member's content starts in the archive."""
    where = f"{file.shown}/{member.name}"
    return member.offset + _content(file.read(member.offset, _LOCAL.size), where)


def _content(data: bytes, where: str) -> int:
    """Return where the content starts behind a member's own header."""
    if len(data) < _LOCAL.size or not data.startswith(b"PK\3\4"):
        raise _damaged(where, "this member has no header")
    *_, name, extra = _LOCAL.unpack_from(data)
    return int(_LOCAL.size + name + extra)


def _inflated(packed: bytes, member: Member, where: str) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # one byte more than said shows a member that unpacks to more
        return inflate.decompress(packed, member.size + 1)
    except zlib.error as error:
        raise _damaged(where, f"this member cannot be unpacked: {error}") from error
