"""Reading images and label maps from files, and writing label maps.

There is one way from a picture to pixels, whether it comes as a file or as a Pillow image: 16 bits
become the upper 8, grey three equal channels, transparency is dropped, and the picture is turned as
its EXIF orientation says.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from clan.core.errors import DataError
from clan.core.files import write_whole
from clan.data.archives.paths import FilePath
from clan.data.containers import (
    DAMAGED,
    PNG,
    check_sums,
    header_of,
    open_picture,
    orientation_of,
    png_header,
    png_orientation,
    read_header,
    read_whole,
    turn,
)
from clan.data.encodings import Encoding, Raw, decode, decode_label

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    | {".ppm", ".pgm", ".pnm"}
    | ({".avif"} if features.check("avif") else set())
)
"""File name endings (lower case) that count as images."""

UNREADABLE = (
    frozenset(
        {".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".psd"}
    )
    - SUFFIXES
)
"""Endings (lower case) of pictures that cannot be read here: they must be converted first."""

CONVERT = "convert it to JPEG or PNG first, such as by `magick mogrify -format jpg *.heic`"
"""What to do with a picture of `UNREADABLE`."""

_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
"""Brands of HEIF files, as telephones write them; ``.jpg`` is what some programs call these."""

_BY_OPENCV = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "PPM")


def read_image(path: FilePath) -> NDArray[np.uint8]:
    """Return the image as (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Grey images get three equal channels; of 16 bits the upper 8 count; transparency is dropped; of
    several frames the first is read. DataError if the file is missing, truncated, no image, or has
    more pixels than allowed.
    """
    data = read_whole(path)
    if data.startswith(PNG):
        png_header(data, path)
        return turn(_decode(data, path), png_orientation(data, path))
    if path.suffix.lower() in UNREADABLE:
        raise DataError(f"{path}: this format cannot be read; {CONVERT}")
    header = header_of(io.BytesIO(data), path)
    picture = None if header is None else open_picture(io.BytesIO(data), path)
    if header is None or picture is None:
        if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
            raise DataError(f"{path}: a HEIC picture under another name; {CONVERT}")
        return _decode(data, path)
    if picture.format in _BY_OPENCV and picture.mode != "CMYK":
        return turn(_decode(data, path), header.orientation)
    return pixels_of(picture, str(path))


def pixels_of(picture: Image.Image, name: str = "the Pillow image") -> NDArray[np.uint8]:
    """Return a Pillow image as `read_image` gives its file; DataError if it has no 8 or 16 bits."""
    try:
        picture.load()
        if picture.mode.startswith("I;16"):
            grey = (np.asarray(picture) >> 8).astype(np.uint8)
            pixels = np.repeat(grey[..., None], 3, axis=2)
        elif picture.mode in ("I", "F"):
            raise DataError(
                f"{name}: 32-bit values (mode {picture.mode}) have no fixed white; expected 8 or "
                "16 bits: scale it to 0..255 first"
            )
        else:
            pixels = np.array(picture.convert("RGB"))
    except DAMAGED as error:
        raise DataError(f"{name}: not an image, or a damaged one ({error})") from error
    return turn(pixels, orientation_of(picture))


def _decode(data: bytes, path: FilePath) -> NDArray[np.uint8]:
    image = decode(data, cv2.IMREAD_COLOR, path)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), np.uint8)


def read_label(path: FilePath, encoding: Encoding = "index") -> Raw:
    """Return the values stored in a label PNG, (H, W) uint8, uint16 or int32, not yet mapped.

    ``index``: a grey PNG of 1 to 16 bits, with transparency or not, a palette PNG, whose palette
    *index* is the value, or a colour PNG of three equal channels. ``color``: an 8-bit RGB or
    palette PNG, whose *colour*, R * 65536 + G * 256 + B, is the value. ``synthia``: a 16-bit RGB
    PNG whose first channel, R, is the class. `Stored`: one channel, a division, or both.

    A label with an EXIF orientation of its own is turned by it. DataError if the file is missing,
    truncated, damaged, no PNG, of another kind, or has more pixels than allowed.
    """
    data = read_whole(path)
    if not data.startswith(PNG):
        raise DataError(
            f"{path}: a label file must be a PNG, which keeps values exactly; this is none"
            f"{_towards_png(path, data)}"
        )
    header = png_header(data, path)
    check_sums(data, path)
    return turn(decode_label(data, header, encoding, path), png_orientation(data, path))


def _towards_png(path: FilePath, data: bytes) -> str:
    """Say how a label of another format becomes a PNG; empty if no way is known."""
    if data.startswith(b"\x93NUMPY"):
        return (
            ". Write it as one in Python: "
            f"Image.fromarray(np.load({path.name!r}).astype('uint8')).save({path.stem + '.png'!r})"
        )
    if data.startswith(b"\xff\xd8"):
        return ", and JPEG has changed its values: export the labels again as PNG"
    if path.suffix.lower() in (".tif", ".tiff", ".bmp", ".gif"):
        return f". Convert it, such as by `magick mogrify -format png *{path.suffix}`"
    return ""


def image_size(path: FilePath) -> tuple[int, int]:
    """Return (H, W) of an image as `read_image` would give it, from the file's header alone."""
    return read_header(path).shown


def image_orientation(path: FilePath) -> int:
    """Return the EXIF orientation of an image, 1 (as stored) to 8, from its header alone."""
    return read_header(path).orientation


def write_label(path: Path, label: NDArray[np.uint8], palette: list[int]) -> None:
    """Write class indices (H, W) uint8 as a palette PNG, whole or not at all.

    Its folder is made. ``palette`` is flat RGB (`ClassSet.palette`). DataError if the file cannot
    be written.
    """
    if label.ndim != 2 or label.dtype != np.uint8:
        raise DataError(f"{path}: a label must be (H, W) uint8, found {label.shape} {label.dtype}")
    picture = Image.fromarray(label)
    picture.putpalette(palette)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_whole(path, buffer.getvalue(), DataError)
