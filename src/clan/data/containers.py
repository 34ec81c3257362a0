"""Checks of image files before they are decoded: completeness, checksums, size, orientation.

Some decoders fill the missing part of a truncated file with grey, and some ignore checksums. A
training must not learn from such files, so both are checked here from the container's format. Sizes
and orientations are read from headers only.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clan.core.errors import DataError
from clan.data.limits import PIXELS_VARIABLE, pixel_limit

if TYPE_CHECKING:
    from clan.data.archives.paths import FilePath

PNG = b"\x89PNG\r\n\x1a\n"
"""The first bytes of every PNG file."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "PPM")
_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
_TEXT_WITH_EXIF = (b"Raw profile type ", b"XML:com.adobe.xmp")

Array = TypeVar("Array", bound=NDArray[Any])


class Header(NamedTuple):
    """What a picture's header says: (H, W) as stored, and the EXIF orientation, 1 to 8."""

    size: tuple[int, int]
    orientation: int

    @property
    def shown(self) -> tuple[int, int]:
        """(H, W) after turning."""
        height, width = self.size
        return (width, height) if self.orientation in _TRANSPOSED else (height, width)


class PngHeader(NamedTuple):
    """The first chunk of a PNG: sides in pixels, bits per channel, and colour type 0 to 6."""

    width: int
    height: int
    depth: int
    kind: int


def turn(pixels: Array, orientation: int) -> Array:
    """Return pixels (H, W, ...) as stored, turned or mirrored as an EXIF orientation 1..8 says."""
    if orientation in _TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]  # type: ignore[assignment]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]  # type: ignore[assignment]
    return np.ascontiguousarray(pixels)  # type: ignore[return-value]


def read_whole(path: FilePath) -> bytes:
    """Return a file's bytes; DataError if it is missing, no plain file, empty or truncated."""
    try:
        _check_plain(path)
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not data:
        raise DataError(f"{path}: the file is empty")
    if _is_truncated(data):
        raise DataError(f"{path}: truncated image ({len(data)} bytes); copy or extract it again")
    return data


def read_header(path: FilePath) -> Header:
    """Return size and orientation of a picture; its pixels are not decoded.

    DataError if the file is missing, empty, no picture, or has more pixels than allowed.
    """
    try:
        _check_plain(path)
        with path.open("rb") as file:
            header = header_of(file, path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if header is None:
        raise DataError(f"{path}: not an image")
    return header


def header_of(file: IO[bytes], path: FilePath) -> Header | None:
    """Return the header of an open file of pictures; None for a format that Pillow cannot name."""
    start = file.read(33)
    if not start:
        raise DataError(f"{path}: the file is empty")
    if start.startswith(PNG):
        png = png_header(start, path)
        file.seek(len(PNG))
        if not _tells_orientation(file):
            return Header((png.height, png.width), 1)
    file.seek(0)
    picture = open_picture(file, path)
    if picture is None:
        return None
    width, height = picture.size
    if picture.format == "TIFF":  # Pillow gives the size as shown
        width, height = picture.tag_v2[256], picture.tag_v2[257]  # type: ignore[attr-defined]
    check_pixels(height, width, path)
    return Header((height, width), orientation_of(picture))


def orientation_of(picture: Image.Image) -> int:
    """Return how a Pillow image is still to be turned: its EXIF orientation, 1 if it names none."""
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except DAMAGED:
        # pixels can be whole where their description is not; viewers show such a picture as stored
        return 1
    return orientation if orientation in range(1, 9) else 1


DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, MemoryError),
    *(AttributeError, EOFError, struct.error, Image.DecompressionBombError),
)
"""What Pillow's readers raise for a damaged file, or one of absurd size."""


def open_picture(file: IO[bytes], path: FilePath) -> Image.Image | None:
    """Open a file of a format that is read here with Pillow; None if it is none of them.

    Pillow's own limit of pixels holds for a whole process, so `check_pixels` stands in for it.
    """
    Image.init()
    start = file.read(64)
    file.seek(0)
    for name in _FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is None or accept is None or accept(start) is not True:
            continue
        try:
            return factory(file, str(path))
        except DAMAGED as error:
            raise DataError(f"{path}: cannot be read ({error})") from error
    return None


def check_pixels(height: int, width: int, path: FilePath) -> None:
    """Raise DataError if a picture has more pixels than allowed.

    A file of some hundred kilobytes may unpack to gigabytes.
    """
    limit = pixel_limit()
    if height * width > limit:
        raise DataError(
            f"{path}: {height}x{width} (height x width) are more pixels than the limit of "
            f"{limit:,}; if it is a picture that you want, set {PIXELS_VARIABLE} to "
            f"{height * width} or more"
        )


def png_header(data: bytes, path: FilePath) -> PngHeader:
    """Return what the first chunk of a PNG says; DataError if there is none, or too many pixels."""
    if data[12:16] != b"IHDR" or len(data) < 26:
        raise DataError(f"{path}: a damaged PNG (it has no header); copy or extract it again")
    header = PngHeader(*struct.unpack(">IIBB", data[16:26]))
    check_pixels(header.height, header.width, path)
    return header


def check_sums(data: bytes, path: FilePath) -> None:
    """Raise DataError unless every chunk of a PNG has the checksum that it carries."""
    for kind, start, end in _chunks(data):
        if zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise DataError(
                f"{path}: a damaged PNG (the checksum of its chunk {kind.decode('latin-1')!r} does "
                "not hold); copy or extract it again"
            )


def png_orientation(data: bytes, path: FilePath) -> int:
    """Return the EXIF orientation of a PNG in memory."""
    header = header_of(io.BytesIO(data), path)
    return 1 if header is None else header.orientation


def read_palette(path: FilePath) -> NDArray[np.uint8]:
    """Return the palette (N, 3) RGB of a PNG file; N is 0 if it has none."""
    data = read_whole(path)
    for kind, start, end in _chunks(data):
        if kind == b"PLTE":
            return np.frombuffer(data[start:end], np.uint8)[: (end - start) // 3 * 3].reshape(-1, 3)
    return np.zeros((0, 3), np.uint8)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start of its content, end) of the chunks of a PNG, up to the last."""
    position = len(PNG)
    while position + 12 <= len(data):
        start = position + 8
        end = start + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        yield kind, start, end
        if kind == b"IEND":
            return
        position = end + 4


def _tells_orientation(file: IO[bytes]) -> bool:
    """Tell whether an open PNG has a chunk that may hold EXIF; only heads of chunks are read."""
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"eXIf":
            return True
        if kind == b"IEND":
            return False
        read = b""
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            read = file.read(min(length, 18))
            if read.startswith(_TEXT_WITH_EXIF):
                return True
        file.seek(length - len(read) + 4, os.SEEK_CUR)
    return False


def _check_plain(path: FilePath) -> None:
    """Raise DataError for what is neither a file nor a folder: reading a pipe never ends."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"{path}: not a plain file (a pipe, a socket or a device)")


def _is_truncated(data: bytes) -> bool:
    if data.startswith(PNG):
        chunks = list(_chunks(data))
        last = chunks[-1] if chunks else None
        return last is None or last[0] != b"IEND" or last[2] + 4 > len(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_is_truncated(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False  # the other formats' decoders refuse short files


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
