"""Tar archives, and the index that stands beside each: `NAME.tar.index`.

A tar has no table of contents: without an index it would have to be read from its beginning. The
index is a line of JSON and columns of numbers; it belongs to one tar, by its size and the checksum
of its ends. Each member's content has a checksum of its own.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from clan.core.errors import DataError
from clan.data.archives.index import STORED, Columns, Index, Member
from clan.data.archives.storage import Storage

ENDING = ".index"
"""What the name of an index has behind that of its tar."""

_FORMAT = "clan tar index 1"
_HEAD = 4096  # bytes of the first line at most
_END = 1 << 16  # bytes of each end of the tar that the checksum covers
_ROW = 20  # bytes of numbers for each member


def read_index(file: Storage, beside: Storage) -> Index:
    """Read the index of a tar; DataError if it is damaged, or belongs to another tar."""
    return index_of(beside.read(0, beside.size), file, beside.shown)


def index_of(data: bytes, file: Storage, where: str) -> Index:
    """Read the index of a tar from memory; ``where`` names it in messages."""
    head, body = _head(data, where)
    count = head["members"]
    if head["tar_bytes"] != file.size or head["tar_ends"] != ends(file):
        raise DataError(
            f"{where}: this index belongs to another archive than {file.shown}, or that one "
            f"is truncated or changed; copy both again, or write it anew: clan data index "
            f"{file.shown}"
        )
    names = body[_ROW * count :].split(b"\0") if count else []
    offset = np.frombuffer(body, "<i8", count)
    size = np.frombuffer(body, "<i8", count, 8 * count)
    crc = np.frombuffer(body, "<u4", count, 16 * count)
    within = (offset >= 0) & (size >= 0) & (offset <= file.size) & (size <= file.size - offset)
    if len(names) != count or not within.all():
        raise _damaged(where)
    numbers = offset.astype(np.int64), size.astype(np.int64)
    return Index(
        Columns(
            names,
            numbers[0],
            numbers[1],
            numbers[1],
            crc.astype(np.uint32),
            np.full(count, STORED, np.uint8),
        ),
        file.shown,
    )


def _damaged(where: str) -> DataError:
    return DataError(f"{where}: no index of a tar, or a damaged one; write it by: clan data index")


def _head(data: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    line, newline, body = data[:_HEAD].partition(b"\n")
    body = data[len(line) + 1 :]
    try:
        head = json.loads(line) if newline else None
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise _damaged(where)
    count = head.get("members")
    whole = type(count) is int and 0 <= _ROW * count <= len(body)
    if not whole or head.get("sha256") != hashlib.sha256(body).hexdigest():
        raise _damaged(where)
    return {"tar_bytes": None, "tar_ends": None, **head}, body


def ends(file: Storage) -> str:
    """Return the checksum of the first and the last bytes of a tar: the SHA-256, as text."""
    length = min(_END, file.size)
    both = file.read(0, length) + file.read(file.size - length, length)
    return hashlib.sha256(both).hexdigest()


def read_member(file: Storage, member: Member) -> bytes:
    """Return a member's content, its checksum verified; DataError names it if that fails."""
    content = file.read(member.offset, member.size)
    if zlib.crc32(content) != member.crc:
        raise DataError(
            f"{file.shown}/{member.name}: a damaged tar archive (the checksum of this member does "
            "not hold); copy or download it again"
        )
    return content


def make_index(path: Path, file: Storage, on_member: Callable[[int], None] | None = None) -> bytes:
    """Read a tar from its beginning and return its index, as it stands in a file.

    Args:
        path: the tar.
        file: the same, open.
        on_member: called with the number of bytes that are done, after each member.

    Raises:
        DataError: a tar that is compressed, damaged or truncated, or a member that is a link or a
            special file.
    """
    names: list[bytes] = []
    rows: list[tuple[int, int, int]] = []
    try:
        with tarfile.open(path, "r:") as tar:
            kept: Any = tar
            while (info := tar.next()) is not None:
                kept.members = []  # else it keeps an object for each
                if info.isdir():
                    continue
                name = info.name.removeprefix("./")
                if not info.isreg() or info.issparse():
                    raise DataError(
                        f"{path}: {name!r} is a link or a special file; an archive of images holds "
                        "plain files only: pack it anew"
                    )
                content = _content(tar, info, path)
                names.append(name.encode("utf-8", "surrogateescape"))
                rows.append((info.offset_data, info.size, content))
                if on_member is not None:
                    on_member(info.offset_data + info.size)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path}: no plain tar archive, or a damaged one ({error}); a compressed tar (.tar.gz) "
            "must be decompressed first, such as by gunzip"
        ) from error
    return _bytes(names, rows, file)


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> int:
    """Return the checksum of a member's content."""
    stream: BinaryIO | Any = tar.extractfile(info)
    crc, left = 0, info.size
    while left and (part := stream.read(min(left, 1 << 20))):
        crc, left = zlib.crc32(part, crc), left - len(part)
    if left:
        raise DataError(f"{path}: the archive ends early; copy or download it again")
    return crc


def _bytes(names: list[bytes], rows: list[tuple[int, int, int]], file: Storage) -> bytes:
    order = sorted(range(len(names)), key=names.__getitem__)
    numbers = np.array(rows, np.int64).reshape(-1, 3)[order]
    body = b"".join(
        (
            numbers[:, 0].astype("<i8").tobytes(),
            numbers[:, 1].astype("<i8").tobytes(),
            numbers[:, 2].astype("<u4").tobytes(),
            b"\0".join(names[place] for place in order),
        )
    )
    head = {
        "format": _FORMAT,
        "members": len(names),
        "tar_bytes": file.size,
        "tar_ends": ends(file),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return json.dumps(head).encode() + b"\n" + body
