"""Counting the values in label files, and guessing how they store classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch.utils.data import Dataset as TorchDataset

from clan.core.errors import DataError, counted
from clan.data import listing
from clan.data.containers import PNG, png_header, read_palette, read_whole
from clan.data.encodings import CHANNELS, Encoding, Stored
from clan.data.images import read_label
from clan.data.label_maps import color_text
from clan.data.workers import Loader

MOST = 256
"""Most different values of labels: one byte holds no more classes."""

_TRIED = 12  # files that are read to guess the encoding
_SHADES = 64  # more colours than this in one file mean instances, not classes


@dataclass(frozen=True)
class LabelValues:
    """The values of a folder's labels.

    Attributes:
        folder: the folder.
        files: its label files, relative to it.
        encoding: the guessed encoding, as an option `labels: encoding`.
        pixels: value (or packed colour) -> number of pixels, sorted by value.
        images: value (or packed colour) -> number of files that hold it.
        palette: value -> packed colour, if the files have a palette.
        problems: errors of files that could not be read, a line each.
        left_out: a sentence on the folder's other files.
    """

    folder: Path
    files: tuple[str, ...]
    encoding: Encoding
    pixels: Mapping[int, int]
    images: Mapping[int, int]
    palette: Mapping[int, int]
    problems: tuple[str, ...]
    left_out: str

    @property
    def colors(self) -> bool:
        """Whether the values are packed colours."""
        return self.encoding == "color"

    def share(self, value: int) -> float:
        """Return the share of a value among all pixels, 0 to 1."""
        return self.pixels[value] / sum(self.pixels.values())

    def render(self) -> RenderableType:
        """Return the table for a rich console."""
        head = (
            f"{self.folder}: {counted(len(self.files), 'label')}, encoding {self.encoding_text()}"
        )
        parts: list[RenderableType] = [Text(head, style="bold")]
        swatches = self.colors or bool(self.palette)
        heads = ["colour" if self.colors else "value", *(["shown"] if swatches else [])]
        table = Table(*heads, "pixels", "share", "files")
        for column in table.columns:
            column.justify = "right"
        for value, pixels in self.pixels.items():
            name = color_text(value) if self.colors else str(value)
            cells = [Text(name)]
            if swatches:
                color = value if self.colors else self.palette.get(value, 0)
                cells.append(Text("    ", style=f"on #{color:06x}"))
            cells += [Text(f"{pixels:,}"), Text(f"{self.share(value):.2%}")]
            table.add_row(*cells, f"{self.images[value]:,}")
        parts.append(table)
        if self.left_out:
            parts.append(Text(f"note: {self.left_out}", style="yellow"))
        parts.extend(Text(problem, style="red") for problem in self.problems)
        return Group(*parts)

    def encoding_text(self) -> str:
        """Return the encoding as YAML for a description."""
        if not isinstance(self.encoding, Stored):
            return self.encoding
        given = self.encoding.model_dump(exclude_none=True)
        return "{" + ", ".join(f"{key}: {value}" for key, value in given.items()) + "}"


def label_values(
    folder: Path, workers: int = 0, progress: Callable[[int, int], None] = lambda *_: None
) -> LabelValues:
    """Read every label PNG below a folder and count its values.

    Args:
        folder: the folder with the labels.
        workers: number of reading processes; 0 reads in this one.
        progress: called after each file with (done, total).

    Raises:
        DataError: no folder, no PNG below it, or more than `MOST` values.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; name the one with the label files")
    found, left_out = listing.find_images(folder)
    paths = [Path(path) for path in found.values() if path.lower().endswith(".png")]
    left_out.endings.update(
        p.suffix.lower() for p in map(Path, found.values()) if p.suffix.lower() != ".png"
    )
    if not paths:
        raise DataError(
            f"no label PNG in {folder} or below it; labels must be PNGs, which keep values exactly"
            f"{'; ' + left_out.text() if left_out.text() else ''}"
        )
    encoding = guess_encoding(paths)
    pixels: Counter[int] = Counter()
    images: Counter[int] = Counter()
    problems = []
    loader = Loader(_Counts(paths, encoding), range(len(paths)), workers)
    for done, (path, counts) in enumerate(zip(paths, loader, strict=True), 1):
        if isinstance(counts, str):
            problems.append(counts)
            continue
        pixels.update(counts)
        images.update(counts.keys())
        if len(pixels) > MOST:
            raise DataError(
                f"{path}: with it there are more than {MOST} different values: these are no labels "
                "of classes (photographs? a resized picture of colours, which mixes them? "
                f"instances?). Read as {encoding!r}"
            )
        progress(done, len(paths))
    return LabelValues(
        folder,
        tuple(path.relative_to(folder).as_posix() for path in paths),
        encoding,
        dict(sorted(pixels.items())),
        dict(images),
        {} if encoding == "color" else _palette(paths[0]),
        tuple(problems),
        left_out.text(),
    )


