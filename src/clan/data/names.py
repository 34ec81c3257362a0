"""What data in a built-in layout are called in scores, tables and reports."""

from __future__ import annotations

from pathlib import Path

from clan.data.archives.paths import FilePath

TOWN_RECORD = "town.json"
"""The file that `clan data make town` leaves above the folders of source and target."""

TOWN_TARGET = "town/target"
"""The name of the town's camera-like images."""
TOWN_LAYOUT = "cityscapes"
"""The layout in which they lie."""


def name_in_layout(layout: str, root: str | FilePath) -> str:
    """Return the name of the data set in a folder that has a built-in layout.

    That is the layout's own name, but for the town: it lies as GTA5 and Cityscapes do, and is
    neither. Its parts are called town/source and town/target wherever it was drawn.
    """
    root = Path(root) if isinstance(root, str) else root
    return f"town/{root.name}" if (root.parent / TOWN_RECORD).is_file() else layout
