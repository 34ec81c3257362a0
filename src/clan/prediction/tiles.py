"""Large pictures, window by window: logits exist for a strip of windows, never for the whole.

Windows overlap. In an overlap the neighbours' probabilities are mixed, with weights that run from
one window's to the other's and sum to 1, so that no seam shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clan.core.errors import ConfigError
from clan.data.strips import Rows, Whole

ALIGNED = 32
"""Windows begin at multiples of it, the deepest stride of usual encoders: their features then lie
on one grid, that of the whole picture."""
SHARE = 4
"""The overlap of windows: this part of their side, rounded to `ALIGNED`."""
SMALLEST = 128
"""Smallest side of windows, in pixels: below it they would overlap in all of it."""

Look = Callable[[NDArray[np.uint8]], Tensor]
"""Runs the network: pixels (h, w, 3) uint8 to logits (1, C, ~h, ~w) of the ensemble."""


@dataclass(frozen=True)
class Window:
    """A window along one side of the picture, in pixels."""

    read: int
    """Where the network begins to look: before ``start`` at the picture's end, so that the last
    window is as large as the others."""
    start: int
    stop: int
    fresh: int
    """From here to ``stop`` no earlier window has anything."""
    done: int
    """To here no later window has anything."""


def check_tile(tile: int) -> int:
    """Return the side of windows; ConfigError if they cannot overlap as they should."""
    if tile < SMALLEST or tile % ALIGNED:
        raise ConfigError(
            f"tile {tile}: expected the side of windows in pixels, a multiple of {ALIGNED} from "
            f"{SMALLEST} on, such as 1024"
        )
    return tile


def windows(length: int, tile: int) -> list[Window]:
    """Divide a side of a picture into windows of ``tile`` pixels that overlap by a quarter."""
    overlap = overlap_of(tile)
    last = max(0, length - tile) // ALIGNED * ALIGNED
    found: list[Window] = []
    start = 0
    while True:
        stop = min(start + tile, length)
        end = stop == length
        fresh = start if start == 0 else start + overlap
        done = stop if end else start + tile - overlap
        found.append(Window(min(start, last), start, stop, fresh, done))
        if end:
            return found
        start += tile - overlap


def overlap_of(tile: int) -> int:
    """Return how many pixels two neighbouring windows share."""
    return max(ALIGNED, tile // SHARE // ALIGNED * ALIGNED)


def tiled_labels(
    look: Look,
    image: NDArray[np.uint8],
    tile: int,
    progress: Callable[[int, int], None] | None = None,
    align_corners: bool = False,
) -> NDArray[np.uint8]:
    """Return the labels (H, W) uint8 of a picture (H, W, 3) in memory; see `tiled_rows`."""
    label = np.empty(image.shape[:2], np.uint8)
    top = 0
    for strip in tiled_rows(look, Whole(image), tile, progress, align_corners):
        label[top : top + len(strip)] = strip
        top += len(strip)
    return label


def tiled_rows(
    look: Look,
    picture: Rows,
    tile: int,
    progress: Callable[[int, int], None] | None = None,
    align_corners: bool = False,
) -> Iterator[NDArray[np.uint8]]:
    """Yield the labels of a picture of any size from top to bottom, in strips (n, W) uint8.

    In memory are ``tile`` rows of the picture, C floats for each pixel of a window, and of one
    strip as high as the overlap and as wide as the picture.

    Args:
        look: runs the network on a part of the picture, at the picture's own resolution.
        picture: gives its rows.
        tile: side of the windows.
        progress: called after each window with (done, total).
        align_corners: convention of the up-sampling of logits to their window's size.
    """
    height, width = picture.shape
    rows, columns = windows(height, tile), windows(width, tile)
    # what the windows above have in the overlap; those below replace it column by column
    overlap: Tensor | None = None
    for number, row in enumerate(rows):
        label = np.empty((row.done - row.start, width), np.uint8)
        pixels = picture.rows(row.read, row.stop)
        for at, column, p in _strip(look, pixels, row, columns, align_corners):
            # p is complete but for the windows above and below
            if number > 0:
                assert overlap is not None
                p[:, : row.fresh - row.start] += overlap[:, :, column]
            label[:, column] = p[:, : row.done - row.start].argmax(0).cpu()
            if row.done < row.stop:
                if overlap is None:
                    overlap = p.new_zeros(len(p), row.stop - row.done, width)
                overlap[:, :, column] = p[:, row.done - row.start :]
            if progress is not None:
                progress(number * len(columns) + at + 1, len(rows) * len(columns))
        yield label


def _strip(
    look: Look,
    pixels: NDArray[np.uint8],
    row: Window,
    columns: list[Window],
    align_corners: bool,
) -> Iterator[tuple[int, slice, Tensor]]:
    """Yield a row of windows from left to right: the columns that are complete, (C, rows, n).

    ``pixels`` are those of the window's rows from ``row.read`` on.
    """
    down = _ramp(row)
    left: Tensor | None = None
    for at, column in enumerate(columns):
        part = pixels[:, column.read : column.stop]
        logits = look(np.ascontiguousarray(part))
        if logits.shape[-2:] != part.shape[:2]:
            logits = F.interpolate(
                logits, size=part.shape[:2], mode="bilinear", align_corners=align_corners
            )
        p = logits[0, :, row.start - row.read :, column.start - column.read :].softmax(dim=0)
        p *= down.to(p)[:, None]
        p *= _ramp(column).to(p)
        if left is not None:
            p[:, :, : column.fresh - column.start] += left
        inside = column.done - column.start
        left = p[:, :, inside:].clone()
        yield at, slice(column.start, column.done), p[:, :, :inside]


def _ramp(window: Window) -> Tensor:
    """Return a window's weights along one side; those of all windows sum to 1 at each pixel."""
    weight = torch.ones(window.stop - window.start)
    rising, falling = window.fresh - window.start, window.stop - window.done
    if rising:
        weight[:rising] = _rise(rising)
    if falling:
        weight[-falling:] *= 1 - _rise(falling)
    return weight


def _rise(length: int) -> Tensor:
    """Return weights from 0 to 1; 0 in the first quarter, which sees most of the zero padding."""
    return (2 * (torch.arange(length) + 0.5) / length - 0.5).clamp(0, 1)
