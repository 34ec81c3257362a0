"""The network's input size: fixed, or a shorter side with the aspect ratio kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from clan.core.errors import counted

Size = int | tuple[int, int]
"""[H, W], or the pixels of the shorter side, which keeps the aspect ratio."""

STRETCH = 1.25
"""Changes of an image's aspect ratio above this factor are reported."""


def checked_size(value: Any) -> Any:
    """Return a size from a configuration file; ValueError if it is none."""
    pair = isinstance(value, list | tuple) and len(value) == 2
    parts = list(value) if pair else [value]
    if not all(type(part) is int and part >= 1 for part in parts):
        hint = ""
        if isinstance(value, str) and len(sides := value.lower().split("x")) == 2:
            hint = f"; did you mean [{', '.join(sides)}]?"
        raise ValueError(
            "expected [height, width] in pixels, or one number: the shorter side, the image's "
            f"shape kept{hint}"
        )
    return tuple(parts) if pair else value


InputSize = Annotated[Size, BeforeValidator(checked_size)]
"""`Size` as an option of a configuration."""


def input_size(wanted: Size | None, stored: tuple[int, int]) -> tuple[int, int]:
    """Return the input (H, W) of an image of (H, W) ``stored``; unchanged if ``wanted`` is None."""
    if wanted is None:
        return stored
    if not isinstance(wanted, int):
        return wanted
    short = min(stored)
    height, width = (max(1, round(wanted * side / short)) for side in stored)
    return height, width


def size_text(wanted: Size | None) -> str:
    """Return a size in words: ``512x1024``, ``short side 512`` or ``as stored``."""
    if wanted is None:
        return "as stored"
    return f"short side {wanted}" if isinstance(wanted, int) else f"{wanted[0]}x{wanted[1]}"


def read_size(value: Any) -> Size | None:
    """Return a size from JSON; ValueError if it is none."""
    size: Size | None = None if value is None else checked_size(value)
    return size


def stretched(wanted: Size | None, sizes: Mapping[tuple[int, int], int]) -> str:
    """Describe how a fixed size changes aspect ratios; empty if no change exceeds `STRETCH`.

    Args:
        wanted: the input size.
        sizes: (H, W) as stored -> number of images.
    """
    if wanted is None or isinstance(wanted, int):
        return ""
    height, width = wanted
    changes = {}
    for size in sizes:
        change = (width / height) / (size[1] / size[0])
        changes[size] = max(change, 1 / change)
    changed = {size: sizes[size] for size, change in changes.items() if change > STRETCH}
    if not changed:
        return ""
    most = max(changed, key=changed.__getitem__)
    return (
        f"{counted(sum(changed.values()), 'image')} of another shape, such as {most[0]}x{most[1]} "
        f"(height x width), stretched {changes[most]:.2g} times to {size_text(wanted)}; the short "
        f"side alone keeps the shape: {min(wanted)}"
    )
