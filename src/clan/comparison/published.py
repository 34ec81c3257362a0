"""The paper's Tables 1 and 2 as printed, for comparison with one's own runs.

The numbers are package data (``published_tables``, with their citation) and are shown unchanged.
Means and gains that disagree with the other printed numbers are found by computation and marked.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from clan.comparison.table import Row
from clan.core.errors import ConfigError, nearest
from clan.data.classes import CITYSCAPES

CITATION = "Luo et al., Taking A Closer Look at Domain Shift (CLAN), CVPR 2019"

MARKS = ("†", "‡")
"""Footnote signs of a mean and of a gain that disagree with the other printed numbers."""

_SHORT = {"light": "traffic light", "sign": "traffic sign"}
"""Column heading -> class of Cityscapes, where the two differ."""

_SOURCE_ONLY = "Source only"
TABLES = files("clan.comparison") / "published_tables"
"""One CSV file per table."""
_TABLES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    # the paper prints the columns of infrequent classes in blue, which its text form does not
    # keep; these are the classes that section 4.3 calls infrequent
    "gta5": ("Table 1", "GTA5 to Cityscapes", ("fence", "pole", "traffic light")),
    "synthia": ("Table 2", "SYNTHIA to Cityscapes", ("traffic light", "traffic sign")),
}
PAPERS = tuple(_TABLES)


@dataclass(frozen=True)
class PrintedRow:
    """One line of a published table, in percent.

    Attributes:
        method: as printed.
        architecture: ``V`` = VGG16-FCN8s, ``R`` = ResNet-101.
        family: ``AT`` adversarial, ``ST`` self training, empty for source only.
        iou: class name -> IoU.
        miou: the printed mean.
        gain: the printed gain over source only, None for source only.
    """

    method: str
    architecture: str
    family: str
    iou: Mapping[str, float]
    miou: float
    gain: float | None


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper.

    Attributes:
        name: ``gta5`` or ``synthia``.
        number: such as ``Table 1``.
        task: source and target.
        classes: the classes of the mean, by their names in the class set.
        infrequent: the classes that the paper calls infrequent.
        rows: the lines, in order; a source-only line is the baseline of the lines below it.
    """

    name: str
    number: str
    task: str
    classes: tuple[str, ...]
    infrequent: tuple[str, ...]
    rows: tuple[PrintedRow, ...]

    def mean_errors(self) -> dict[int, float]:
        """Return row index -> mean of the row's classes, for rows whose printed mean differs.

        A printed number is off by at most 0.05, and so is a mean of printed numbers: a difference
        above 0.1 cannot come from rounding.
        """
        means = [float(np.mean(list(row.iou.values()))) for row in self.rows]
        return {
            index: mean
            for index, (row, mean) in enumerate(zip(self.rows, means, strict=True))
            if abs(mean - row.miou) > 0.1 + 1e-9
        }

    def gain_errors(self) -> dict[int, tuple[float, float]]:
        """Return row index -> (baseline that the gain implies, printed baseline) where they differ.

        Three rounded numbers are involved: a difference above 0.15 cannot come from rounding.
        """
        errors, baseline = {}, float("nan")
        for index, row in enumerate(self.rows):
            if row.gain is None:
                baseline = row.miou
            elif abs(row.miou - row.gain - baseline) > 0.15 + 1e-9:
                errors[index] = (row.miou - row.gain, baseline)
        return errors

    def table_rows(self) -> list[Row]:
        """Return the lines as rows of a comparison; contradictory numbers have footnote signs."""
        means, gains = self.mean_errors(), self.gain_errors()
        return [
            Row(
                name=row.method,
                seeds=(),
                steps=(),
                checkpoint="not stated",
                iou=np.array([row.iou[name] for name in self.classes]),
                miou=row.miou,
                std=None,
                gain=row.gain,
                architecture=row.architecture,
                family=row.family,
                printed=True,
                marks=(MARKS[0] if index in means else "", MARKS[1] if index in gains else ""),
            )
            for index, row in enumerate(self.rows)
        ]

    def notes(self) -> list[str]:
        """Return the citation, how to read the table, and the footnotes; 1 or 2 sentences each."""
        notes = [
            f"Printed rows: {self.number} of {CITATION}, {self.task}, Cityscapes val. V: "
            "VGG16-FCN8s, R: ResNet-101; ST: self training, AT: adversarial. Each gain is over "
            f"the {_SOURCE_ONLY!r} row above it. Seeds and choice of checkpoint are not stated.",
            "Best in bold among the runs, and among the printed rows of each architecture.",
            f"*: called infrequent in the paper's text: {', '.join(self.infrequent)}.",
        ]
        for index, mean in self.mean_errors().items():
            row = self.rows[index]
            best = max(r.miou for r in self.rows if r.architecture == row.architecture)
            rank = f" By that average it is the best of {row.architecture}." if mean > best else ""
            notes.append(
                f"{MARKS[0]} {row.method} ({row.architecture}): the {len(row.iou)} classes of "
                f"its row average {mean:.1f}, but {row.miou:.1f} is printed.{rank}"
            )
        for index, (implied, printed) in self.gain_errors().items():
            row = self.rows[index]
            notes.append(
                f"{MARKS[1]} {row.method} ({row.architecture}): its gain of {row.gain:+.1f} "
                f"implies a source-only mean of {implied:.1f}; the row above it has {printed:.1f}."
            )
        return notes


def published_table(name: str) -> PublishedTable:
    """Return a table of the paper: ``gta5`` (Table 1) or ``synthia`` (Table 2).

    Raises:
        ConfigError: another name.
    """
    if name not in _TABLES:
        raise ConfigError(f"the paper has no table {name!r}{nearest(name, PAPERS)}")
    number, task, infrequent = _TABLES[name]
    text = (TABLES / f"{name}.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(io.StringIO(text)))
    about = ("method", "architecture", "family", "miou", "gain")
    columns = [column for column in lines[0] if column not in about]
    classes = {column: _SHORT.get(column, column) for column in columns}
    for class_name in (*classes.values(), *infrequent):
        CITYSCAPES.index(class_name)
    rows = tuple(
        PrintedRow(
            method=line["method"],
            architecture=line["architecture"],
            family=line["family"],
            iou={classes[column]: float(line[column]) for column in columns},
            miou=float(line["miou"]),
            gain=float(line["gain"]) if line["gain"] else None,
        )
        for line in lines
    )
    return PublishedTable(name, number, task, tuple(classes.values()), infrequent, rows)