def guess_encoding(paths: Sequence[Path]) -> Encoding:
    """Guess how label files store classes, from the pixels of some of them."""
    tried = paths[:: max(1, len(paths) // _TRIED)][:_TRIED]
    kinds = {kind for path in tried if (kind := _kind(path)) is not None}
    if kinds and all(depth == 16 and kind in (2, 6) for depth, kind in kinds):
        return "synthia"
    if any(kind in (2, 6) for _, kind in kinds):
        return _of_colors(tried)
    return _of_numbers(tried)


def _kind(path: Path) -> tuple[int, int] | None:
    """Return depth and colour type of a PNG; None if it cannot be read."""
    try:
        data = read_whole(path)
        header = png_header(data, path) if data.startswith(PNG) else None
    except DataError:
        return None
    return None if header is None else (header.depth, header.kind)


def _of_colors(paths: Sequence[Path]) -> Encoding:
    """Guess among grey stored as colour, classes as colours, and classes in one channel."""
    colors = [found for path in paths if (found := _distinct(path, "color")) is not None]
    if not colors:
        return "color"
    every = np.unique(np.concatenate(colors))
    channels = {"R": every >> 16, "G": every >> 8 & 255, "B": every & 255}
    if (channels["R"] == channels["G"]).all() and (channels["G"] == channels["B"]).all():
        return "index"
    # class and instance: one channel has few values, the other channels many
    few = min(CHANNELS, key=lambda name: len(np.unique(channels[name])))
    classes = len(np.unique(channels[few]))
    if max(map(len, colors)) > _SHADES >= classes > 1:
        return Stored.model_validate({"channel": few})
    # small values in one channel and zeros in the others are class numbers, not colours
    used = [name for name in CHANNELS if channels[name].any()]
    if len(used) == 1 and channels[used[0]].max() <= _SHADES:
        return Stored.model_validate({"channel": used[0]})
    return "color"


def _of_numbers(paths: Sequence[Path]) -> Encoding:
    """Guess between plain class numbers and numbers that hold class and instance."""
    found = [values for path in paths if (values := _distinct(path, "index")) is not None]
    large = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    large = large[large > 255]
    if not len(large):
        return "index"
    for divisor in (1000, 256):
        instances = large[large >= divisor] % divisor
        if len(instances) and (instances < divisor // 4).mean() > 0.95:
            return Stored.model_validate({"divide": divisor})
    return "index"


def _distinct(path: Path, encoding: Encoding) -> np.ndarray | None:
    try:
        return np.unique(read_label(path, encoding)).astype(np.int64)
    except DataError:
        return None


def _palette(path: Path) -> dict[int, int]:
    try:
        colors = read_palette(path).astype(int)
    except DataError:
        return {}
    return {value: int(r << 16 | g << 8 | b) for value, (r, g, b) in enumerate(colors)}


class _Counts(TorchDataset[Counter[int] | str]):
    """The pixel counts of each file, or its error message."""

    def __init__(self, paths: Sequence[Path], encoding: Encoding) -> None:
        self.paths, self.encoding = paths, encoding

    def __getitem__(self, index: int) -> Counter[int] | str:
        try:
            raw = read_label(self.paths[index], self.encoding)
        except DataError as error:
            return str(error)
        values, counts = np.unique(raw, return_counts=True)
        return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
