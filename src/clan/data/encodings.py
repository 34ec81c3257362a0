"""How label PNGs store classes, and the values that stand in them, not yet mapped."""

from __future__ import annotations

import io
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from clan.core.errors import DataError
from clan.core.options import Options
from clan.data.archives.paths import FilePath
from clan.data.containers import PngHeader, open_picture

Raw = NDArray[np.uint8 | np.uint16 | np.int32]
"""Values (H, W) as stored."""

NAMED_ENCODINGS = ("index", "color", "synthia")
"""The encodings that have a name; the others say which numbers of a pixel count."""

CHANNELS = ("R", "G", "B")

_COLOR_TYPES = {
    0: "grey",
    2: "RGB colour",
    3: "palette",
    4: "grey with transparency",
    6: "RGB colour with transparency",
}
_SYNTHIA_LOST = (
    "a SYNTHIA label is a 16-bit RGB PNG with the class in its first channel. Programs that read "
    "it as 8 bit (Pillow does) turn every class to 0: extract the file from the archive again, and "
    "take GT/LABELS, not a converted copy"
)


class Stored(Options):
    """Which numbers of a pixel are the class, where others stand beside it (instances)."""

    channel: Literal["R", "G", "B"] | None = None
    """The channel of an RGB PNG that holds the class; not given: the only one of a grey PNG."""
    divide: int | None = Field(None, ge=2, le=65535)
    """The class is the value divided by this, rounded down."""
    below: Literal["keep", "divide"] | None = None
    """Values below the divisor: keep takes them as classes without instances (Cityscapes), divide
    makes them class 0 (Mapillary Vistas). Not given: keep for multiples of ten, else divide."""

    @field_validator("channel", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _something(self) -> Stored:
        if self.channel is None and self.divide is None:
            raise ValueError("expected `channel`, `divide` or both")
        if self.below is not None and self.divide is None:
            raise ValueError("`below` needs `divide`")
        return self

    def divided(self, raw: Raw) -> Raw:
        """Return the classes in values (H, W)."""
        if self.divide is None:
            return raw
        keeps = self.below == "keep" if self.below else self.divide % 10 == 0
        classes = raw // self.divide
        return np.where(raw < self.divide, raw, classes) if keeps else classes


Encoding = Literal["index", "color", "synthia"] | Stored
"""How label files store classes."""


def decode_label(data: bytes, header: PngHeader, encoding: Encoding, path: FilePath) -> Raw:
    """Return the values (H, W) in a label PNG; DataError if it is damaged or of another kind."""
    if isinstance(encoding, Stored):
        values = _channel(data, encoding.channel, path) if encoding.channel else None
        return encoding.divided(_indices(data, header, path) if values is None else values)
    if encoding == "synthia":
        return _synthia(data, header, path)
    return _colors(data, header, path) if encoding == "color" else _indices(data, header, path)


def decode(data: bytes, flags: int, path: FilePath) -> NDArray[Any]:
    """Decode with OpenCV, without turning; DataError if it cannot."""
    try:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from error
    if pixels is None:
        raise DataError(f"{path}: not an image, or a damaged one")
    return np.asarray(pixels)


def _kind(header: PngHeader) -> str:
    article = "an" if header.depth == 8 else "a"
    return f"{article} {header.depth}-bit {_COLOR_TYPES.get(header.kind, 'unknown')} PNG"


def _indices(data: bytes, header: PngHeader, path: FilePath) -> Raw:
    """Return grey values, palette indices, or what three equal channels hold."""
    if header.kind == 3 or (header.kind == 0 and header.depth < 8):
        # OpenCV would expand the palette to colours, and few bits to eight.
        return _small(data, header, path)
    if header.kind in (0, 4):
        return decode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH, path)
    pixels = decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, path)
    first = np.ascontiguousarray(pixels[..., 0])
    if not all((pixels[..., channel] == first).all() for channel in (1, 2)):
        other = "" if header.depth == 16 else "labels in colours: `encoding: color`; "
        raise DataError(
            f"{path}: {_kind(header)}; expected class values in a grey or a palette PNG ({other}"
            "the class in one of three channels: `encoding: {channel: R}`)"
        )
    return first


def _small(data: bytes, header: PngHeader, path: FilePath) -> NDArray[np.uint8]:
    picture = open_picture(io.BytesIO(data), path)
    try:
        values = np.asarray(picture, np.uint8).reshape(header.height, header.width)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: a damaged PNG ({error})") from error
    if header.kind == 0 and header.depth in (2, 4):
        values = values // (255 // (2**header.depth - 1))  # Pillow spreads them over 0..255
    return values


def _channel(data: bytes, channel: str, path: FilePath) -> Raw:
    pixels = decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, path)
    return np.ascontiguousarray(pixels[..., 2 - CHANNELS.index(channel)])  # stored B, G, R


def _colors(data: bytes, header: PngHeader, path: FilePath) -> NDArray[np.int32]:
    if header.kind not in (2, 3, 6) or header.depth == 16:
        raise DataError(
            f"{path}: {_kind(header)}; expected classes as "
            "colours in an 8-bit RGB or a palette PNG (labels as values: `encoding: index`)"
        )
    pixels = decode(data, cv2.IMREAD_COLOR, path)
    # B, G, R, A in memory is A R G B in a little-endian number
    packed = cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA).view("<i4")[..., 0]
    return np.asarray(packed & 0xFFFFFF, np.int32)


def _synthia(data: bytes, header: PngHeader, path: FilePath) -> NDArray[np.uint16]:
    if header.depth != 16 or header.kind not in (2, 6):
        raise DataError(f"{path}: {_kind(header)}; {_SYNTHIA_LOST}")
    pixels = decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, path)
    if pixels.dtype != np.uint16:
        raise DataError(f"{path}: decoded to {pixels.dtype}, expected uint16")
    classes = np.ascontiguousarray(pixels[..., 2])  # OpenCV's order is B, G, R
    if not classes.any():
        raise DataError(f"{path}: every pixel is of class 0, void; {_SYNTHIA_LOST}")
    return classes
