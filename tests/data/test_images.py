from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from clan.core.errors import DataError
from clan.data.images import image_size, read_image, read_label, write_label

RNG = np.random.default_rng(0)
PICTURE = np.kron(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
VALUES = RNG.integers(0, 20, (12, 18), dtype=np.uint8)


def encode(format_name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, format_name, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("png", {}, 0),
        ("bmp", {}, 0),
        ("webp", {"lossless": True}, 0),
        ("jpeg", {"quality": 98, "subsampling": 0}, 12),
        ("jpeg", {"quality": 98, "subsampling": 0, "progressive": True}, 12),
        ("mpo", {"quality": 98, "subsampling": 0}, 12),
        ("ppm", {}, 0),
    ],
)
def test_formats(tmp_path: Path, name: str, options: dict[str, object], tolerance: int) -> None:
    path = tmp_path / f"picture.{name}"
    path.write_bytes(encode(name, **options))
    image = read_image(path)
    assert image.shape == PICTURE.shape
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - PICTURE).max() <= tolerance
    assert image_size(path) == PICTURE.shape[:2]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(PICTURE).convert(mode).save(path)
    assert read_image(path).shape == PICTURE.shape


@pytest.mark.parametrize("name", ["png", "webp", "jpeg", "bmp"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_images(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / f"picture.{name}"
    whole = encode(name)
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError, match=r"picture\.\w+: (truncated|not an image|a damaged)"):
        read_image(path)


@pytest.mark.parametrize("lost", [1, 2, 5, 12, 13])
@pytest.mark.parametrize("name", ["png", "jpeg"])
def test_last_bytes_lost(tmp_path: Path, name: str, lost: int) -> None:
    path = tmp_path / f"picture.{name}"
    path.write_bytes(encode(name)[:-lost])
    with pytest.raises(DataError, match="truncated image"):
        read_image(path)


def test_thumbnail_does_not_hide_truncation(tmp_path: Path) -> None:
    whole = encode("jpeg")
    thumbnail = b"\xff\xe1" + (2 + 6).to_bytes(2, "big") + b"\xff\xd8xx\xff\xd9"
    whole = whole[:2] + thumbnail + whole[2:]
    path = tmp_path / "picture.jpg"
    path.write_bytes(whole)
    assert read_image(path).shape == PICTURE.shape
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match="truncated image"):
        read_image(path)


def test_bytes_behind_a_whole_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode("jpeg") + b"maker notes")
    assert read_image(path).shape == PICTURE.shape


