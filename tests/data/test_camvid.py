"""CamVid in its two published layouts."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from clan.core.errors import DataError
from clan.data.check import check_dataset
from clan.data.classes import CAMVID, IGNORE
from clan.data.datasets import open_dataset
from tests.conftest import SIZE, write_image, write_values

# a few of the 32 colours of the original labels, and what they count as
COLORS = {
    (128, 128, 128): "sky",
    (64, 192, 0): "building",
    (0, 0, 64): "pole",
    (192, 0, 64): "road",
    (0, 0, 192): "pavement",
    (192, 192, 0): "tree",
    (0, 64, 64): "sign",
    (64, 64, 128): "fence",
    (192, 128, 192): "car",
    (64, 128, 64): "pedestrian",
    (192, 0, 192): "bicyclist",
    (0, 0, 0): "ignore",
}
FRAMES = ("0001TP_006690", "0016E5_07959", "0001TP_008550", "Seq05VD_f05100")


def listed(split: str) -> list[str]:
    text = files("clan.data").joinpath("builtin", f"camvid-{split}.txt").read_text(encoding="utf-8")
    return text.split()


def write_original(root: Path, frames: tuple[str, ...] = FRAMES) -> np.ndarray:
    """Write colour labels that all hold the same picture; return it as indices into COLORS."""
    picture = np.random.default_rng(0).integers(0, len(COLORS), SIZE)
    for seed, frame in enumerate(frames):
        write_image(root / f"701_StillsRaw_full/{frame}.png", seed)
        path = root / f"LabeledApproved_full/{frame}_L.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.array(list(COLORS), np.uint8)[picture]).save(path)
    return picture


def test_the_original_layout(tmp_path: Path) -> None:
    picture = write_original(tmp_path)
    dataset = open_dataset("camvid", root=tmp_path, split="all")
    assert [item.name for item in dataset.items] == sorted(FRAMES)
    assert dataset.classes == CAMVID
    names = [*COLORS.values()]
    expected = np.array([IGNORE if n == "ignore" else CAMVID.index(n) for n in names])[picture]
    image, label = dataset.read(0)
    assert image.shape == (*SIZE, 3)
    assert label is not None
    assert (label == expected).all()
    assert check_dataset(dataset).problems == ()


def test_the_splits_part_all_701_frames(tmp_path: Path) -> None:
    splits = {name: listed(name) for name in ("train", "val", "test")}
    assert {name: len(lines) for name, lines in splits.items()} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    frames = tuple(frame for lines in splits.values() for frame in lines)
    assert len(set(frames)) == 701
    for frame in frames:
        for path in (
            tmp_path / f"701_StillsRaw_full/{frame}.png",
            tmp_path / f"LabeledApproved_full/{frame}_L.png",
        ):
            path.parent.mkdir(exist_ok=True)
            path.touch()
    for name, lines in splits.items():
        dataset = open_dataset("camvid", root=tmp_path, split=name)
        assert [item.name for item in dataset.items] == lines
        assert dataset.labelled
    assert len(open_dataset("camvid", root=tmp_path, split="all")) == 701


def test_colors_that_resizing_mixed(tmp_path: Path) -> None:
    write_original(tmp_path, FRAMES[:1])
    path = tmp_path / f"LabeledApproved_full/{FRAMES[0]}_L.png"
    picture = cv2.imread(str(path))
    assert picture is not None
    cv2.imwrite(str(path), cv2.resize(picture, (SIZE[1] - 8, SIZE[0] - 8)))
    dataset = open_dataset("camvid", root=tmp_path, split="all")
    (problem, *others) = check_dataset(dataset).problems
    assert "label colours outside the map" in str(problem)
    assert "the map lists 32 colours" in str(problem)
    assert "16x32 (height x width), but its image" in str(others[0])
    with pytest.raises(DataError, match=r"_L.png: label colours outside the map: \d+ \d+ \d+ \("):
        dataset.read_label(0)


def test_the_layout_of_segnet(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_image(tmp_path / split / "0001TP_006690.png", 0)
        values = np.arange(12, dtype=np.uint8).reshape(3, 4).repeat(8, 0).repeat(10, 1)
        write_values(tmp_path / f"{split}annot/0001TP_006690.png", values)
    for split in ("train", "val", "test"):
        dataset = open_dataset("camvid-segnet", root=tmp_path, split=split)
        label = dataset.read_label(0)
        assert label[::8, ::10].ravel().tolist() == [*range(11), IGNORE]
