"""Reading images and label maps from files, and writing label maps.

Decoders are lenient: some fill what is missing of a truncated file with grey. A training must
not learn from such files, so completeness is checked from the container's own marks.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clan.core.errors import DataError
from clan.core.files import write_whole

Encoding = Literal["index", "color", "synthia"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
"""File name endings (lower case) that count as images."""

_PNG = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {
    0: "grey",
    2: "RGB colour",
    3: "palette",
    4: "grey with transparency",
    6: "RGB colour with transparency",
}
_EXIF_ORIENTATION = 0x0112
_SYNTHIA_LOST = (
    "a SYNTHIA label is a 16-bit RGB PNG with the class in its first channel. Programs that read "
    "it as 8 bit (Pillow does) turn every class to 0: extract the file from the archive again, and "
    "take GT/LABELS, not a converted copy"
)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return the image as (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Grey images get three equal channels; transparency is dropped. DataError if the file is
    missing, truncated, or no image.
    """
    data = _read_complete(path)
    image = _decode(data, cv2.IMREAD_COLOR, path)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), np.uint8)


def read_label(
    path: Path, encoding: Encoding = "index"
) -> NDArray[np.uint8 | np.uint16 | np.int32]:
    """Return the values stored in a label PNG, (H, W) uint8, uint16 or int32, not yet mapped.

    ``index``: a grey PNG of 8 or 16 bits, or a palette PNG, whose palette *index* is the value.
    ``color``: an 8-bit RGB or palette PNG, whose *colour*, R * 65536 + G * 256 + B, is the value.
    ``synthia``: a 16-bit RGB PNG whose first channel, R, is the class. DataError if the file is
    missing, truncated, no PNG, or of another kind.
    """
    data = _read_complete(path)
    if not data.startswith(_PNG):
        raise DataError(
            f"{path}: a label file must be a PNG, which keeps values exactly; this is none"
        )
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    if encoding == "synthia":
        return _decode_synthia(data, depth, kind, path)
    if encoding == "color":
        return _decode_colors(data, depth, kind, path)
    if kind == 3:
        # OpenCV would expand the palette to colours.
        return _palette_indices(data, (height, width), path)
    if kind != 0 or depth not in (8, 16):
        raise DataError(
            f"{path}: {_kind(depth, kind)}; expected class values "
            "in an 8- or 16-bit grey PNG or a palette PNG (labels in colours: `encoding: color`)"
        )
    return _decode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH, path)


def _kind(depth: int, kind: int) -> str:
    article = "an" if depth == 8 else "a"
    return f"{article} {depth}-bit {_COLOR_TYPES.get(kind, 'unknown')} PNG"


def _palette_indices(data: bytes, size: tuple[int, int], path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture, np.uint8).reshape(size)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: a damaged PNG ({error})") from error


def _decode_colors(data: bytes, depth: int, kind: int, path: Path) -> NDArray[np.int32]:
    if kind not in (2, 3, 6) or depth == 16:
        raise DataError(
            f"{path}: {_kind(depth, kind)}; expected classes as "
            "colours in an 8-bit RGB or a palette PNG (labels as values: `encoding: index`)"
        )
    pixels = _decode(data, cv2.IMREAD_COLOR, path)
    # B, G, R, A in memory is A R G B in a little-endian number
    packed = cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA).view("<i4")[..., 0]
    return np.asarray(packed & 0xFFFFFF, np.int32)


def _decode_synthia(data: bytes, depth: int, kind: int, path: Path) -> NDArray[np.uint16]:
    if depth != 16 or kind not in (2, 6):
        raise DataError(f"{path}: {_kind(depth, kind)}; {_SYNTHIA_LOST}")
    pixels = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, path)
    if pixels.dtype != np.uint16:
        raise DataError(f"{path}: decoded to {pixels.dtype}, expected uint16")
    classes = np.ascontiguousarray(pixels[..., 2])  # OpenCV's order is B, G, R
    if not classes.any():
        raise DataError(f"{path}: every pixel is of class 0, void; {_SYNTHIA_LOST}")
    return classes


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of an image as `read_image` would give it, from the file's header alone."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return (width, height) if turned else (height, width)


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


def _read_complete(path: Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not data:
        raise DataError(f"{path}: the file is empty")
    if _is_truncated(data):
        raise DataError(f"{path}: truncated image ({len(data)} bytes); copy or extract it again")
    return data


def _is_truncated(data: bytes) -> bool:
    if data.startswith(_PNG):
        return _png_is_truncated(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_is_truncated(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False  # the other formats' decoders refuse short files


def _png_is_truncated(data: bytes) -> bool:
    position = len(_PNG)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        position += 12 + length
        if kind == b"IEND":
            return position > len(data)
    return True


def _jpeg_is_truncated(data: bytes) -> bool:
    """Look for the end mark behind the start of the scan; a thumbnail's own comes before it."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return False  # not a marker where one must be: the decoder's business
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xDA:
            return data.find(b"\xff\xd9", position) < 0
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True


def _decode(data: bytes, flags: int, path: Path) -> NDArray[Any]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from error
    if pixels is None:
        raise DataError(f"{path}: not an image, or a damaged one")
    return np.asarray(pixels)
