"""A comparison for people: tables in the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from rich.table import Table
from rich.text import Text

from clan.comparison.export import to_csv, to_latex
from clan.comparison.table import Comparison, NegativeTransfer
from clan.core.console import Console
from clan.core.errors import ConfigError, nearest
from clan.core.text import one_line, visible

GAP = 2
"""Blanks between two columns in the terminal."""


@dataclass(frozen=True)
class _Grid:
    """Cells as they are shown, whichever way round the table is.

    Attributes:
        corner: heading of the first column.
        heads: of the other columns.
        lines: a heading each, and a (text, bold) per column.
        breaks: line numbers that are set apart from the line before.
        infrequent: heads in another colour.
    """

    corner: str
    heads: Sequence[str]
    lines: Sequence[tuple[str, Sequence[tuple[str, bool]]]]
    breaks: Sequence[int] = ()
    infrequent: Sequence[str] = ()


def show(comparison: Comparison, console: Console) -> None:
    """Print title, tables and notes, as wide as the console."""
    console.print(Text(comparison.title, style="italic"))
    for table in tables(comparison, console.width):
        console.print()
        console.print(table)
    transfer = comparison.negative_transfer
    if transfer is not None and transfer.systems:
        console.print()
        console.print(Text(transfer.caption, style="italic"))
        for table in _rich(_losses(transfer, comparison.wide), console.width):
            console.print()
            console.print(table)
    console.print()
    for note in comparison.notes:
        console.print(Text(note, style="dim"))


def tables(comparison: Comparison, width: int) -> list[Table]:
    """Return the scores as rich tables of at most ``width`` columns of text.

    Classes are lines and systems columns; in a wide comparison it is the other way round. Columns
    that do not fit continue in the next table.
    """
    return _rich(_scores(comparison), width)


def to_markdown(comparison: Comparison) -> str:
    """Return GitHub tables of scores and of negative transfer, title above and notes below.

    Classes are lines and systems columns; in a wide comparison it is the other way round.
    """
    out = [comparison.title, "", *_markdown(_scores(comparison))]
    if losses := losses_markdown(comparison.negative_transfer, comparison.wide):
        out += ["", *losses]
    notes = [note.replace("*", "\\*") for note in comparison.notes]
    return visible("\n".join([*out, *(f"\n{note}" for note in notes)]) + "\n")


def losses_markdown(transfer: NegativeTransfer | None, wide: bool) -> list[str]:
    """Return the lines of the table of negative transfer, its caption above; none if it is empty.

    Args:
        transfer: which classes got worse.
        wide: systems are lines and classes columns.
    """
    if transfer is None or not transfer.systems:
        return []
    return [transfer.caption, "", *_markdown(_losses(transfer, wide))]


def write(comparison: Comparison, console: Console, style: str) -> None:
    """Print the table in a style: ``text``, ``markdown``, ``latex`` or ``csv``.

    Raises:
        ConfigError: another style.
    """
    forms = {"markdown": to_markdown, "latex": to_latex, "csv": to_csv}
    if style == "text":
        show(comparison, console)
    elif style in forms:
        # unchanged: no wrapping, markup or colour in what another program will read
        console.out(forms[style](comparison), end="", highlight=False)
    else:
        raise ConfigError(f"unknown style {style!r}{nearest(style, ['text', *forms])}")


def _scores(comparison: Comparison) -> _Grid:
    names = [row.name for row in comparison.rows]
    if not comparison.wide:
        lines = comparison.lines()
        return _Grid(
            "",
            names,
            [
                (line.heading, [(t, i in line.best) for i, t in enumerate(line.texts)])
                for line in lines
            ],
            [len(lines) - len(comparison.classes)],
        )
    columns = comparison.columns()
    rows = [[(column.texts[i], i in column.best) for column in columns] for i in range(len(names))]
    sizes = [len(group) for group in comparison.bold_groups()]
    return _Grid(
        "system",
        [comparison.heading(column.heading) for column in columns],
        list(zip(names, rows, strict=True)),
        list(accumulate(sizes[:-1])),
        [comparison.heading(name) for name in comparison.infrequent],
    )


def _losses(transfer: NegativeTransfer, wide: bool) -> _Grid:
    systems, classes = transfer.systems, transfer.classes
    if wide:
        by_system = [(s, [(transfer.text(s, c), False) for c in classes]) for s in systems]
        return _Grid("system", classes, by_system)
    return _Grid(
        "", systems, [(c, [(transfer.text(s, c), False) for s in systems]) for c in classes]
    )


def _markdown(grid: _Grid) -> list[str]:
    heads = [_escape(head) for head in grid.heads]
    corner = f"| {grid.corner} |" if grid.corner else "| |"
    out = [f"{corner} {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for heading, cells in grid.lines:
        texts = [f"**{text}**" if bold else text for text, bold in cells]
        out.append(f"| {_escape(heading)} | {' | '.join(texts)} |")
    return out


def _rich(grid: _Grid, width: int) -> list[Table]:
    first = max(len(grid.corner), *(len(heading) for heading, _ in grid.lines))
    widths = [
        max(*map(len, head.split(" ")), *(len(cells[i][0]) for _, cells in grid.lines))
        for i, head in enumerate(grid.heads)
    ]
    found = []
    for block in _blocks(widths, width - first):
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_edge=False)
        table.add_column(grid.corner, no_wrap=True, vertical="bottom")
        for i in block:
            head = grid.heads[i]
            style = "bold blue" if head in grid.infrequent else "bold"
            text = Text(head.replace(" ", "\n"), style=style, justify="right")
            table.add_column(text, justify="right", no_wrap=True, vertical="bottom")
        for number, (heading, cells) in enumerate(grid.lines):
            if number in grid.breaks:
                table.add_row()
            shown = [Text(cells[i][0], style="bold" if cells[i][1] else "") for i in block]
            table.add_row(Text(heading), *shown)
        found.append(table)
    return found


def _blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """Group column indices so that each group's columns, with a gap behind each, fit."""
    groups: list[list[int]] = []
    used = room + 1
    for index, width in enumerate(widths):
        if used + width + GAP > room:
            groups.append([])
            used = 0
        groups[-1].append(index)
        used += width + GAP
    return groups


def _escape(text: str) -> str:
    text = one_line(text)
    for sign in ("\\", "|", "_", "*"):
        text = text.replace(sign, f"\\{sign}")
    return text
