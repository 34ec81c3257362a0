"""Reading a whole data set before a training does: every problem at once, and what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch.utils.data import Dataset as TorchDataset

from clan.core.errors import DataError
from clan.data import images
from clan.data.datasets import Dataset, Item
from clan.data.loading import Loader
from clan.data.python import PythonDataset

_SHOWN = 50  # problems in the rendered report; `CheckReport.problems` has all


class ClassCount(NamedTuple):
    """How often a class occurs."""

    pixels: int
    images: int


@dataclass(frozen=True)
class CheckReport:
    """What reading every file of a split found.

    ``problems`` are lines ``file: what``, in the order of the items. ``histogram`` is class name
    (and 'ignore') -> pixels, and images with at least one such pixel, over the readable labels;
    empty for an unlabelled split. ``sizes`` is (H, W) -> number of images stored so.
    """

    dataset: str
    split: str
    images: int
    labelled: bool
    problems: tuple[str, ...]
    histogram: Mapping[str, ClassCount]
    sizes: Mapping[tuple[int, int], int]

    def render(self) -> RenderableType:
        """Return summary, tables and problems for a rich console."""
        kind = "labelled" if self.labelled else "unlabelled"
        summary = f"{self.dataset}, split {self.split}: {self.images} images, {kind}"
        parts: list[RenderableType] = [Text(summary, style="bold"), self._size_table()]
        if self.histogram:
            parts.append(self._class_table())
        if not self.problems:
            return Group(*parts, Text("no problems", style="green"))
        parts.append(Text(f"{len(self.problems)} problems", style="bold red"))
        parts.extend(Text(problem) for problem in self.problems[:_SHOWN])
        if len(self.problems) > _SHOWN:
            parts.append(Text(f"... and {len(self.problems) - _SHOWN} more"))
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
            table.add_row(name, f"{count.pixels:,}", share, f"{count.images:,}", style=style)
        return table


class _Finding(NamedTuple):
    """What one item showed; ``counts`` are pixels per class and, last, of ignore."""

    problems: list[str]
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
        problems: list[str] = []
        size = label_size = counts = None
        try:
            height, width, _ = images.read_image(item.image).shape
            size = (height, width)
        except DataError as error:
            problems.append(str(error))
        if item.label is not None:
            try:
                label_size, counts = self._label(item.label, problems)
            except DataError as error:
                problems.append(str(error))
        if self.dataset.size_mismatch == "error" and size and label_size and size != label_size:
            problems.append(_size_problem(item, size, label_size))
        return _Finding(problems, size, counts)

    def _label(self, path: Path, problems: list[str]) -> tuple[tuple[int, int], NDArray[np.int64]]:
        raw = images.read_label(path, self.dataset.encoding)
        label, outside = self.dataset.label_map.lookup(raw)
        counts = _counts(label, len(self.dataset.classes))
        if outside:
            problems.append(f"{path}: {self.dataset.label_map.describe(outside)}")
            counts[-1] -= sum(outside.values())
        return (label.shape[0], label.shape[1]), counts


def _entry(dataset: PythonDataset, index: int) -> _Finding:
    """Look at an entry of a data set from Python; its first fault hides its others."""
    try:
        image, label = dataset.read(index)
    except DataError as error:
        return _Finding([str(error)], None, None)
    counts = None if label is None else _counts(label, len(dataset.classes))
    return _Finding([], (image.shape[0], image.shape[1]), counts)


def _counts(label: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count a label's pixels of each class and, last, of ignore."""
    values = np.bincount(label.ravel(), minlength=256)
    return np.append(values[:classes], values[-1])


def _size_problem(item: Item, size: tuple[int, int], label_size: tuple[int, int]) -> str:
    return (
        f"{item.label}: {label_size[0]}x{label_size[1]} (height x width), but its image "
        f"{item.image} is {size[0]}x{size[1]}"
    )


def check_dataset(
    dataset: Dataset, workers: int = 0, on_item: Callable[[int], None] | None = None
) -> CheckReport:
    """Read every file of a split, in ``workers`` processes (0: this one), and report on all.

    Problems do not stop it: files without a partner, unreadable or truncated files, images and
    labels of different size, label values outside the map. Labels with such values still
    count in the histogram, without them. ``on_item`` is called with the number of items done
    after each.
    """
    names = (*dataset.classes.names, "ignore")
    problems = list(dataset.unpaired)
    sizes: Counter[tuple[int, int]] = Counter()
    pixels = np.zeros(len(names), np.int64)
    occurs = np.zeros(len(names), np.int64)
    loader = Loader(_Findings(dataset), range(len(dataset)), workers)
    for done, finding in enumerate(loader, 1):
        problems += finding.problems
        if finding.size is not None:
            sizes[finding.size] += 1
        if finding.counts is not None:
            pixels += finding.counts
            occurs += finding.counts > 0
        if on_item is not None:
            on_item(done)
    counts = (ClassCount(int(p), int(i)) for p, i in zip(pixels, occurs, strict=True))
    return CheckReport(
        dataset=dataset.name,
        split=dataset.split,
        images=len(dataset),
        labelled=dataset.labelled,
        problems=tuple(problems),
        histogram=dict(zip(names, counts, strict=True)) if dataset.labelled else {},
        sizes=dict(sizes),
    )
