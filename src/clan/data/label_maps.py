"""Maps from the values or colours of label files to class indices.

Values that a map does not list are an error: a forgotten class would silently become 'ignore'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError, counted, nearest
from clan.data.archives.paths import FilePath
from clan.data.classes import IGNORE, ClassSet

_OUTSIDE = 254  # table entry of a raw value that the map does not list


class LabelMap:
    """A lookup table from the values in label files to class indices and `IGNORE`."""

    def __init__(self, raw_to_index: Mapping[int, int]) -> None:
        self._table = np.full(65536, _OUTSIDE, np.uint8)
        for raw, index in raw_to_index.items():
            if not 0 <= raw <= 65535:
                raise DataError(f"label map: raw value {raw} is not in 0..65535")
            self._table[raw] = index
        self.values = tuple(sorted(raw_to_index))

    @classmethod
    def from_names(cls, names: Mapping[int, str], classes: ClassSet) -> Self:
        """Build from raw value -> class name or 'ignore'; DataError for an unknown class."""
        table = {}
        for raw, name in names.items():
            if name != "ignore" and name not in classes.names:
                raise DataError(
                    f"label map: {cls.shown(raw)} is mapped to {name!r}, which is neither 'ignore' "
                    f"nor a class of {classes.name!r}{nearest(name, (*classes.names, 'ignore'))}"
                )
            table[raw] = IGNORE if name == "ignore" else classes.index(name)
        return cls(table)

    @classmethod
    def identity(cls, classes: ClassSet) -> Self:
        """Build the map of files that store the class set's own indices, or colours."""
        return cls.from_names(cls.identity_table(classes), classes)

    @classmethod
    def identity_table(cls, classes: ClassSet) -> dict[int, str]:
        """Return the table of `identity`: raw value -> class name or 'ignore'."""
        return {**dict(enumerate(classes.names)), IGNORE: "ignore"}

    def lookup(self, raw: NDArray[np.integer[Any]]) -> tuple[NDArray[np.uint8], dict[int, int]]:
        """Map ``raw`` (H, W); return class indices (H, W) uint8 and what the map does not list.

        The second value is raw value -> number of pixels; these pixels become `IGNORE`.
        """
        label = self._indices(raw)
        outside = label == _OUTSIDE
        if not outside.any():
            return label, {}
        label[outside] = IGNORE
        values, counts = np.unique(raw[outside], return_counts=True)
        return label, {int(v): int(n) for v, n in zip(values, counts, strict=True)}

    def _indices(self, raw: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        if raw.dtype == np.uint8:
            return np.asarray(cv2.LUT(raw, self._table[:256]), np.uint8)
        # Values that no 16-bit file can hold are outside of every map.
        held = (raw >= 0) & (raw <= 65535)
        return np.where(held, self._table[np.clip(raw, 0, 65535)], _OUTSIDE).astype(np.uint8)

    def approximated(self, raw: NDArray[np.integer[Any]]) -> int:
        """Return how many pixels of ``raw`` (H, W) count as another value than their own: none."""
        return 0

    def apply(self, raw: NDArray[np.integer[Any]], path: FilePath | str) -> NDArray[np.uint8]:
        """Map ``raw`` (H, W) to class indices and 255 (H, W) uint8.

        DataError names the file, the values outside the map with their pixel counts, and the
        values that the map lists.
        """
        label, outside = self.lookup(raw)
        if outside:
            raise DataError(f"{path}: {self.describe(outside)}")
        return label

    def describe(self, outside: Mapping[int, int]) -> str:
        """Return the sentence about raw values that the map does not list."""
        return (
            f"label values outside the map: {_first(outside, str)}; "
            f"the map lists {ranges(self.values)}. Add them to `labels: map`, or correct the file"
        )

    @staticmethod
    def shown(raw: int) -> str:
        """Return a raw value as messages call it."""
        return f"raw value {raw}"


class ColorMap(LabelMap):
    """The same for label pictures in colours: a raw value is R * 65536 + G * 256 + B."""

    def __init__(self, raw_to_index: Mapping[int, int]) -> None:
        self.values = tuple(sorted(raw_to_index))
        # A table of all colours would be 16 MB; a search among a few dozen takes little more time.
        self._colors = np.array(self.values, np.int32)
        self._targets = np.array([raw_to_index[raw] for raw in self.values], np.uint8)
        self._tolerance = 0

    def with_tolerance(self, tolerance: int) -> Self:
        """Return the map that takes a colour for the nearest of its own.

        Each of red, green and blue may differ by ``tolerance`` at most. A colour that is as near to
        another class stays outside.
        """
        other = copy(self)
        other._tolerance = tolerance
        return other

    def approximated(self, raw: NDArray[np.integer[Any]]) -> int:
        """Return how many pixels of ``raw`` (H, W) count as a colour near their own."""
        if not self._tolerance:
            return 0
        return int((self._exact(raw) == _OUTSIDE).sum() - (self._indices(raw) == _OUTSIDE).sum())

    @classmethod
    def identity_table(cls, classes: ClassSet) -> dict[int, str]:
        """Return the class set's own colours -> class names; black, if unused, is ignored.

        DataError if two classes have one colour.
        """
        table: dict[int, str] = {}
        for name, color in zip(classes.names, classes.colors, strict=True):
            packed = pack_color(*color)
            if packed in table:
                raise DataError(
                    f"label map: {table[packed]!r} and {name!r} of {classes.name!r} have one "
                    f"colour, {color_text(packed)}, so that colours do not tell them apart; spell "
                    "the map out (`labels: map`)"
                )
            table[packed] = name
        table.setdefault(0, "ignore")
        return table

    def _indices(self, raw: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        label = self._exact(raw)
        outside = label == _OUTSIDE
        if self._tolerance and outside.any():
            colors, places = np.unique(raw[outside], return_inverse=True)
            label[outside] = self._nearest(colors)[places.reshape(-1)]
        return label

    def _nearest(self, colors: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Return what each colour (N,) counts as, `_OUTSIDE` for none or more than one class."""
        found = np.full(len(colors), _OUTSIDE, np.uint8)
        own = _channels(self._colors)
        for index, color in enumerate(_channels(colors)):
            distance = np.abs(own - color).max(axis=1)
            near = np.unique(self._targets[distance == distance.min()])
            if distance.min() <= self._tolerance and len(near) == 1:
                found[index] = near[0]
        return found

    def _exact(self, raw: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        place = np.searchsorted(self._colors, raw).clip(max=len(self._colors) - 1)
        return np.where(self._colors[place] == raw, self._targets[place], np.uint8(_OUTSIDE))

    def describe(self, outside: Mapping[int, int]) -> str:
        """Return the sentence about colours that the map does not list."""
        return (
            f"label colours outside the map: {_first(outside, color_text)}; the map lists "
            f"{len(self.values)} colours. Add them to `labels: map`, or correct the file (resizing "
            "a picture of colours mixes them, and so does JPEG; an engine may shift them a little: "
            "`labels: tolerance`)"
        )

    @staticmethod
    def shown(raw: int) -> str:
        """Return a colour as messages call it."""
        return f"colour {color_text(raw)!r}"


def _channels(packed: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return red, green and blue (N, 3) of packed colours (N,)."""
    numbers = packed.astype(np.int64)
    return np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=1)


def _first(outside: Mapping[int, int], text: Callable[[int], str]) -> str:
    shown = [
        f"{text(value)} ({counted(count, 'pixel')})" for value, count in list(outside.items())[:8]
    ]
    more = f" and {len(outside) - 8} more" if len(outside) > 8 else ""
    return f"{', '.join(shown)}{more}"


def pack_color(red: int, green: int, blue: int) -> int:
    """Return three values 0..255 as one number."""
    return red << 16 | green << 8 | blue


def color_text(raw: int) -> str:
    """Return a packed colour as descriptions write it: ``128 64 0``."""
    return f"{raw >> 16} {raw >> 8 & 255} {raw & 255}"


def parse_color(text: object) -> int | None:
    """Return the packed colour of ``128 64 0`` or ``128, 64, 0``; None if it is none."""
    if not isinstance(text, str):
        return None
    parts = re.split(r"\s*,\s*|\s+", text.strip())
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    red, green, blue = (int(part) for part in parts)
    return pack_color(red, green, blue) if max(red, green, blue) <= 255 else None


def ranges(values: Iterable[int]) -> str:
    """Return sorted integers in short form: ``0-11, 255``."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