def test_orientation(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    path.write_bytes(encode("jpeg", exif=exif))
    height, width, _ = PICTURE.shape
    assert read_image(path).shape == (width, height, 3)
    assert image_size(path) == (width, height)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"<html>not found</html>", "not an image"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\0\0\0\x18ftypheic" + bytes(90), "a HEIC picture under another name; convert it"),
    ],
)
def test_no_image(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "picture.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_image(path)
    assert str(path) in str(error.value)
    with pytest.raises(DataError, match=r"picture\.jpg"):
        image_size(path)


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything
    with pytest.raises(DataError, match=r"picture.png: cannot be read \(Permission denied\)"):
        read_image(tmp_path / "picture.png")


def test_grey_and_palette_labels(tmp_path: Path) -> None:
    grey, palette = tmp_path / "grey.png", tmp_path / "palette.png"
    Image.fromarray(VALUES).save(grey)
    write_label(palette, VALUES, [200 - v % 199 for v in range(768)])
    assert Image.open(palette).mode == "P"
    for path in (grey, palette):
        label = read_label(path)
        assert label.dtype == np.uint8
        assert (label == VALUES).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grey.png", "palette.png"]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_small_palettes(tmp_path: Path, bits: int) -> None:
    values = VALUES % (2 if bits == 1 else 4)
    picture = Image.fromarray(values)
    picture.putpalette([9, 9, 9, 80, 80, 80, 3, 3, 3, 5, 5, 5])
    picture.save(tmp_path / "p.png", bits=bits)
    assert (read_label(tmp_path / "p.png") == values).all()


def test_16_bit_grey_label(tmp_path: Path) -> None:
    values = VALUES.astype(np.uint16) * 1000
    Image.fromarray(values).save(tmp_path / "p.png")
    label = read_label(tmp_path / "p.png")
    assert label.dtype == np.uint16
    assert (label == values).all()


def test_synthia_label(tmp_path: Path) -> None:
    bgr = np.zeros((*VALUES.shape, 3), np.uint16)
    bgr[..., 2], bgr[..., 1] = VALUES, 500
    cv2.imwrite(str(tmp_path / "s.png"), bgr)
    label = read_label(tmp_path / "s.png", "synthia")
    assert label.dtype == np.uint16
    assert (label == VALUES).all()


def test_synthia_label_without_a_class(tmp_path: Path) -> None:
    # what a program that read 8 bits leaves behind when it writes 16
    cv2.imwrite(str(tmp_path / "s.png"), np.zeros((4, 4, 3), np.uint16))
    with pytest.raises(DataError, match=r"s\.png: every pixel is of class 0.*take GT/LABELS"):
        read_label(tmp_path / "s.png", "synthia")


def test_color_labels(tmp_path: Path) -> None:
    expected = PICTURE.astype(np.int32) @ [65536, 256, 1]
    for mode in ("RGB", "RGBA"):
        Image.fromarray(PICTURE).convert(mode).save(tmp_path / "c.png")
        label = read_label(tmp_path / "c.png", "color")
        assert label.dtype == np.int32
        assert (label == expected).all()
    # of a palette PNG the colour counts, not the index
    picture = Image.fromarray(VALUES)
    picture.putpalette([value for i in range(256) for value in (i, 2 * i % 256, 3)])
    picture.save(tmp_path / "p.png")
    label = read_label(tmp_path / "p.png", "color")
    assert (label == VALUES.astype(np.int32) * (65536 + 2 * 256) + 3).all()


@pytest.mark.parametrize(("dtype", "shape"), [(np.uint8, (4, 4)), (np.uint16, (4, 4, 3))])
def test_labels_that_hold_no_colors(tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    cv2.imwrite(str(tmp_path / "c.png"), np.ones(shape, dtype))
    with pytest.raises(DataError, match="expected classes as colours in an 8-bit RGB"):
        read_label(tmp_path / "c.png", "color")


def test_synthia_label_saved_with_8_bits(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "s.png")
    with pytest.raises(DataError, match=r"s\.png: an 8-bit RGB colour PNG; .*16-bit RGB PNG"):
        read_label(tmp_path / "s.png", "synthia")


@pytest.mark.parametrize(
    ("mode", "found"),
    [("RGB", "8-bit RGB colour PNG"), ("RGBA", "with transparency")],
)
def test_labels_of_another_kind(tmp_path: Path, mode: str, found: str) -> None:
    Image.fromarray(PICTURE).convert(mode).save(tmp_path / "l.png")
    with pytest.raises(DataError, match=f"{found}.*expected class values"):
        read_label(tmp_path / "l.png")


def test_label_that_is_no_png(tmp_path: Path) -> None:
    (tmp_path / "l.png").write_bytes(encode("jpeg"))
    with pytest.raises(DataError, match="must be a PNG"):
        read_label(tmp_path / "l.png")


def test_a_label_of_another_format_says_how_it_becomes_a_png(tmp_path: Path) -> None:
    np.save(tmp_path / "l.npy", VALUES)
    Image.fromarray(VALUES).save(tmp_path / "l.tif")
    Image.fromarray(VALUES).save(tmp_path / "l.jpg")
    for name, said in (
        ("l.npy", r"np\.load\('l\.npy'\)\.astype\('uint8'\)\)\.save\('l\.png'\)"),
        ("l.tif", r"magick mogrify -format png \*\.tif"),
        ("l.jpg", "JPEG has changed its values"),
    ):
        with pytest.raises(DataError, match=said):
            read_label(tmp_path / name)


def test_label_with_damaged_middle(tmp_path: Path) -> None:
    write_label(tmp_path / "l.png", RNG.integers(0, 255, (90, 90), dtype=np.uint8), [0] * 768)
    data = bytearray((tmp_path / "l.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "l.png").write_bytes(data)
    with pytest.raises(DataError, match=r"l\.png: a damaged PNG"):
        read_label(tmp_path / "l.png")


def test_label_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        write_label(tmp_path / "file/l.png", VALUES, [0] * 768)
    with pytest.raises(DataError, match=r"must be \(H, W\) uint8"):
        write_label(tmp_path / "l.png", VALUES.astype(np.int64), [0] * 768)


@pytest.mark.parametrize("kind", ["png", "webp", "jpg"])
@pytest.mark.parametrize("broken", [b"MM\x00\x0a\x00\x00\x00\x08", b"XX\x00\x2a"])
def test_a_picture_with_a_damaged_description_is_shown_as_stored(
    kind: str, broken: bytes, tmp_path: Path
) -> None:
    path, exif = tmp_path / f"a.{kind}", b"Exif\0\0" + broken + bytes(8)
    Image.new("RGB", (40, 20), (9, 9, 9)).save(path, exif=exif)
    assert image_size(path) == (20, 40)
    assert read_image(path).shape == (20, 40, 3)
