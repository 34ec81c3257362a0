"""Tables with systems as lines and classes as columns, as papers print them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from clan.comparison.table import Comparison

Line = tuple[str, list[str], set[int]]


def sections(comparison: Comparison) -> list[list[int]]:
    """Return the indices of the rows by what they compete with: printed V, printed R, runs."""
    rows = enumerate(comparison.rows)
    return [[i for i, _ in part] for _, part in groupby(rows, key=lambda pair: pair[1].contest)]


def columns(comparison: Comparison) -> list[Line]:
    """Return the columns: architecture and type where known, the summary, then the classes."""
    lines = comparison.lines()
    summary = len(lines) - len(comparison.classes)
    about: list[Line] = []
    if any(row.printed for row in comparison.rows):
        about.append(("arch.", [row.architecture for row in comparison.rows], set()))
    if any(row.family for row in comparison.rows):
        about.append(("type", [row.family for row in comparison.rows], set()))
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


def latex(comparison: Comparison) -> str:
    """Return a booktabs tabular with rotated class heads; notes as comments."""
    every = columns(comparison)
    if not comparison.wide:
        summary = len(every) - len(comparison.classes)
        every = every[summary:] + every[:summary]
    heads = [_latex_head(comparison, heading) for heading, _, _ in every]
    out = [f"% {text}" for text in (comparison.title, *comparison.notes)]
    out += [rf"\begin{{tabular}}{{l{'r' * len(every)}}}", r"\toprule"]
    out += [" & ".join(["system", *heads]) + r" \\"]
    for part in sections(comparison):
        out.append(r"\midrule")
        for i in part:
            cells = [
                rf"\textbf{{{_escape_latex(texts[i])}}}" if i in best else _escape_latex(texts[i])
                for _, texts, best in every
            ]
            out.append(" & ".join([_escape_latex(comparison.rows[i].name), *cells]) + r" \\")
    return "\n".join([*out, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_head(comparison: Comparison, heading: str) -> str:
    if heading not in comparison.classes:
        return heading
    name = _escape_latex(heading)
    if heading in comparison.infrequent:
        name = rf"\textcolor{{blue}}{{{name}}}"
    return rf"\rotatebox{{90}}{{{name}}}"


def _escape_latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}"}
    special |= {"†": r"$^\dagger$", "‡": r"$^\ddagger$"}
    special |= {"^": r"\textasciicircum{}"} | {c: f"\\{c}" for c in "&%$#_{}"}
    return "".join(special.get(c, c) for c in text)


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
