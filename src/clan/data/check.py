"""Checks a whole data set before a training: all its problems, and its content."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch.utils.data import Dataset as TorchDataset

from clan.core.errors import DataError, counted
from clan.core.text import one_line
from clan.data import images
from clan.data.archives.paths import FilePath
from clan.data.containers import read_palette
from clan.data.datasets import Dataset
from clan.data.items import Item
from clan.data.python import PythonDataset
from clan.data.workers import Loader

_VALUES = 64  # values outside the map in one label that are told one by one
_SHOWN = 50  # lines of problems in the rendered report; `CheckReport.problems` has all


class Problem(NamedTuple):
    """One problem, or note, about one file."""

    path: str
    what: str
    kind: str = ""
    """Text that equal problems of other files share; empty: ``what`` without its numbers."""
    pixels: int = 0
    """How many pixels it is about; 0: not about pixels."""

    @classmethod
    def of(cls, error: DataError, path: FilePath) -> Problem:
        """Return what an error says about a file."""
        return cls(str(path), str(error).removeprefix(f"{path}: "))

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" if self.path else self.what


class ClassCount(NamedTuple):
    """How often a class occurs."""

    pixels: int
    images: int


@dataclass(frozen=True)
class CheckReport:
    """The result of reading every file of a split.

    ``found`` has all problems in the order of the items, those of the whole split at the end.
    ``notes`` are not problems. ``histogram`` is class name (and 'ignore') -> number of pixels, and
    number of images with such a pixel, over the readable labels; empty for an unlabelled split.
    ``sizes`` is (H, W) as stored -> number of images.
    """

    dataset: str
    split: str
    images: int
    labelled: bool
    found: tuple[Problem, ...]
    histogram: Mapping[str, ClassCount]
    sizes: Mapping[tuple[int, int], int]
    notes: tuple[Problem, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Return all that is wrong, a line ``file: what`` each."""
        return tuple(map(str, self.found))

    def render(self) -> RenderableType:
        """Return summary, tables and problems for a rich console."""
        kind = "labelled" if self.labelled else "unlabelled"
        summary = f"{self.dataset}, split {self.split}: {counted(self.images, 'image')}, {kind}"
        parts: list[RenderableType] = [Text(summary, style="bold"), self._size_table()]
        if self.histogram:
            parts.append(self._class_table())
        parts.extend(
            Text(one_line(f"note: {line}"), style="yellow") for line in _by_kind(self.notes)
        )
        if not self.found:
            return Group(*parts, Text("no problems", style="green"))
        lines = _by_kind(self.found)
        parts.append(Text(counted(len(lines), "problem"), style="bold red"))
        parts.extend(Text(one_line(line)) for line in lines[:_SHOWN])
        if len(lines) > _SHOWN:
            parts.append(Text(f"... and {len(lines) - _SHOWN} more"))
        return Group(*parts)

    def _size_table(self) -> Table:
        table = Table("height x width", "images")
        table.columns[1].justify = "right"
        for (height, width), count in sorted(self.sizes.items(), key=lambda s: (-s[1], s[0])):
            table.add_row(f"{height} x {width}", f"{count:,}")
        return table

    def _class_table(self) -> Table:
        table = Table("class", "pixels", "share", "images")
        for column in table.columns[1:]:
            column.justify = "right"
        total = sum(count.pixels for count in self.histogram.values())
        for name, count in self.histogram.items():
            share = f"{count.pixels / total:.2%}" if total else "-"
            # A class that never occurs cannot be learnt, or scored: it stands out.
            style = "yellow" if count.pixels == 0 and name != "ignore" else None
            table.add_row(Text(name), f"{count.pixels:,}", share, f"{count.images:,}", style=style)
        return table


