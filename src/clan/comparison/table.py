"""What a comparison table holds: systems, their numbers and gains, and who competes for bold.

`clan.comparison.render` shows it to people, `clan.comparison.export` writes it for programs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ABSENT = "-"
"""Shown where there is no value."""


@dataclass(frozen=True, eq=False)
class Row:
    """One system: the mean over its seeds, in percent.

    Attributes:
        name: the system.
        seeds: its seeds, ascending; None for a run that does not know its seed.
        steps: updates of the scored weights, ascending, each once.
        checkpoint: how the weights were chosen, as in `Evaluation`.
        iou: (C,) mean IoU per class of the subset; nan where no seed has one.
        miou: mean over seeds of the mIoU.
        std: sample standard deviation over seeds of the mIoU; None for a single seed.
        gain: mIoU minus the baseline's, in points, over the seeds that both have (over all seeds if
            they share none). None for the baseline itself and without a baseline.
        gap_closed: (mIoU - baseline) / (oracle - baseline) in percent, over the seeds that all
            three have. None for the baseline and the oracle, if either is missing, if the oracle is
            not above the baseline, and if the three share no seed.
        change: (C,) IoU minus the baseline's, in points rounded to a tenth, over the seeds that
            both have; nan where either has no value. None without a baseline.
        shared_seeds: number of seeds that the system and the baseline share.
        worse_seeds: (C,) number of shared seeds in which the IoU is below the baseline's. None
            without a baseline or a shared seed.
        printed: the row is from a published table, not from runs; it has no seeds and no steps.
        architecture: of a printed row, as printed.
        family: the kind of method: AT adversarial, ST self-training.
        marks: footnote signs after mIoU and after gain.
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
    shared_seeds: int = 0
    worse_seeds: NDArray[np.int64] | None = None
    printed: bool = False
    architecture: str = ""
    family: str = ""
    marks: tuple[str, str] = ("", "")

    @property
    def bold_group(self) -> str:
        """Rows that compete for bold: the runs, or one architecture's printed rows."""
        return f"printed {self.architecture}" if self.printed else "runs"


@dataclass(frozen=True)
class Measure:
    """A further number of each system, such as its mean rank.

    Attributes:
        heading: in a table for people.
        key: in CSV and JSON.
        values: one per row, None where there is none.
        texts: what a table shows of them.
    """

    heading: str
    key: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]


class Line(NamedTuple):
    """One line of cells: a number of every system.

    Attributes:
        heading: what the number is.
        texts: one per system.
        best: indices of the systems in bold.
    """

    heading: str
    texts: list[str]
    best: set[int]


@dataclass(frozen=True)
class Loss:
    """One class that a system is worse at than the baseline.

    Attributes:
        points: IoU minus the baseline's, in points, below 0.
        seeds: number of shared seeds in which the IoU is lower.
        shared: number of seeds that the system and the baseline share.
    """

    points: float
    seeds: int
    shared: int

    @property
    def everywhere(self) -> bool:
        """Whether the IoU is lower in every shared seed; true where there is nothing to count."""
        return self.shared < 2 or self.seeds == self.shared

    @property
    def text(self) -> str:
        """The points with one decimal, in brackets unless the IoU is lower in every seed."""
        return f"{self.points:+.1f}" if self.everywhere else f"({self.points:+.1f})"


@dataclass(frozen=True)
class NegativeTransfer:
    """Which classes got worse by adaptation.

    Attributes:
        baseline: the system that the others are compared with.
        systems: those that are worse at a class, in the table's order.
        classes: those that a system is worse at, in the table's order.
        losses: by system and class.
        spared: systems that are worse at no class.
    """

    baseline: str
    systems: tuple[str, ...]
    classes: tuple[str, ...]
    losses: Mapping[tuple[str, str], Loss]
    spared: tuple[str, ...]

    def text(self, system: str, name: str) -> str:
        """Return the cell of a system and a class; empty if the class did not get worse."""
        loss = self.losses.get((system, name))
        return "" if loss is None else loss.text

    def points(self, system: str, name: str) -> float:
        """Return the change in points, below 0; 0 if the class did not get worse."""
        loss = self.losses.get((system, name))
        return 0.0 if loss is None else loss.points

    @property
    def caption(self) -> str:
        """What the table shows and how to read it."""
        text = f"Classes worse than with {self.baseline} (negative transfer), in points of IoU."
        if not all(loss.everywhere for loss in self.losses.values()):
            text += " In brackets: not worse in every seed."
        return text + (f" No class is worse with {', '.join(self.spared)}." if self.spared else "")


