from __future__ import annotations

from pathlib import Path

import pytest

from clan.core.errors import DataError
from clan.data.datasets import open_dataset
from clan.data.listing import find
from tests.conftest import CAMVID, write_camvid

VALUES = "{0: sky, 1: building, 3: road, 11: ignore}"
COLORS = "  encoding: color\n  map: {{1 2 3: sky, 0 0 0: ignore, {}}}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("splits:", "split:", "split: unknown key; did you mean 'splits'"),
        ("images: images/val", "image: images/val", "splits.val.image: unknown key; .*'images'"),
        ("  map:", "  mapp: {}\n  map:", "labels.mapp: unknown key; did you mean 'map'"),
        (
            "labels:\n",
            "labels:\n  encoding: rgb\n",
            "labels.encoding: .*'index', 'color' or 'synthia'",
        ),
        ("3: road", "3: raod", "3 is mapped to 'raod'.*did you mean 'road'"),
        ("3: road", "3: no", "labels.map: the class of raw value 3 is False"),
        ("3: road", "x: road", "labels.map: raw value 'x' is not a whole number"),
        ("3: road", "0: road", "key 0 appears twice"),
        ("3: road", "70000: road", "raw value 70000 is not a whole number in 0..65535"),
        ("{0: sky", "identiti\n#", "unknown map 'identiti'; did you mean 'identity'"),
        ("{0: sky", "[sky]\n#", "labels.map: expected raw values and class names"),
        ("map: {0: sky", "map: {0 0 0: sky", "raw value '0 0 0' is not .*need `encoding: color`"),
        ("  map: {0: sky", "  encoding: color\n  map: {0: sky", "labels.map: 0 is no colour"),
        (f"  map: {VALUES}", COLORS.format("0 0 256: sky"), "'0 0 256' is no colour; expected red"),
        (f"  map: {VALUES}", COLORS.format('"0, 0,0": sky'), "colour '0, 0,0' appears twice"),
        (f"  map: {VALUES}", COLORS.format("1 1 1: sgy"), "'1 1 1' is mapped to 'sgy'.*mean 'sky'"),
        (f"  map: {VALUES}", "  encoding: color\n  map: synthia-ids", "unknown map 'synthia-ids'"),
        ("name: mini-camvid", "name: [1]", r"name: Input should be a valid string, found \[1\]"),
        (
            "*.jpg",
            "**.jpg",
            r"splits.train.images: 'images/train/\*\*.jpg': `\*\*` must stand alone",
        ),
        ("images/train", "/images/train", "patterns stay below the root"),
        ("images/train", "*/train", r"camvid.yaml:6:20 .*begins with \* in quotes"),
        ("images/train", "imag*/train", "must have the same number of wildcards"),
        ("name: mini-camvid", "size_mismatch: resize", "size_mismatch: .*'resize_image'"),
        ("building: [128, 0, 0]", "building: [128, 0]", "camvid.yaml: .*colour of 'building'"),
    ],
)
def test_bad_descriptions(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CAMVID
    file = write_camvid(tmp_path, train=1, val=1)
    file.write_text(CAMVID.replace(old, new, 1))
    with pytest.raises(DataError, match=message) as error:
        open_dataset(str(file))
    assert str(file) in str(error.value)


def test_missing_keys(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("splits: {train: {labels: x.png}}")
    with pytest.raises(DataError) as error:
        open_dataset(str(tmp_path / "d.yaml"))
    assert "classes: missing" in str(error.value)
    assert "splits.train.images: missing" in str(error.value)


def test_unreadable_description(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"d.yaml cannot be read as a YAML file"):
        open_dataset(str(tmp_path / "d.yaml"))


def test_defaults(tmp_path: Path) -> None:
    file = write_camvid(tmp_path)
    (tmp_path / "classes.yaml").write_text("classes: {a: [0, 0, 0], b: [1, 1, 1]}")
    file.write_text(
        "classes: classes.yaml\nsplits: {all: {images: images/*/*.jpg, labels: labels/*/*.png}}"
    )
    dataset = open_dataset(str(file), split="all")
    assert dataset.name == "camvid"
    assert [dataset.items[i].name for i in (0, 11)] == ["train/f000", "val/f004"]
    assert dataset.classes.name == "classes"
    with pytest.raises(DataError, match=r"the map lists 0-1, 255"):  # the identity map
        dataset.read_label(0)


def test_wildcards(tmp_path: Path) -> None:
    for name in ("a_1_x.png", "b_2_x.png", "._a_1_x.png", "a_1_x.jpg", "c+1_x.png"):
        (tmp_path / "in" / "one").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "one" / name).touch()
    (tmp_path / "in" / "file").touch()
    (tmp_path / "in" / "one" / "d_9_x.png").mkdir()
    found = find(tmp_path, "in/*/*_*_x.png")
    assert found == {
        ("one", "a", "1"): str(tmp_path / "in/one/a_1_x.png"),
        ("one", "b", "2"): str(tmp_path / "in/one/b_2_x.png"),
    }
    assert list(find(tmp_path, "in/one/c+1_x.png")) == [()]
    assert find(tmp_path, "absent/*.png") == find(tmp_path, "in/absent.png") == {}
