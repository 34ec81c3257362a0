"""Measurements of what a training and the readers withstand; each adds to a results file."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path


def today() -> dict[str, str | None]:
    """Return the date and the commit of a measurement; no commit outside a checkout."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        said = ""
    return {"date": date.today().isoformat(), "commit": said or None}
