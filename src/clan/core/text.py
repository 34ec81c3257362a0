"""Escaping of text from outside: names of files and classes cannot send terminal commands."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters; tab and line break are text
    "\u200e\u200f\u2028-\u202e\u2066-\u2069"  # change the direction of writing, or break lines
    "\ufeff\ud800-\udfff]"  # byte order mark; bytes of a name that are not UTF-8
)
_BREAKS = re.compile("[\t\n]")
_FORMULA = tuple("=+-@")


def visible(text: str) -> str:
    r"""Return text with its control characters escaped, such as ``\x1b`` for the escape character.

    Line breaks and tabs stay. Text without control characters is returned unchanged.
    """
    return text if text.isprintable() else _HIDDEN.sub(_written, text)


def one_line(text: str) -> str:
    r"""Return `visible` text on one line: a line break in a name becomes ``\n``."""
    return _BREAKS.sub(_written, visible(text))


def hidden_in(text: str) -> str:
    """Return the first character that `one_line` would escape, escaped; empty if none."""
    found = _HIDDEN.search(text) or _BREAKS.search(text)
    return _written(found) if found else ""


def _written(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def csv_line(cells: Iterable[object]) -> str:
    """Return a line of a CSV file, without its line break.

    Text that a spreadsheet would take for a formula (it begins with = + - @ and is no number) gets
    an apostrophe in front, which marks it as text.
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([_cell(cell) for cell in cells])
    return buffer.getvalue()


def _cell(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = one_line(cell)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
