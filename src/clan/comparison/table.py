"""The comparison table and its forms: terminal, Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clan.comparison import wide
from clan.core.errors import ConfigError, nearest

ABSENT = "-"


@dataclass(frozen=True, eq=False)
class Row:
    """One system: the mean over its seeds, in percent.

    Attributes:
        name: the system.
        seeds: its seeds, ascending; None where a run does not know its own.
        steps: updates of the scored weights, ascending, each once.
        checkpoint: how the weights were chosen, as in `Evaluation`.
        iou: (C,) mean IoU per class of the subset, nan where no seed has one.
        miou: mean over seeds of the mIoU.
        std: sample standard deviation over seeds of the mIoU, None for a single seed.
        gain: mIoU minus the baseline's, in points, over the seeds that both have (over all where
            they have none in common); None without baseline and for itself.
        gap_closed: (mIoU - baseline) / (oracle - baseline) in percent, over the seeds that the
            three have; None without the two, for the two, where the oracle is not above the
            baseline, and where it has none of the row's seeds.
        change: (C,) points that the IoUs, to a tenth, are above the baseline's over the seeds that
            both have, nan where either has none; None without baseline.
        printed: a row of a published table rather than of runs; it has no seeds and steps.
        architecture: of a printed row, as printed.
        family: the kind of method: AT adversarial, ST self-training.
        marks: what is printed after mIoU and after gain: signs of footnotes.
    """

    name: str
    seeds: tuple[int | None, ...]
    steps: tuple[int | None, ...]
    checkpoint: str
    iou: NDArray[np.float64]
    miou: float
    std: float | None
    gain: float | None = None
    gap_closed: float | None = None
    change: NDArray[np.float64] | None = None
    printed: bool = False
    architecture: str = ""
    family: str = ""
    marks: tuple[str, str] = ("", "")

    @property
    def contest(self) -> str:
        """What the best in bold is the best of: the runs, or an architecture's printed rows."""
        return f"printed {self.architecture}" if self.printed else "runs"


