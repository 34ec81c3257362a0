"""Analyses that were computed for the runs, and the commands of those that were not."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from clan.report.gather import System


def read_analyses(systems: Sequence[System]) -> list[dict[str, Any]]:
    """Return what the template shows of each kind of analysis, computed or not."""
    runs = " ".join(shlex.quote(str(s.first.folder.path)) for s in systems)
    return [
        {
            "title": "Distance between class centres",
            "figure": None,
            "table": None,
            "command": f"clan analyse ccd {runs}",
        },
    ]
