from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clan.core.console import Console
from clan.core.errors import DataError
from clan.data.check import CheckReport, ClassCount, check_dataset
from clan.data.datasets import open_dataset
from tests.conftest import SIZE, write_camvid, write_gta5, write_image, write_values

PIXELS = SIZE[0] * SIZE[1]


def text(report: CheckReport) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report.render())
    return console.export_text()


def test_sound_data_set(tmp_path: Path) -> None:
    file = write_camvid(tmp_path, train=2)
    write_values(tmp_path / "labels/train/f000.png", np.zeros(SIZE, np.uint8))
    half = np.full(SIZE, 3, np.uint8)
    half[:12] = 11
    write_values(tmp_path / "labels/train/f001.png", half)
    done: list[int] = []
    report = check_dataset(open_dataset(str(file)), on_item=done.append)
    assert done == [1, 2]
    assert [str(problem) for problem in report.problems] == [
        "class 'building' has no pixel in any label: it can be neither learnt nor scored (masks of "
        "0 and 255? 255 is ignored unless `labels: map` gives it a class); correct `labels: map`, "
        "or declare it by `absent: [building]` in the split"
    ]
    file.write_text(file.read_text().replace("*.png}", "*.png, absent: [building]}"))
    report = check_dataset(open_dataset(str(file)))
    assert report.problems == ()
    assert report.sizes == {SIZE: 2}
    assert report.histogram == {
        "sky": ClassCount(PIXELS, 1),
        "building": ClassCount(0, 0),
        "road": ClassCount(PIXELS // 2, 1),
        "ignore": ClassCount(PIXELS // 2, 1),
    }
    shown = text(report)
    assert "mini-camvid, split train: 2 images, labelled" in shown
    assert "no problems" in shown
    assert "50.00%" in shown


@pytest.mark.parametrize("workers", [0, 2])
def test_every_problem_is_listed(tmp_path: Path, workers: int) -> None:
    file = write_camvid(tmp_path, train=6)
    images, labels = tmp_path / "images/train", tmp_path / "labels/train"
    (images / "f000.jpg").write_bytes((images / "f000.jpg").read_bytes()[:300])
    (labels / "f000.png").write_bytes(b"no image")
    write_image(images / "f002.jpg", 0, (20, 40))
    wrong = np.zeros(SIZE, np.uint8)
    wrong[0, :3], wrong[1, 0] = 2, 77
    write_values(labels / "f003.png", wrong)
    (images / "f005.jpg").write_bytes(b"")
    report = check_dataset(open_dataset(str(file)), workers)
    assert len(report.problems) == 6
    for problem, (path, what) in zip(
        report.problems,
        [
            (images / "f000.jpg", "truncated image"),
            (labels / "f000.png", "must be a PNG"),
            (labels / "f002.png", "24x40 (height x width), but its image"),
            (labels / "f003.png", "raw value 2 (3 pixels) is not in the map"),
            (labels / "f003.png", "raw value 77 (1 pixel) is not in the map"),
            (images / "f005.jpg", "the file is empty"),
        ],
        strict=True,
    ):
        assert str(problem).startswith(f"{path}: ")
        assert what in str(problem)
    assert report.sizes == {SIZE: 3, (20, 40): 1}
    # f000 is unreadable; the four pixels outside the map are no class and not ignore
    assert sum(count.pixels for count in report.histogram.values()) == 5 * PIXELS - 4
    assert report.histogram["sky"].images == 5
    assert "6 problems" in text(report)


def test_long_reports_are_one_line_per_kind(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"{i:02}.png").write_bytes(b"")
        (tmp_path / f"{i:02}.jpg").write_bytes(b"\xff\xd8" + b"\xff" * i)
    report = check_dataset(open_dataset(str(tmp_path)))
    assert len(report.problems) == 120
    assert report.histogram == report.sizes == {}
    shown = text(report)
    assert f"the file is empty: 60 files, first {tmp_path / '00.png'}" in shown
    assert "truncated image (2 bytes); copy or extract it again: 60 files" in shown
    assert "120 images, unlabelled" in shown
    # one for empty files and one for truncated ones: what has to be mended, not how often
    assert "2 problems" in shown
    assert shown.count("\n") < 12


def test_a_value_outside_the_map_is_said_once(tmp_path: Path) -> None:
    file = write_camvid(tmp_path, train=6)
    label = np.full(SIZE, 3, np.uint8)
    label[0], label[1] = 15, 16
    for i in range(4):
        write_values(tmp_path / f"labels/train/f{i:03}.png", label)
    report = check_dataset(open_dataset(str(file)))
    assert len(report.problems) == 8
    first = tmp_path / "labels/train/f000.png"
    assert "\n2 problems\n" in text(report)
    for value in (15, 16):
        line = f"raw value {value} is not in the map (`labels: map`): 4 files (160 pixels), first"
        assert f"{line} {first}" in text(report)
    for i in range(3):
        write_image(tmp_path / f"images/train/f{i:03}.jpg", 0, (20 + i, 40))
    shown = text(check_dataset(open_dataset(str(file))))
    assert shown.count("(height x width), but its image") == 1
    assert f": 3 files, first {first}" in shown.replace("first \n", "first ")


def test_masks_of_0_and_255_without_a_map(tmp_path: Path) -> None:
    write_image(tmp_path / "i/a.png", 0)
    mask = np.zeros(SIZE, np.uint8)
    mask[:4] = 255
    write_values(tmp_path / "l/a.png", mask)
    (tmp_path / "d.yaml").write_text(
        "classes: {classes: {rest: [0, 0, 0], road: [9, 9, 9]}}\n"
        "splits: {train: {images: i/*.png, labels: l/*.png}}"
    )
    report = check_dataset(open_dataset(str(tmp_path / "d.yaml")))
    assert "1 problem" in text(report).splitlines()
    assert "class 'road' has no pixel" in text(report)
    assert "masks of 0 and 255?" in text(report)


def test_what_should_be_known_is_no_problem(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 3
    (tmp_path / "i").mkdir()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "i/a.jpg", exif=tags)
    (tmp_path / "i/b.heic").write_bytes(b"x")
    mask = np.zeros(SIZE, np.uint8)
    mask[:4] = 1
    # an order of colours that is not the classes'
    write_values(tmp_path / "l/a.png", mask, [9, 9, 9, 0, 0, 0])
    (tmp_path / "d.yaml").write_text(
        "classes: {classes: {rest: [0, 0, 0], road: [9, 9, 9]}}\n"
        "splits: {train: {images: i/*.jpg, labels: l/*.png}}"
    )
    report = check_dataset(open_dataset(str(tmp_path / "d.yaml")))
    assert report.problems == ()
    shown = text(report)
    assert "note: EXIF orientation 3, and the label fits the photograph as it is shown and" in shown
    assert "note: palette index 0 is 'rest' to the map, but has the colour of 'road'" in shown
    assert "no problems" in shown
    folder = check_dataset(open_dataset(str(tmp_path / "i")))
    assert "note: left out: 1 .heic (cannot be read" in text(folder)


def test_colours_that_are_taken_for_the_nearest_are_counted(tmp_path: Path) -> None:
    write_image(tmp_path / "i/a.png", 0)
    colors = np.zeros((*SIZE, 3), np.uint8)
    colors[:4] = 10
    (tmp_path / "l").mkdir()
    Image.fromarray(colors).save(tmp_path / "l/a.png")
    (tmp_path / "d.yaml").write_text(
        "classes: {classes: {rest: [0, 0, 0], road: [9, 9, 9]}}\n"
        "splits: {train: {images: i/*.png, labels: l/*.png}}\n"
        "labels: {encoding: color, tolerance: 1}"
    )
    report = check_dataset(open_dataset(str(tmp_path / "d.yaml")))
    assert report.problems == ()
    assert f"1 file ({4 * SIZE[1]} pixels), first" in text(report)


def test_a_size_that_the_data_set_allows_is_no_problem(tmp_path: Path) -> None:
    write_gta5(tmp_path)
    write_image(tmp_path / "images/00002.png", 0, (30, 50))
    report = check_dataset(open_dataset("gta5", root=tmp_path))
    assert all("has no pixel in any label" in str(problem) for problem in report.problems)
    assert report.sizes == {SIZE: 2, (30, 50): 1}


def test_street_sim(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{i:05}\n" for i in range(20)))
    (tmp_path / "sim.yaml").write_text(
        f"root: {shared_data / 'street-sim'}\nclasses: cityscapes\nsplits: {{train: {{"
        f"images: images/*.jpg, labels: labels/*.png, list: {tmp_path / 'list.txt'}}}}}"
    )
    report = check_dataset(open_dataset(str(tmp_path / "sim.yaml")))
    assert all("has no pixel in any label" in str(problem) for problem in report.problems)
    assert report.sizes == {(270, 480): 20}
    assert report.histogram["road"].images == 20
    assert report.histogram["ignore"].pixels == 0


def test_files_without_a_partner_are_named_and_all_others_read(tmp_path: Path) -> None:
    """One missing label must not hide what is wrong with the other files."""
    camvid_file, root = write_camvid(tmp_path), tmp_path
    label = sorted((root / "labels").rglob("*.png"))[0]
    image = next(p for p in (root / "images").rglob("*") if p.stem == label.stem)
    label.unlink()
    others = open_dataset(str(camvid_file), unpaired="report")
    report = check_dataset(others)
    assert any(
        str(image) in str(problem) and "no label" in str(problem) for problem in report.problems
    )
    assert report.images == len(others) > 0
    assert sum(report.sizes.values()) == report.images
    with pytest.raises(DataError, match="1 image without a label"):
        open_dataset(str(camvid_file))
