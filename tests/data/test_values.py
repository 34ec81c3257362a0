"""Label files before a map exists: values, shares, how they are stored, and a first description."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from clan.core.console import Console
from clan.core.errors import DataError
from clan.data.draft import write_draft
from clan.data.values import LabelValues, label_values
from clan.training.checking import check
from tests.conftest import SIZE, write_image, write_synthia_label, write_values

PIXELS = SIZE[0] * SIZE[1]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def grey(path: Path) -> None:
    write_values(path, rng().choice(np.array([0, 7, 26, 255], np.uint8), SIZE))


def palette(path: Path) -> None:
    write_values(
        path, rng().choice(np.array([0, 1, 2], np.uint8), SIZE), [9, 8, 7, 200, 0, 0, 0, 0, 99]
    )


def one_bit(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng().integers(0, 2, SIZE, dtype=np.uint8) * 255).convert("1").save(path)


def grey_in_colour(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = rng().choice(np.array([1, 2, 5], np.uint8), SIZE)
    Image.fromarray(np.stack([values] * 3, axis=2)).save(path)


def colours(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = np.array([[0, 0, 0], [128, 64, 128], [70, 130, 180], [255, 0, 0]], np.uint8)
    Image.fromarray(table[rng().integers(0, 4, SIZE)]).save(path)


def carla(path: Path) -> None:
    """Write the class in R and the instance in G and B."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng().integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    pixels[..., 0] = rng().choice(np.array([1, 4, 10], np.uint8), SIZE)
    Image.fromarray(pixels).save(path)


def carla_plain(path: Path) -> None:
    """Write the class in R and nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[..., 0] = rng().choice(np.array([1, 4, 10], np.uint8), SIZE)
    Image.fromarray(pixels).save(path)


def synthia(path: Path) -> None:
    write_synthia_label(path, rng().choice(np.array([1, 3, 22]), SIZE))


def cityscapes_instances(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = rng().choice(np.array([7, 23, 24001, 26003], np.uint16), SIZE)
    assert cv2.imwrite(str(path), values)


def vistas_instances(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = rng().choice(np.array([0, 13 * 256 + 2, 55 * 256 + 40], np.uint16), SIZE)
    assert cv2.imwrite(str(path), values)


KINDS = {
    grey: ("index", {0, 7, 26, 255}),
    palette: ("index", {0, 1, 2}),
    one_bit: ("index", {0, 1}),
    grey_in_colour: ("index", {1, 2, 5}),
    colours: ("color", {0, 0x804080, 0x4682B4, 0xFF0000}),
    carla: ("{channel: R}", {1, 4, 10}),
    carla_plain: ("{channel: R}", {1, 4, 10}),
    synthia: ("synthia", {1, 3, 22}),
    cityscapes_instances: ("{divide: 1000}", {7, 23, 24, 26}),
    vistas_instances: ("{divide: 256}", {0, 13, 55}),
}


@pytest.mark.parametrize("write", KINDS, ids=lambda write: write.__name__)
def test_values_are_listed_and_the_draft_is_accepted(tmp_path: Path, write) -> None:
    for number in range(3):
        write(tmp_path / f"sim/masks/{number:03}.png")
        write_image(tmp_path / f"sim/frames/{number:03}.png", number)
    found = label_values(tmp_path / "sim/masks")
    encoding, values = KINDS[write]
    assert found.encoding_text() == encoding
    assert set(found.pixels) == values
    assert sum(found.pixels.values()) == 3 * PIXELS
    assert set(found.images.values()) == {3}
    assert found.problems == ()
    said = write_draft(found, tmp_path / "mine.yaml")
    assert "give its classes names" in said
    checked = check(tmp_path / "mine.yaml", workers=1)
    assert checked.ok, checked.problems
    report = checked.splits[0].report
    assert report is not None
    assert report.images == 3
    assert report.histogram["ignore"].pixels == found.pixels.get(
        (0 if found.colors else 255) if len(values) > 2 else -1, 0
    )


def test_shares_and_files_are_told_per_value(tmp_path: Path) -> None:
    half = np.zeros(SIZE, np.uint8)
    half[: SIZE[0] // 2] = 7
    write_values(tmp_path / "a.png", half)
    write_values(tmp_path / "b.png", np.zeros(SIZE, np.uint8))
    (tmp_path / "._a.png").write_bytes(b"left by a Mac")
    (tmp_path / "notes.txt").write_text("x")
    found = label_values(tmp_path)
    assert found.share(7) == 0.25
    assert dict(found.images) == {0: 2, 7: 1}
    shown = text(found)
    assert "2 labels, encoding index" in shown
    assert "25.00%" in shown
    assert "1 hidden" in shown
    assert "1 .txt" in shown


def test_a_draft_says_shares_and_keeps_a_palette(tmp_path: Path) -> None:
    palette(tmp_path / "labels/train/a.png")
    write_image(tmp_path / "images/train/a.png", 1)
    (tmp_path / "d").mkdir()
    write_draft(label_values(tmp_path / "labels/train"), tmp_path / "d/mine.yaml")
    draft = (tmp_path / "d/mine.yaml").read_text()
    assert 'root: ".."' in draft
    assert 'images: "images/train/*.png"' in draft
    assert "value_1: [200, 0, 0]" in draft
    assert "% of pixels, 1 of 1 files" in draft
    assert check(tmp_path / "d/mine.yaml", workers=1).ok


def test_images_elsewhere_are_asked_for_or_given(tmp_path: Path) -> None:
    grey(tmp_path / "sim/masks/a.png")
    write_image(tmp_path / "photos/deep/a.JPG", 1)
    found = label_values(tmp_path / "sim/masks")
    assert "say where the images are" in write_draft(found, tmp_path / "one.yaml")
    write_draft(found, tmp_path / "two.yaml", tmp_path / "photos/deep")
    assert check(tmp_path / "two.yaml", workers=1).ok
    with pytest.raises(DataError, match="no image with a label's name, such as 'a'"):
        write_draft(found, tmp_path / "three.yaml", tmp_path / "sim")
    with pytest.raises(DataError, match="exists already"):
        write_draft(found, tmp_path / "two.yaml")


def test_what_is_no_label_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        label_values(tmp_path / "nowhere")
    write_image(tmp_path / "photos/a.jpg", 1)
    with pytest.raises(DataError, match=r"no label PNG in .*1 \.jpg"):
        label_values(tmp_path / "photos")
    write_image(tmp_path / "pictures/a.png", 1)
    with pytest.raises(DataError, match="more than 256 different values"):
        label_values(tmp_path / "pictures")
    write_values(tmp_path / "one/a.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(DataError, match="one value"):
        write_draft(label_values(tmp_path / "one"), tmp_path / "one.yaml")
    grey(tmp_path / "some/a.png")
    (tmp_path / "some/b.png").write_bytes(b"no picture")
    found = label_values(tmp_path / "some")
    assert len(found.problems) == 1
    assert "b.png" in text(found)


def text(found: LabelValues) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(found.render())
    return console.export_text()