def _by_kind(problems: Sequence[Problem]) -> list[str]:
    """Return a line for each kind of problem: what it is, in how many files, and the first."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kind = problem.kind or re.sub(r"\d[\d,x]*", "#", problem.what.replace(problem.path, ""))
        # a path in the text, such as that of an image beside its label, is no kind of its own
        kinds.setdefault(re.sub(r"\S*[/\\]\S*", "", kind), []).append(problem)
    return [_line(found) for found in kinds.values()]


def _line(found: Sequence[Problem]) -> str:
    first = found[0]
    if len(found) == 1 and not first.kind:
        return str(first)
    if not first.path:
        return first.what
    pixels = sum(problem.pixels for problem in found)
    about = f" ({counted(pixels, 'pixel')})" if pixels else ""
    what = first.kind or f"as the first, {first.what}"
    return f"{what}: {counted(len(found), 'file')}{about}, first {first.path}"


class _Finding(NamedTuple):
    """What one item showed; ``counts`` are pixels per class and, last, of ignore."""

    problems: list[Problem]
    notes: list[Problem]
    size: tuple[int, int] | None
    counts: NDArray[np.int64] | None


class _Findings(TorchDataset[_Finding]):
    """The findings of a data set, indexed by item."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> _Finding:
        if isinstance(self.dataset, PythonDataset):
            return _entry(self.dataset, index)
        item = self.dataset.items[index]
        finding = _Finding([], [], None, None)
        try:
            height, width, _ = images.read_image(item.image).shape
            finding = finding._replace(size=(height, width))
        except DataError as error:
            finding.problems.append(Problem.of(error, item.image))
        if item.label is None:
            return finding
        try:
            return self._label(item, item.label, finding)
        except DataError as error:
            finding.problems.append(Problem.of(error, item.label))
            return finding

    def _label(self, item: Item, path: FilePath, finding: _Finding) -> _Finding:
        data = self.dataset
        raw = data.raw_label(item)
        label, outside = data.label_map.lookup(raw)
        counts = _counts(label, len(data.classes))
        if outside:
            finding.problems.extend(self._outside(path, outside))
            counts[-1] -= sum(outside.values())
        if near := data.label_map.approximated(raw):
            what = "colours beside those of the map count as the nearest (`labels: tolerance`)"
            finding.notes.append(Problem(str(path), what, what, near))
        size = (label.shape[0], label.shape[1])
        if finding.size and (problem := data.size_problem(item, finding.size, size)):
            finding.problems.append(Problem(str(path), problem))
        elif finding.size and (orientation := data.fits_both_ways(item, size)):
            what = (
                f"EXIF orientation {orientation}, and the label fits the photograph as it is shown "
                "and as its pixels are stored; taken as shown (say which by `labels: {orientation: "
                "shown}` or `sensor`)"
            )
            finding.notes.append(Problem(str(item.image), what, what))
        if data.encoding == "index":
            finding.notes.extend(self._palette(path, raw))
        return finding._replace(counts=counts)

    def _outside(self, path: FilePath, outside: Mapping[int, int]) -> Iterator[Problem]:
        """Yield a problem for each value outside the map; for thousands of them one in all."""
        shown, listed = self.dataset.label_map.shown, self.dataset.label_map.describe(outside)
        if len(outside) > _VALUES:
            yield Problem(str(path), listed, "", sum(outside.values()))
            return
        for raw, pixels in outside.items():
            what = f"{shown(raw)} ({counted(pixels, 'pixel')}) is not in the map; {listed}"
            kind = f"{shown(raw)} is not in the map (`labels: map`)"
            yield Problem(str(path), what, kind, pixels)

    def _palette(self, path: FilePath, raw: NDArray[np.integer[Any]]) -> Iterator[Problem]:
        """Yield a problem where a palette index has the colour of another class than in the map."""
        palette = read_palette(path)
        if len(palette) == 0:
            return
        classes = self.dataset.classes
        used = np.flatnonzero(np.bincount(raw.ravel(), minlength=256)[: len(palette)])
        indices = self.dataset.label_map.lookup(used.astype(np.uint8)[None])[0][0]
        for value, index in zip(used.tolist(), indices.tolist(), strict=True):
            color = tuple(palette[value].tolist())
            if index < len(classes) and color != classes.colors[index] and color in classes.colors:
                other = classes.names[classes.colors.index(color)]
                what = (
                    f"palette index {value} is {classes.names[index]!r} to the map, but has the "
                    f"colour of {other!r}; if the colours are right, use `encoding: color`"
                )
                yield Problem(str(path), what, what)


def _entry(dataset: PythonDataset, index: int) -> _Finding:
    """Check an entry of a data set from Python; only its first problem is reported."""
    try:
        image, label = dataset.read(index)
    except DataError as error:
        return _Finding([Problem("", str(error))], [], None, None)
    counts = None if label is None else _counts(label, len(dataset.classes))
    return _Finding([], [], (image.shape[0], image.shape[1]), counts)


def _counts(label: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count a label's pixels of each class and, last, of ignore."""
    values = np.bincount(label.ravel(), minlength=256)
    return np.append(values[:classes], values[-1])


def _absent(dataset: Dataset, pixels: NDArray[np.int64]) -> Iterator[Problem]:
    """Yield a problem for each class that no label has, unless it is declared absent."""
    names = [
        name
        for name, count in zip(dataset.classes.names, pixels[:-1], strict=True)
        if not count and name not in dataset.absent
    ]
    hint = ""
    if names and pixels[-1] and dataset.encoding == "index":
        hint = " (masks of 0 and 255? 255 is ignored unless `labels: map` gives it a class)"
    for name in names:
        yield Problem(
            "",
            f"class {name!r} has no pixel in any label: it can be neither learnt nor scored{hint}; "
            f"correct `labels: map`, or declare it by `absent: [{name}]` in the split",
        )


def check_dataset(
    dataset: Dataset, workers: int = 0, on_item: Callable[[int], None] | None = None
) -> CheckReport:
    """Read every file of a split, in ``workers`` processes (0: this one), and report on all.

    Problems do not stop it: files without a partner, unreadable or truncated files, images and
    labels of different size, label values outside the map, classes that no label has. Labels with
    such values still count in the histogram, without them. ``on_item`` is called with the number
    of items done after each.
    """
    names = (*dataset.classes.names, "ignore")
    problems = [
        Problem(path, what) for path, _, what in (u.rpartition(": ") for u in dataset.unpaired)
    ]
    notes = [Problem("", dataset.left_out)] if dataset.left_out else []
    sizes: Counter[tuple[int, int]] = Counter()
    pixels = np.zeros(len(names), np.int64)
    occurs = np.zeros(len(names), np.int64)
    loader = Loader(_Findings(dataset), range(len(dataset)), workers)
    for done, finding in enumerate(loader, 1):
        problems += finding.problems
        notes += finding.notes
        if finding.size is not None:
            sizes[finding.size] += 1
        if finding.counts is not None:
            pixels += finding.counts
            occurs += finding.counts > 0
        if on_item is not None:
            on_item(done)
    if dataset.labelled and pixels.any():
        # data from Python have no description to declare it in
        told = notes if isinstance(dataset, PythonDataset) else problems
        told.extend(_absent(dataset, pixels))
    counts = (ClassCount(int(p), int(i)) for p, i in zip(pixels, occurs, strict=True))
    return CheckReport(
        dataset=dataset.name,
        split=dataset.split,
        images=len(dataset),
        labelled=dataset.labelled,
        found=tuple(problems),
        histogram=dict(zip(names, counts, strict=True)) if dataset.labelled else {},
        sizes=dict(sizes),
        notes=tuple(notes),
    )
