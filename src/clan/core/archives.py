"""Checks the checksums of zip archives, the format of torch files; torch does not check them."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError),
    *(ValueError, LookupError, EOFError, OverflowError),
)
"""What `zipfile` raises for a damaged list of members."""


def damaged_member(path: Path) -> str | None:
    """Return what is wrong with a zip archive; None if all checksums are right.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except _DAMAGED as error:
        return f"its list of members is damaged: {error}"
    return None if member is None else f"the checksum of its member {member} does not hold"
