"""Tables with systems as lines and classes as columns, as papers print them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from clan.tables import Comparison

Line = tuple[str, list[str], set[int]]


def sections(comparison: Comparison) -> list[list[int]]:
    """Return the indices of the rows by what they compete with: printed V, printed R, runs."""
    rows = enumerate(comparison.rows)
    return [[i for i, _ in part] for _, part in groupby(rows, key=lambda pair: pair[1].contest)]


def columns(comparison: Comparison) -> list[Line]:
    """Return the columns: architecture and type of printed rows, the summary, then the classes."""
    lines = comparison.lines()
    summary = len(lines) - len(comparison.classes)
    about: list[Line] = []
    if any(row.printed for row in comparison.rows):
        about = [
            ("arch.", [row.architecture for row in comparison.rows], set()),
            ("type", [row.family for row in comparison.rows], set()),
        ]
    return [*about, *lines[:summary], *lines[summary:]]


def rich_tables(comparison: Comparison, width: int) -> list[Table]:
    """Return rich tables of at most ``width``; classes that do not fit continue in the next."""
    every = columns(comparison)
    first = max(len("system"), *(len(row.name) for row in comparison.rows))
    widths = [
        max([*map(len, _lines(comparison, heading)), *map(len, texts)])
        for heading, texts, _ in every
    ]
    tables = []
    for block in blocks(widths, width - first):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
        table.add_column("system", no_wrap=True, vertical="bottom")
        for c in block:
            heading = every[c][0]
            style = "bold blue" if heading in comparison.infrequent else "bold"
            text = Text("\n".join(_lines(comparison, heading)), style=style, justify="right")
            table.add_column(text, justify="right", no_wrap=True, vertical="bottom")
        for number, part in enumerate(sections(comparison)):
            if number:
                table.add_row()
            for i in part:
                cells = [
                    Text(every[c][1][i], style="bold" if i in every[c][2] else "") for c in block
                ]
                table.add_row(Text(comparison.rows[i].name), *cells)
        tables.append(table)
    return tables


def markdown(comparison: Comparison, escape: Sequence[tuple[str, str]]) -> list[str]:
    """Return the lines of a GitHub table."""

    def safe(text: str) -> str:
        for plain, escaped in escape:
            text = text.replace(plain, escaped)
        return text

    every = columns(comparison)
    heads = [safe(comparison.heading(heading)) for heading, _, _ in every]
    out = [f"| system | {' | '.join(heads)} |", "|---|" + "---:|" * len(every)]
    for i, row in enumerate(comparison.rows):
        cells = [f"**{texts[i]}**" if i in best else texts[i] for _, texts, best in every]
        out.append(f"| {safe(row.name)} | {' | '.join(cells)} |")
    return out


def _lines(comparison: Comparison, heading: str) -> list[str]:
    return comparison.heading(heading).split(" ")


def blocks(widths: list[int], room: int) -> list[list[int]]:
    """Group column indices so that each group's widths, two apart, fit into ``room``."""
    groups: list[list[int]] = []
    used = room + 1
    for index, width in enumerate(widths):
        if used + width + 2 > room:
            groups.append([])
            used = 0
        groups[-1].append(index)
        used += width + 2
    return groups
