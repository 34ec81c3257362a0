"""Pictures and labels as people really have them: one way to pixels, damage is noticed."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from clan.core.errors import DataError
from clan.data.containers import turn
from clan.data.encodings import Stored
from clan.data.images import (
    UNREADABLE,
    image_orientation,
    image_size,
    pixels_of,
    read_image,
    read_label,
    write_label,
)
from clan.data.limits import PIXELS_VARIABLE

RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
VALUES = RNG.integers(0, 4, (6, 9), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9), dtype=np.uint16)
LOSSLESS = {"webp": {"lossless": True, "exact": True}}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "jpg"])
def test_a_file_and_its_pillow_image_are_one_picture(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    path = tmp_path / f"photo.{kind}"
    Image.fromarray(PICTURE).save(path, exif=exif(orientation), **LOSSLESS.get(kind, {}))
    shown = read_image(path)
    with Image.open(path) as picture:
        assert np.array_equal(pixels_of(picture), shown)
    if kind != "jpg":
        assert np.array_equal(shown, turn(PICTURE, orientation))
    assert image_size(path) == shown.shape[:2]
    assert image_orientation(path) == orientation


def test_turning_is_what_pillow_calls_transposing() -> None:
    from PIL import ImageOps

    for orientation in range(1, 9):
        picture = Image.fromarray(PICTURE)
        picture.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(picture))
        assert np.array_equal(turn(PICTURE, orientation), expected), orientation


HELD = {
    "png": ["1", "L", "LA", "P", "RGBA", "I;16"],
    "tiff": ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"],
    "jpg": ["1", "L", "CMYK", "YCbCr"],
    "gif": ["1", "L", "P", "RGBA"],
    "bmp": ["1", "L", "P", "RGBA"],
}
"""Modes that each kind of file can hold."""


@pytest.mark.parametrize(
    ("kind", "mode"), [(kind, m) for kind, modes in HELD.items() for m in modes]
)
def test_every_mode_by_path_as_by_pillow(tmp_path: Path, mode: str, kind: str) -> None:
    path = tmp_path / f"photo.{kind}"
    picture = Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(PICTURE).convert(mode)
    picture.save(path)
    read = read_image(path)
    assert read.shape == PICTURE.shape
    with Image.open(path) as opened:
        assert np.array_equal(pixels_of(opened), read)
    if mode == "I;16" and kind != "gif":
        assert np.array_equal(read[..., 1], DEEP >> 8)


def test_first_frame_of_a_gif_and_other_endings(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((6, 9, 3), grey, np.uint8)) for grey in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.gif") == 10).all()
    if features.check("avif"):
        frames[1].save(tmp_path / "a.avif", quality=100)
        assert np.abs(read_image(tmp_path / "a.avif").astype(int) - 200).max() < 4
    assert ".heic" in UNREADABLE
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(DataError, match=r"a.HEIC: this format cannot be read; convert it to JPEG"):
        read_image(tmp_path / "a.HEIC")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pictures_without_a_white_are_refused(mode: str) -> None:
    with pytest.raises(DataError, match=f"32-bit values .mode {mode}. have no fixed white"):
        pixels_of(Image.fromarray(PICTURE).convert("L").convert(mode))


def test_the_size_of_a_png_is_read_without_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((3000, 4000), np.uint8)).save(path)
    cut = path.read_bytes()
    path.write_bytes(cut[: len(cut) // 2])  # whoever decodes it fails
    assert image_size(path) == (3000, 4000)


@pytest.mark.parametrize("read", [read_image, read_label, image_size])
def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: object) -> None:
    path = tmp_path / "bomb.png"
    ihdr = b"IHDR" + (20000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    end = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
    head = b"\0\0\0\x0d" + ihdr + zlib.crc32(ihdr).to_bytes(4, "big")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + end)
    with pytest.raises(
        DataError, match=r"20000x20000 .* more pixels than the limit of 250,000,000"
    ):
        read(path)  # type: ignore[operator]
    Image.fromarray(VALUES).save(tmp_path / "small.png")
    monkeypatch.setenv(PIXELS_VARIABLE, "53")
    with pytest.raises(DataError, match=f"set {PIXELS_VARIABLE} to 54 or more"):
        read(tmp_path / "small.png")  # type: ignore[operator]
    monkeypatch.setenv(PIXELS_VARIABLE, "54")
    read(tmp_path / "small.png")  # type: ignore[operator]
    monkeypatch.setenv(PIXELS_VARIABLE, "many")
    with pytest.raises(DataError, match="expected a number of pixels"):
        read(tmp_path / "small.png")  # type: ignore[operator]


def test_a_large_jpeg_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg")
    monkeypatch.setenv(PIXELS_VARIABLE, "53")
    with pytest.raises(DataError, match=r"a\.jpg: 6x9 .* more pixels"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [read_image, read_label, image_size])
def test_a_pipe_is_no_picture(tmp_path: Path, read: object) -> None:
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b\.png: not a plain file"):
        read(tmp_path / "b.png")  # type: ignore[operator]


@pytest.mark.parametrize("read", [read_image, read_label, image_size])
def test_a_png_of_signature_and_end(tmp_path: Path, read: object) -> None:
    end = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
    (tmp_path / "l.png").write_bytes(b"\x89PNG\r\n\x1a\n" + end)
    with pytest.raises(DataError, match=r"l\.png: .*(it has no header|not an image)"):
        read(tmp_path / "l.png")  # type: ignore[operator]


def test_every_flipped_bit_of_a_palette_label_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "l.png"
    write_label(path, VALUES, [200 - v % 199 for v in range(768)])
    whole = path.read_bytes()
    for position in range(8, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"l\.png"):
            read_label(path)
    path.write_bytes(whole)
    assert np.array_equal(read_label(path), VALUES)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_labels_of_few_bits(tmp_path: Path, bits: int) -> None:
    values = RNG.integers(0, 2**bits, (7, 11), dtype=np.uint8)
    path = tmp_path / "l.png"
    cv2_flags = [cv2.IMWRITE_PNG_BILEVEL, 1] if bits == 1 else []
    if bits == 1:
        assert cv2.imwrite(str(path), values * 255, cv2_flags)
    else:
        write_few_bits(path, values, bits)
    assert np.array_equal(read_label(path), values)


def write_few_bits(path: Path, values: np.ndarray, bits: int) -> None:
    """Write a grey PNG of 2 or 4 bits, which Pillow and OpenCV do not."""
    rows = []
    for row in values:
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows.append(b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big"))
    height, width = values.shape
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    chunks = [
        (b"IHDR", size + bytes([bits, 0, 0, 0, 0])),
        (b"IDAT", zlib.compress(b"".join(rows))),
        (b"IEND", b""),
    ]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            len(content).to_bytes(4, "big")
            + k
            + content
            + zlib.crc32(k + content).to_bytes(4, "big")
            for k, content in chunks
        )
    )


def test_grey_with_transparency_and_equal_channels(tmp_path: Path) -> None:
    path = tmp_path / "l.png"
    alpha = RNG.integers(0, 256, VALUES.shape, dtype=np.uint8)
    for bands in ([VALUES, alpha], [VALUES] * 3, [VALUES, VALUES, VALUES, alpha]):
        Image.fromarray(np.dstack(bands)).save(path)
        assert np.array_equal(read_label(path), VALUES)
    cv2.imwrite(str(path), np.dstack([DEEP] * 3))
    assert np.array_equal(read_label(path), DEEP)


def test_colours_are_pointed_to_the_encodings_that_read_them(tmp_path: Path) -> None:
    path = tmp_path / "l.png"
    Image.fromarray(PICTURE).save(path)
    with pytest.raises(DataError, match=r"encoding: color`; .*encoding: \{channel: R\}"):
        read_label(path)
    cv2.imwrite(str(path), np.dstack([DEEP, DEEP, DEEP // 2]))
    with pytest.raises(DataError, match=r"16-bit RGB colour PNG.*\{channel: R\}") as error:
        read_label(path)
    assert "encoding: color" not in str(error.value)  # which takes no 16 bits


@pytest.mark.parametrize("channel", ["R", "G", "B"])
def test_one_channel(tmp_path: Path, channel: str) -> None:
    path = tmp_path / "l.png"
    expected = PICTURE[..., "RGB".index(channel)]
    for mode in ("RGB", "RGBA"):
        Image.fromarray(PICTURE).convert(mode).save(path)
        assert np.array_equal(read_label(path, Stored(channel=channel)), expected)
    cv2.imwrite(str(path), np.dstack([DEEP, DEEP // 2, DEEP // 3]))
    wanted = {"R": DEEP // 3, "G": DEEP // 2, "B": DEEP}[channel]
    assert np.array_equal(read_label(path, Stored(channel=channel)), wanted)
    assert np.array_equal(read_label(path, Stored(channel=channel, divide=256)), wanted // 256)


def test_instance_ids(tmp_path: Path) -> None:
    path = tmp_path / "l.png"
    # Cityscapes: road without instances, two cars; Mapillary Vistas: class 0 below 256
    Image.fromarray(np.array([[7, 26000, 26001, 33999]], np.uint16)).save(path)
    assert read_label(path, Stored(divide=1000)).tolist() == [[7, 26, 26, 33]]
    Image.fromarray(np.array([[7, 256, 511, 16640]], np.uint16)).save(path)
    assert read_label(path, Stored(divide=256)).tolist() == [[0, 1, 1, 65]]
    assert read_label(path, Stored(divide=256, below="keep")).tolist() == [[7, 1, 1, 65]]
    assert read_label(path, Stored(divide=1000, below="divide")).tolist() == [[0, 0, 0, 16]]


def test_a_label_that_is_turned_by_its_own_mark(tmp_path: Path) -> None:
    path = tmp_path / "l.png"
    for picture in (Image.fromarray(VALUES), Image.fromarray(VALUES).convert("P")):
        picture.save(path, exif=exif(6))
        assert np.array_equal(read_label(path), turn(np.asarray(picture), 6))


def test_pillow_limits_stay_as_they_were(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, "jpeg")
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    before = Image.MAX_IMAGE_PIXELS
    read_image(tmp_path / "a.jpg")
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_webp_of_absurd_size_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    Image.new("RGB", (24, 32)).save(path, lossless=False)
    data = bytearray(path.read_bytes())
    # an extended header with a canvas of 2^24 x 2^24
    body = b"VP8X" + (10).to_bytes(4, "little") + b"\0\0\0\0" + b"\xff" * 6 + bytes(data[12:])
    path.write_bytes(b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WEBP" + body)
    with pytest.raises(DataError, match=r"a\.webp"):
        read_image(path)