@dataclass(frozen=True, eq=False)
class Comparison:
    """A table of systems, in order of first appearance.

    Attributes:
        title: what the numbers are over: subset, data set, split, images, size, checkpoint rule.
        subset: the named class subset.
        classes: its class names.
        rows: the systems.
        baseline: name of the row that gains are over; None if it is not among the runs.
        oracle: name of the row that is trained on target labels; None if it is not among the runs.
        notes: what a reader must know beside the numbers, a sentence or two each.
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

    @property
    def adapted(self) -> tuple[Row, ...]:
        """The rows of runs that are neither the baseline nor the oracle."""
        references = (self.baseline, self.oracle)
        return tuple(row for row in self.rows if not row.printed and row.name not in references)

    @property
    def negative_transfer(self) -> NegativeTransfer | None:
        """Classes that got worse by adaptation; None without a baseline or an adapted system."""
        if self.baseline is None or not self.adapted:
            return None
        losses = {
            (row.name, name): Loss(
                points, 0 if row.worse_seeds is None else int(row.worse_seeds[i]), row.shared_seeds
            )
            for row in self.adapted
            if row.change is not None
            for i, (name, points) in enumerate(zip(self.classes, row.change.tolist(), strict=True))
            if points < 0
        }
        lost = {system for system, _ in losses}
        classes = {name for _, name in losses}
        return NegativeTransfer(
            self.baseline,
            tuple(row.name for row in self.adapted if row.name in lost),
            tuple(name for name in self.classes if name in classes),
            losses,
            tuple(row.name for row in self.adapted if row.name not in lost),
        )

    def bold_groups(self) -> list[list[int]]:
        """Return the indices of the rows, grouped by what they compete with for bold."""
        groups = groupby(enumerate(self.rows), key=lambda pair: pair[1].bold_group)
        return [[i for i, _ in group] for _, group in groups]

    def heading(self, name: str) -> str:
        """Return a heading, with a star if it is an infrequent class."""
        return f"{name}*" if name in self.infrequent else name

    def lines(self) -> list[Line]:
        """Return the table's cells, line by line: the summary first, then one line per class.

        The oracle is never in bold.
        """
        lines = [
            self._line("mIoU", [row.miou for row in self.rows], _mean_std(self.rows), mark=0),
        ]
        if self.baseline is not None or any(row.printed for row in self.rows):
            gains = [row.gain for row in self.rows]
            lines.append(self._line("gain", gains, format_value="{:+.1f}", mark=1))
        if self.baseline is not None and self.oracle is not None:
            closed = [row.gap_closed for row in self.rows]
            lines.append(self._line("gap closed", closed, format_value="{:.0f} %"))
        lines += [Line(measure.heading, list(measure.texts), set()) for measure in self.measures]
        runs = [row for row in self.rows if not row.printed]
        if runs:
            seeds = [ABSENT if row.printed else str(len(row.seeds)) for row in self.rows]
            lines.append(Line("seeds", seeds, set()))
        if len({row.checkpoint for row in runs}) > 1:
            lines.append(Line("checkpoint", [row.checkpoint for row in self.rows], set()))
        for index, name in enumerate(self.classes):
            lines.append(self._line(name, [float(row.iou[index]) for row in self.rows]))
        return lines

    def columns(self) -> list[Line]:
        """Return the columns of a wide table: architecture and type where known, then `lines`."""
        about: list[Line] = []
        if any(row.printed for row in self.rows):
            about.append(Line("arch.", [row.architecture for row in self.rows], set()))
        if any(row.family for row in self.rows):
            about.append(Line("type", [row.family for row in self.rows], set()))
        return [*about, *self.lines()]

    def _line(
        self,
        heading: str,
        values: Sequence[float | None],
        texts: list[str] | None = None,
        format_value: str = "{:.1f}",
        mark: int | None = None,
    ) -> Line:
        shown = [ABSENT if missing(value) else format_value.format(value) for value in values]
        best = set[int]()
        for group in self.bold_groups():
            competing = {
                index: float(shown[index].split()[0])
                for index in group
                if self.rows[index].name != self.oracle and shown[index] != ABSENT
            }
            # what is printed alike shares the bold; where all would be bold, none is
            top = {i for i, value in competing.items() if value == max(competing.values())}
            best |= top if len(top) < len(competing) else set()
        texts = texts or shown
        if mark is not None:
            texts = [t + row.marks[mark] for t, row in zip(texts, self.rows, strict=True)]
        return Line(heading, texts, best)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form; numbers in percent, None where there is no value."""
        transfer = self.negative_transfer
        losses = {} if transfer is None else transfer.losses
        return {
            "title": self.title,
            "subset": self.subset,
            "infrequent": list(self.infrequent),
            "baseline": self.baseline,
            "oracle": self.oracle,
            "rows": [self._row_dict(index, row) for index, row in enumerate(self.rows)],
            "negative_transfer": [
                {"system": s, "class": c, "points": x.points, "seeds": x.seeds, "of": x.shared}
                for (s, c), x in losses.items()
            ],
            "notes": list(self.notes),
        }

    def _row_dict(self, index: int, row: Row) -> dict[str, Any]:
        return {
            "name": row.name,
            "seeds": list(row.seeds),
            "steps": list(row.steps),
            "checkpoint": row.checkpoint,
            "printed": row.printed,
            "architecture": row.architecture,
            "family": row.family,
            "miou": None if missing(row.miou) else row.miou,
            "std": row.std,
            "gain": row.gain,
            "gap_closed": row.gap_closed,
            "iou": {
                name: None if math.isnan(value) else value
                for name, value in zip(self.classes, row.iou.tolist(), strict=True)
            },
            **{measure.key: measure.values[index] for measure in self.measures},
        }


def missing(value: float | None) -> bool:
    """Tell whether there is no value: None or nan."""
    return value is None or math.isnan(value)


def _mean_std(rows: Sequence[Row]) -> list[str]:
    return [
        ABSENT
        if missing(row.miou)
        else f"{row.miou:.1f}" + ("" if row.std is None else f" ± {row.std:.1f}")
        for row in rows
    ]