@dataclass(frozen=True)
class Measure:
    """A further number of each system, such as its mean rank.

    Attributes:
        heading: in a table for people.
        key: in CSV and JSON.
        values: one for each row, None where there is none.
        texts: what a table shows of them.
    """

    heading: str
    key: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A table of systems, in order of first appearance.

    Attributes:
        title: what the numbers are over: subset, data set, split, images, size, checkpoint rule.
        subset: the named class subset.
        classes: its class names.
        rows: the systems.
        baseline: name of the row that gains are over, None if it is not among the runs.
        oracle: name of the row that is trained on target labels, None likewise.
        notes: what a reader must know beside the numbers, a sentence each.
        infrequent: classes to be marked as infrequent, with a star.
        measures: further numbers of each row.
        by_row: systems are lines and classes columns in every form, as in the paper's tables.
    """

    title: str
    subset: str
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    baseline: str | None
    oracle: str | None
    notes: tuple[str, ...]
    infrequent: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    by_row: bool = False

    @property
    def wide(self) -> bool:
        """Whether systems are lines and classes columns: as asked, or beside a paper's rows."""
        return self.by_row or any(row.printed for row in self.rows)

    def heading(self, name: str) -> str:
        """Return a heading, with a star if it is an infrequent class."""
        return f"{name}*" if name in self.infrequent else name

    def lines(self) -> list[tuple[str, list[str], set[int]]]:
        """Return the table's cells, (heading, one text per system, indices of the best), by line.

        The summary lines come first, then one line per class. The oracle is never the best.
        """
        lines: list[tuple[str, list[str], set[int]]] = [
            self._line("mIoU", [row.miou for row in self.rows], _mean_std(self.rows), mark=0)
        ]
        if self.baseline is not None or any(row.printed for row in self.rows):
            gains = [row.gain for row in self.rows]
            lines.append(self._line("gain", gains, format_value="{:+.1f}", mark=1))
        if self.baseline is not None and self.oracle is not None:
            closed = [row.gap_closed for row in self.rows]
            lines.append(self._line("gap closed", closed, format_value="{:.0f} %"))
        lines += [(measure.heading, list(measure.texts), set()) for measure in self.measures]
        runs = [row for row in self.rows if not row.printed]
        if runs:
            seeds = [ABSENT if row.printed else str(len(row.seeds)) for row in self.rows]
            lines.append(("seeds", seeds, set()))
        if len({row.checkpoint for row in runs}) > 1:
            lines.append(("checkpoint", [row.checkpoint for row in self.rows], set()))
        for index, name in enumerate(self.classes):
            lines.append(self._line(name, [float(row.iou[index]) for row in self.rows]))
        return lines

    def _line(
        self,
        heading: str,
        values: Sequence[float | None],
        texts: list[str] | None = None,
        format_value: str = "{:.1f}",
        mark: int | None = None,
    ) -> tuple[str, list[str], set[int]]:
        shown = [ABSENT if _missing(value) else format_value.format(value) for value in values]
        best = set[int]()
        for part in wide.sections(self):
            contest = {
                index: float(shown[index].split()[0])
                for index in part
                if self.rows[index].name != self.oracle and shown[index] != ABSENT
            }
            first = {index for index, value in contest.items() if value == max(contest.values())}
            # equal as printed is equal; a contest that all win, or that has one entrant, has no
            # winner
            best |= first if len(first) < len(contest) else set()
        texts = texts or shown
        if mark is not None:
            texts = [t + row.marks[mark] for t, row in zip(texts, self.rows, strict=True)]
        return heading, texts, best

    def tables(self, width: int) -> list[Table]:
        """Return rich tables, classes as lines and systems as columns, each at most ``width`` wide.

        Systems that do not fit beside the others continue in the next table. Beside a paper's
        rows, it is systems as lines and classes as columns.
        """
        if self.wide:
            return wide.rich_tables(self, width)
        lines = self.lines()
        head = max(len(heading) for heading, _, _ in lines)
        columns = [
            max(len(row.name), *(len(texts[i]) for _, texts, _ in lines))
            for i, row in enumerate(self.rows)
        ]
        tables = []
        for block in wide.blocks(columns, width - head - 4):
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            table.add_column("", no_wrap=True)
            for i in block:
                table.add_column(Text(self.rows[i].name), justify="right", no_wrap=True)
            summary = len(lines) - len(self.classes)
            for number, (heading, texts, best) in enumerate(lines):
                cells = [Text(texts[i], style="bold" if i in best else "") for i in block]
                if number == summary:
                    table.add_row()
                table.add_row(Text(heading), *cells)
            tables.append(table)
        return tables

    def render(self, console: Console) -> None:
        """Print title, tables and notes; as wide as the console, readable at 100 columns."""
        console.print(Text(self.title, style="italic"))
        for table in self.tables(console.width):
            console.print()
            console.print(table)
        console.print()
        for note in self.notes:
            console.print(Text(note, style="dim"))

    def write(self, console: Console, style: str) -> None:
        """Print the table in a style: ``text``, ``markdown``, ``latex`` or ``csv``.

        Raises:
            ConfigError: another style.
        """
        forms = {"markdown": self.to_markdown, "latex": self.to_latex, "csv": self.to_csv}
        if style == "text":
            self.render(console)
        elif style in forms:
            # as it is: no wrapping, markup or colour in what another program will read
            console.out(forms[style](), end="", highlight=False)
        else:
            raise ConfigError(f"unknown style {style!r}{nearest(style, ['text', *forms])}")

    def to_markdown(self) -> str:
        """Return a GitHub table with the title above and the notes below.

        Classes are lines; beside a paper's rows, systems are.
        """
        if self.wide:
            escapes = (("\\", "\\\\"), ("|", "\\|"), ("_", "\\_"), ("*", "\\*"))
            table = wide.markdown(self, escapes)
            notes = [note.replace("*", "\\*") for note in self.notes]
            return "\n".join([self.title, "", *table, *(f"\n{note}" for note in notes)]) + "\n"
        names = [_escape_markdown(row.name) for row in self.rows]
        out = [self.title, "", f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
        for heading, texts, best in self.lines():
            cells = [f"**{text}**" if i in best else text for i, text in enumerate(texts)]
            out.append(f"| {_escape_markdown(heading)} | {' | '.join(cells)} |")
        return "\n".join([*out, *(f"\n{note}" for note in self.notes)]) + "\n"

    def to_latex(self) -> str:
        """Return a booktabs tabular (systems as lines, rotated class heads); notes as comments.

        It needs ``booktabs`` and ``graphicx`` (``rotatebox``), and ``xcolor`` where infrequent
        classes are marked: they are blue, as the paper has them.
        """
        return wide.latex(self)

    def to_csv(self) -> str:
        """Return one line per system, percent with four decimals, empty where there is no value.

        Beside a paper's rows, three columns more say what is printed: origin (``runs`` or
        ``printed``), architecture and family.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        head = ["system", "subset", "seeds", "steps", "checkpoint", "miou", "miou_std", "gain"]
        about = ["origin", "architecture", "family"] if self.wide else []
        keys = [measure.key for measure in self.measures]
        writer.writerow([*head, "gap_closed", *about, *keys, *self.classes])
        for index, row in enumerate(self.rows):
            numbers = [row.miou, row.std, row.gain, row.gap_closed]
            origin = ["printed" if row.printed else "runs", row.architecture, row.family]
            writer.writerow(
                [
                    row.name,
                    self.subset,
                    " ".join(map(str, row.seeds)),
                    " ".join(map(str, row.steps)),
                    row.checkpoint,
                    *map(_four_decimals, numbers),
                    *(origin if self.wide else []),
                    *(_six_digits(measure.values[index]) for measure in self.measures),
                    *map(_four_decimals, row.iou.tolist()),
                ]
            )
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form; numbers in percent, None where there is no value."""
        rows = [
            {
                "name": row.name,
                "seeds": list(row.seeds),
                "steps": list(row.steps),
                "checkpoint": row.checkpoint,
                "printed": row.printed,
                "architecture": row.architecture,
                "family": row.family,
                "miou": None if _missing(row.miou) else row.miou,
                "std": row.std,
                "gain": row.gain,
                "gap_closed": row.gap_closed,
                "iou": {
                    name: None if math.isnan(value) else value
                    for name, value in zip(self.classes, row.iou.tolist(), strict=True)
                },
                **{measure.key: measure.values[index] for measure in self.measures},
            }
            for index, row in enumerate(self.rows)
        ]
        return {
            "title": self.title,
            "subset": self.subset,
            "infrequent": list(self.infrequent),
            "baseline": self.baseline,
            "oracle": self.oracle,
            "rows": rows,
            "notes": list(self.notes),
        }


def _mean_std(rows: Sequence[Row]) -> list[str]:
    return [
        ABSENT
        if _missing(row.miou)
        else f"{row.miou:.1f}" + ("" if row.std is None else f" ± {row.std:.1f}")
        for row in rows
    ]


def _four_decimals(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"


def _six_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _escape_markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("_", "\\_")
