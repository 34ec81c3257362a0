"""Text of strangers on its way out: names of files and classes reach no terminal as commands."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters; tab and line break are text
    "\u200e\u200f\u2028-\u202e\u2066-\u2069"  # turn the direction of writing, or break lines
    "\ufeff\ud800-\udfff]"  # a mark of byte order; bytes of a name that are no UTF-8
)
_BREAKS = re.compile("[\t\n]")
_FORMULA = tuple("=+-@")


def visible(text: str) -> str:
    r"""Return text with its control characters written out, such as ``\x1b`` for an escape.

    Line breaks and tabs stay. What is visible already is returned as it is.
    """
    return text if text.isprintable() else _HIDDEN.sub(_written, text)


def one_line(text: str) -> str:
    r"""Return `visible` text on one line: a line break in a name becomes ``\n``."""
    return _BREAKS.sub(_written, visible(text))


def hidden_in(text: str) -> str:
    """Return the first character of a name that is not `visible` on one line, written out."""
    found = _HIDDEN.search(text) or _BREAKS.search(text)
    return _written(found) if found else ""


def _written(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def csv_line(cells: Iterable[object]) -> str:
    """Return a line of a CSV file, without its line break.

    Text that a spreadsheet would calculate (it begins with = + - @, and is no number) gets an
    apostrophe in front, which spreadsheets take for "this is text".
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
