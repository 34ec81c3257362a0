from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

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
    assert len(report.problems) == 5
    for problem, (path, what) in zip(
        report.problems,
        [
            (images / "f000.jpg", "truncated image"),
            (labels / "f000.png", "must be a PNG"),
            (labels / "f002.png", "24x40 (height x width), but its image"),
            (labels / "f003.png", "2 (3 pixels), 77 (1 pixel)"),
            (images / "f005.jpg", "the file is empty"),
        ],
        strict=True,
    ):
        assert problem.startswith(f"{path}: ")
        assert what in problem
    assert report.sizes == {SIZE: 3, (20, 40): 1}
    # f000 is unreadable; the four pixels outside the map are no class and not ignore
    assert sum(count.pixels for count in report.histogram.values()) == 5 * PIXELS - 4
    assert report.histogram["sky"].images == 5
    assert "5 problems" in text(report)


def test_long_reports_are_cut(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"{i}.png").write_bytes(b"")
    report = check_dataset(open_dataset(str(tmp_path)))
    assert len(report.problems) == 60
    assert report.histogram == report.sizes == {}
    assert "... and 10 more" in text(report)
    assert "60 images, unlabelled" in text(report)


def test_a_size_that_the_data_set_allows_is_no_problem(tmp_path: Path) -> None:
    write_gta5(tmp_path)
    write_image(tmp_path / "images/00002.png", 0, (30, 50))
    report = check_dataset(open_dataset("gta5", root=tmp_path))
    assert report.problems == ()
    assert report.sizes == {SIZE: 2, (30, 50): 1}


def test_street_sim(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{i:05}\n" for i in range(20)))
    (tmp_path / "sim.yaml").write_text(
        f"root: {shared_data / 'street-sim'}\nclasses: cityscapes\nsplits: {{train: {{"
        f"images: images/*.jpg, labels: labels/*.png, list: {tmp_path / 'list.txt'}}}}}"
    )
    report = check_dataset(open_dataset(str(tmp_path / "sim.yaml")))
    assert report.problems == ()
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
    assert any(str(image) in problem and "no label" in problem for problem in report.problems)
    assert report.images == len(others) > 0
    assert sum(report.sizes.values()) == report.images
    with pytest.raises(DataError, match="1 image without a label"):
        open_dataset(str(camvid_file))
