"""Draw the rooms of the package and their imports: docs/images/rooms.svg.

    python docs/make_rooms.py

A line per room, the top floor first, with its number of files and its purpose, the first sentence
of its docstring. Beside it stands how many times its files import files of each other room. All
of it is read from the code; a test fails when the picture is out of date.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections import Counter
from html import escape
from pathlib import Path

from generated import bring_up_to_date

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from tests.test_rooms import PUBLIC, ROOMS, ROOT, edges, room  # noqa: E402

PAGE = DOCS / "images" / "rooms.svg"
WIDTH, MARGIN = 900, 10
HEAD, ROW = 104, 36
MATRIX = 440
"""Where the columns begin."""
CELL = (WIDTH - MARGIN - MATRIX) / len(ROOMS)
LINE = 54
"""Letters of a line of the purpose."""
INK, QUIET, PAPER, BOX, RULE = "#1f2933", "#52606d", "#ffffff", "#eef2f6", "#d5dde5"
STYLE = f"""\
text {{ font-family: Helvetica, Arial, sans-serif; font-size: 11px; fill: {QUIET}; }}
.room {{ font-size: 13px; font-weight: bold; fill: {INK}; }}
.count {{ text-anchor: middle; fill: {INK}; }}
.strong {{ fill: {PAPER}; }}"""


def main() -> None:
    """Bring the picture up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(_: str) -> str:
    """Return the picture of today's code; of the former nothing stays."""
    return draw(ROOT)


def draw(root: Path) -> str:
    """Return the picture of a package's rooms as SVG."""
    between = arrows(root)
    height = HEAD + ROW * len(ROOMS) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'width="{WIDTH}" height="{height}" aria-label="Rooms of the package and their imports">',
        f"<style>\n{STYLE}\n</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
        *_legend(),
        *(part for floor, name in enumerate(ROOMS) for part in _box(root, floor, name)),
        *(part for floor, name in enumerate(ROOMS) for part in _heading(floor, name)),
        *(part for pair, count in sorted(between.items()) for part in _mark(pair, count)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def arrows(root: Path) -> Counter[tuple[str, str]]:
    """Count the imports of files by files between each two rooms, as (importing, imported)."""
    found: Counter[tuple[str, str]] = Counter()
    for file, others in edges(root).items():
        pairs = ((room(file, root), room(other, root)) for other in others)
        found.update((a, b) for a, b in pairs if a != b and PUBLIC not in (a, b))
    return found


def files(root: Path, name: str) -> list[Path]:
    """Return the files of a room; a package's `__init__.py` is its name, not one more file."""
    inner = [file for file in (root / name).rglob("*.py") if file.name != "__init__.py"]
    return inner or [root / f"{name}.py"]


def purpose(root: Path, name: str) -> str:
    """Return what a room is for: the first paragraph of its docstring."""
    package = root / name / "__init__.py"
    file = package if package.is_file() else root / f"{name}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].replace("`", "").split())


def _legend() -> list[str]:
    lines = (
        "The rooms, top floor first. A number says how many imports the room of",
        "its row takes from the room of its column. All stand right of the",
        "diagonal: imports run down only.",
    )
    return [_text(MARGIN, 30 + 16 * n, line) for n, line in enumerate(lines)]


def _box(root: Path, floor: int, name: str) -> list[str]:
    """Draw a room: name, files, purpose, and the line that its numbers stand on."""
    top, middle = HEAD + ROW * floor, HEAD + ROW * (floor + 0.5)
    count = len(files(root, name))
    lines = textwrap.wrap(purpose(root, name), LINE, max_lines=2, placeholder=" ...")
    first = middle + 4 - 6.5 * (len(lines) - 1)
    return [
        f'<rect x="{MARGIN}" y="{top + 2}" width="{MATRIX - MARGIN - 8}" height="{ROW - 4}" '
        f'rx="5" fill="{BOX}"/>',
        f'<path d="M{MATRIX} {middle}H{WIDTH - MARGIN}" stroke="{RULE}"/>',
        _text(MARGIN + 8, middle - 1, name, "room"),
        _text(MARGIN + 8, middle + 12, f"{count} file{'s' if count > 1 else ''}"),
        *(_text(MARGIN + 100, first + 13 * n, line) for n, line in enumerate(lines)),
    ]


def _heading(floor: int, name: str) -> list[str]:
    """Draw a column: the room's name, slanted, its line, and its place on the diagonal."""
    x, y = _centre(floor), HEAD + ROW * (floor + 0.5)
    slanted = f'transform="rotate(-60 {x + 3:.1f} {HEAD - 8})"'
    return [
        f'<path d="M{x:.1f} {HEAD}V{y}" stroke="{RULE}"/>',
        f'<text x="{x + 3:.1f}" y="{HEAD - 8}" {slanted}>{escape(name, quote=False)}</text>',
        f'<rect x="{x - 4:.1f}" y="{y - 4}" width="8" height="8" fill="{QUIET}"/>',
    ]


def _mark(pair: tuple[str, str], count: int) -> list[str]:
    """Draw a number; the more imports, the darker its disc."""
    x, y = _centre(ROOMS.index(pair[1])), HEAD + ROW * (ROOMS.index(pair[0]) + 0.5)
    strong = count >= 10
    shade = "#2b6cb0" if strong else "#90cdf4" if count >= 4 else "#d6ebfa"
    return [
        f'<circle cx="{x:.1f}" cy="{y}" r="10" fill="{shade}"/>',
        _text(x, y + 4, str(count), "count strong" if strong else "count"),
    ]


def _centre(column: int) -> float:
    return MATRIX + CELL * (column + 0.5)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(text, quote=False)}</text>'


if __name__ == "__main__":
    main()
