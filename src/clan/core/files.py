"""Writing files whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from clan.core.errors import RunError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, to the disk, and rename it; its folder is made.

    Whoever reads the path finds the former content or the new one, never a part.

    Raises:
        RunError: it cannot be written; nothing half-written stays.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
