"""Images that failed among many: each is noted, the others are done, all are told at the end."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from clan.core.errors import ClanError, DataError, RunError, counted
from clan.data.archives.paths import FilePath

_NO_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the disk, not of one result: no further one could be written."""


class Failures:
    """The images of some that failed, and why.

    Args:
        images: how many there are.
        then: what to do once there is space again, if the disk is full.
    """

    def __init__(self, images: int, then: str) -> None:
        self._images, self._then = images, then
        self._done = 0
        self._found: list[str] = []

    def note(self, what: object) -> None:
        """Count an image that failed."""
        self._found.append(str(what))

    def write(self, image: FilePath, action: Callable[[], object]) -> None:
        """Write an image's results by an action; what cannot be read or written is noted.

        Raises:
            RunError: the disk is full or read-only.
        """
        try:
            action()
        except ClanError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_DISK:
                raise RunError(
                    f"{error}; {self._done} of {counted(self._images, 'image')} are done. Free "
                    f"space, then {self._then}"
                ) from error
            told = str(error)
            self.note(told if told.startswith(str(image)) else f"{image}: {told}")
        else:
            self._done += 1

    def error(self, out: Path) -> DataError | None:
        """Return an error that names all images that failed; None if none did."""
        if not self._found:
            return None
        return DataError(
            f"{len(self._found)} of {counted(self._images, 'image')} could not be read, or "
            f"their results not written; the other {self._done} are in {out}:\n"
            + "\n".join(f"  {what}" for what in self._found)
        )
