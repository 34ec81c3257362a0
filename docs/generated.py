"""What the programs that write parts of a page have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def bring_up_to_date(page: Path, updated: Callable[[str], str]) -> None:
    """Write what ``updated`` makes of a page's text, and say whether it was that already."""
    old = page.read_text(encoding="utf-8")
    new = updated(old)
    if new == old:
        print(f"{page} is up to date")
    else:
        page.write_text(new, encoding="utf-8")
        print(f"wrote {page}")


def between(text: str, begin: str, end: str, body: str) -> str:
    """Return the text with ``body`` between its marks, in place of what is there."""
    before, opened, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        sys.exit(f"the page lacks its marks: expected {begin!r} and, further down, {end!r}")
    return f"{before}{begin}\n\n{body}\n{end}{after}"
