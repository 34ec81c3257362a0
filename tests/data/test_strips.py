"""Pictures and labels in strips are those that are read and written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clan.core.errors import DataError
from clan.data import strips
from clan.data.images import read_image, read_label
from clan.data.strips import in_strips, write_label_rows

pytest.importorskip("pyvips")

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 301, 203
SCENE = Image.fromarray(RNG.integers(0, 256, (30, 20, 3), np.uint8)).resize((WIDTH, HEIGHT))
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "photo.jpg": ("RGB", {"quality": 80}),
    "full.JPG": ("RGB", {"subsampling": 0}),
    "half.jpeg": ("RGB", {"subsampling": 1}),
    "progressive.jpg": ("RGB", {"progressive": True}),
    "grey.jpg": ("L", {}),
    "plain.png": ("RGB", {}),
    "clear.png": ("RGBA", {}),
    "grey and clear.png": ("LA", {}),
    "colours.png": ("P", {"transparency": 3}),
    "bits.png": ("1", {}),
    "plain.tif": ("RGB", {}),
    "packed.tiff": ("RGB", {"compression": "tiff_lzw"}),
    "grün.tif": ("RGB", {"compression": "jpeg"}),
}


@pytest.mark.parametrize("name", FORMS)
def test_strips_have_the_pixels_of_the_whole(name: str, tmp_path: Path) -> None:
    mode, options = FORMS[name]
    path = tmp_path / name
    SCENE.convert(mode).save(path, **options)
    whole = read_image(path)
    opened = in_strips(path)
    assert opened is not None
    assert opened.shape == (HEIGHT, WIDTH)
    # overlapping, then a row alone, then the rest
    for top, stop in ((0, 128), (96, 224), (200, 201), (215, HEIGHT)):
        assert np.array_equal(opened.rows(top, stop), whole[top:stop])


def test_what_has_other_pixels_in_libvips_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    SCENE.save(tmp_path / "turned.jpg", exif=turned)
    SCENE.convert("CMYK").save(tmp_path / "print.jpg")
    grey = np.asarray(SCENE.convert("L")).astype(np.uint16) * 200
    Image.fromarray(grey).save(tmp_path / "deep.png")
    SCENE.save(tmp_path / "some.webp")
    SCENE.save(tmp_path / "some.bmp")
    for path in tmp_path.iterdir():
        assert in_strips(path) is None, path
    SCENE.save(tmp_path / "plain.jpg")
    monkeypatch.setattr(strips, "find_spec", lambda _: None)
    assert in_strips(tmp_path / "plain.jpg") is None


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_a_damaged_picture_is_refused_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    SCENE.save(path, **({"compression": "tiff_lzw"} if name == "a.tif" else {}))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DataError, match=rf"{name}: (truncated|.*cannot be read)"):
        in_strips(path)


def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SCENE.save(tmp_path / "a.jpg")
    monkeypatch.setenv("CLAN_MAX_PIXELS", "1000")
    with pytest.raises(DataError, match="more pixels than the limit of 1,000"):
        in_strips(tmp_path / "a.jpg")


def test_a_label_written_in_strips_is_read_back(tmp_path: Path) -> None:
    label = RNG.integers(0, 19, (HEIGHT, WIDTH), np.uint8)
    palette = [int(value) for value in RNG.integers(0, 256, 768)]
    path = tmp_path / "new" / "label.png"
    write_label_rows(path, label.shape, palette, (label[:100], label[100:101], label[101:]))
    assert np.array_equal(read_label(path), label)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert picture.getpalette() == palette


def test_a_label_that_ends_with_an_error_is_not_left(tmp_path: Path) -> None:
    def rows():  # type: ignore[no-untyped-def]
        yield np.zeros((2, 4), np.uint8)
        raise DataError("the picture ends here")

    with pytest.raises(DataError, match="ends here"):
        write_label_rows(tmp_path / "label.png", (4, 4), [0] * 768, rows())
    assert not list(tmp_path.iterdir())
