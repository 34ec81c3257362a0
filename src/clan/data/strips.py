"""Large pictures from top to bottom, a strip of rows at a time, by libvips (extra ``large``).

A picture of 20,000 x 20,000 pixels is 1.2 GB once it is decoded. Read and written in strips, it
never exists as a whole. The pixels are those of `clan.data.images.read_image`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError
from clan.core.files import make_folder, writing
from clan.data.containers import PNG, open_picture, orientation_of, read_header

_MODES = ("L", "LA", "P", "RGB", "RGBA", "1")
"""Pillow's names of the forms whose pixels libvips gives as `read_image` does: 8 bits at most."""
_JPEG_SIDE = 65_500
"""The longest side of a JPEG file that libjpeg writes."""
_QUALITY = 92


class Rows(Protocol):
    """A picture, uint8 RGB, that gives its rows."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""

    def rows(self, top: int, stop: int) -> NDArray[np.uint8]:
        """Return rows ``top`` to ``stop``, (stop - top, W, 3); ``top`` may never go back."""


class Whole:
    """A picture (H, W, 3) in memory."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self._pixels.shape[0], self._pixels.shape[1]

    def rows(self, top: int, stop: int) -> NDArray[np.uint8]:
        """Return rows ``top`` to ``stop``."""
        return self._pixels[top:stop]


class Strips:
    """A picture in a file, decoded as far as it was asked for; earlier rows are dropped."""

    def __init__(self, path: Path) -> None:
        import pyvips

        self._path = path
        picture = _opened(path)
        self._shape = picture.height, picture.width
        with _saying(path):
            # one region for all rows: libvips then reads the file once, forwards
            self._region = pyvips.Region.new(picture)
        self._top = 0
        self._held = np.empty((0, picture.width, 3), np.uint8)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self._shape

    def rows(self, top: int, stop: int) -> NDArray[np.uint8]:
        """Return rows ``top`` to ``stop``.

        Raises:
            DataError: the file is damaged or truncated.
        """
        known = self._top + len(self._held)
        kept = self._held[max(0, top - self._top) :]
        first = max(known, top)
        if first < stop:
            with _saying(self._path):
                fresh = self._region.fetch(0, first, self._shape[1], stop - first)
            read = np.frombuffer(fresh, np.uint8).reshape(stop - first, self._shape[1], 3)
            kept = np.concatenate([kept, read])
        self._top, self._held = top, kept
        return kept[: stop - top]


def in_strips(path: Path) -> Strips | None:
    """Open a picture to be read in strips; None where it has to be decoded as a whole.

    That is so without pyvips, for formats other than JPEG, PNG and TIFF, for 16 bits and CMYK, for
    interlaced PNG files, and for pictures that EXIF turns.

    Raises:
        DataError: the file is missing, damaged or truncated, or has more pixels than allowed. All
            of it is decoded once to see that: that takes seconds, the network's work hours.
    """
    if find_spec("pyvips") is None or not path.is_file():
        return None
    read_header(path)
    with path.open("rb") as file:
        picture = open_picture(file, path)
        if (
            picture is None
            or picture.format not in ("JPEG", "PNG", "TIFF")
            or picture.mode not in _MODES
            or picture.info.get("interlace")
            or orientation_of(picture) != 1
        ):
            return None
    with _saying(path):
        _opened(path).avg()
    return Strips(path)


def write_label_rows(
    path: Path, size: tuple[int, int], palette: list[int], rows: Iterable[NDArray[np.uint8]]
) -> None:
    """Write class indices as a palette PNG, whole or not at all, from strips (n, W) uint8.

    Args:
        path: the file; its folder is made.
        size: (H, W).
        palette: flat RGB (`ClassSet.palette`).
        rows: the strips, from top to bottom.

    Raises:
        DataError: the file cannot be written.
    """
    height, width = size
    make_folder(path.parent, DataError)
    with writing(path, DataError) as file:
        file.write(PNG)
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        _chunk(file, b"PLTE", bytes(palette))
        packed = zlib.compressobj()
        for strip in rows:
            # each row begins with the number of its filter: none
            _chunk(file, b"IDAT", packed.compress(np.pad(strip, ((0, 0), (1, 0))).tobytes()))
        _chunk(file, b"IDAT", packed.flush())
        _chunk(file, b"IEND", b"")


def write_overlay_rows(
    path: Path,
    image: Path,
    label: Path,
    alpha: float,
    legend: Callable[[int], NDArray[np.uint8]],
) -> None:
    """Write a JPEG of a label's colours over an image, from their files.

    A picture with a side that JPEG cannot have is made smaller.

    Args:
        path: the file.
        image: a picture of which `in_strips` is not None.
        label: what `write_label_rows` wrote for it.
        alpha: weight of the colours, 0..1.
        legend: given the picture's width, what is drawn underneath, (h, width, 3).

    Raises:
        DataError: the file cannot be written.
    """
    import pyvips

    picture, colors = _opened(image), _opened(label)
    mixed = (picture * (1 - alpha) + colors * alpha).rint().cast("uchar")
    longest = max(mixed.width, mixed.height)
    if longest > _JPEG_SIDE:
        mixed = mixed.resize(_JPEG_SIDE * 0.99 / longest)
    mixed = mixed.join(pyvips.Image.new_from_array(legend(mixed.width)), "vertical")
    target = pyvips.TargetCustom()
    with writing(path, DataError) as file, _saying(path):
        target.on_write(file.write)
        mixed.copy(interpretation="srgb").write_to_target(target, ".jpg", Q=_QUALITY)


def _opened(path: Path) -> Any:
    """Open a picture as 8-bit RGB, to be decoded once from top to bottom."""
    import pyvips

    with _saying(path):
        picture = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="truncated")
    if picture.bands < 3:
        picture = picture[0].bandjoin([picture[0], picture[0]])
    return picture[:3] if picture.bands > 3 else picture


@contextmanager
def _saying(path: Path) -> Iterator[None]:
    """Turn what libvips says of a file into a sentence."""
    import pyvips

    try:
        yield
    except pyvips.Error as error:
        said = " ".join(str(error.detail or error.message).split())
        raise DataError(
            f"{path}: truncated or damaged image ({said}); copy or extract it again"
        ) from error


def _chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    if content or kind == b"IEND":
        check = zlib.crc32(kind + content)
        file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check))
