from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clan.core.errors import DataError
from clan.data.classes import CITYSCAPES, IGNORE, NO_CLASSES, class_set
from clan.data.datasets import open_dataset
from tests.conftest import (
    SIZE,
    write_camvid,
    write_cityscapes,
    write_gta5,
    write_image,
    write_synthia,
    write_values,
)

MINI = class_set({"classes": {"sky": [0, 0, 0], "building": [1, 1, 1], "road": [2, 2, 2]}})


def test_gta5(gta5_root: Path) -> None:
    dataset = open_dataset("gta5", root=gta5_root)
    assert [item.name for item in dataset.items] == ["00001", "00002", "00003"]
    assert dataset.classes == CITYSCAPES
    assert dataset.labelled
    raw = np.asarray(Image.open(gta5_root / "labels/00002.png"))
    label = dataset.read_label(1)
    for value, train_id in {0: IGNORE, 7: 0, 8: 1, 11: 2, 26: 13, 34: IGNORE}.items():
        assert (raw == value).any()
        assert (label[raw == value] == train_id).all()


def test_gta5_image_takes_the_size_of_its_label(tmp_path: Path) -> None:
    write_gta5(tmp_path)
    write_image(tmp_path / "images/00002.png", 0, (SIZE[0] + 6, SIZE[1] + 10))
    dataset = open_dataset("gta5", root=tmp_path)
    assert dataset.read_image(1).shape == (*SIZE, 3)
    image, label = dataset.read(1)
    assert label is not None
    assert image.shape[:2] == label.shape == dataset.read_label(1).shape == SIZE
    assert (image == dataset.read_image(1)).all()


def test_synthia(synthia_root: Path) -> None:
    dataset = open_dataset("synthia", root=str(synthia_root))
    assert len(dataset) == 3
    label = dataset.read_label(0)
    # 0 void, 1 sky, 3 road, 8 car, 22 lane marking
    assert set(np.unique(label)) == {0, 10, 13, IGNORE}
    expected = np.random.default_rng(0).choice(np.array([IGNORE, 10, 0, 13, IGNORE]), SIZE)
    assert (label == expected).all()


def test_cityscapes(cityscapes_root: Path) -> None:
    train = open_dataset("cityscapes", root=cityscapes_root)
    assert [item.name for item in train.items] == [
        "aachen/aachen_000000_000019",
        "aachen/aachen_000001_000019",
        "bremen/bremen_000000_000019",
    ]
    for item in train.items:
        assert item.label is not None
        assert item.label.name == item.image.name.replace("leftImg8bit", "gtFine_labelIds")
    assert set(np.unique(train.read_label(2))) == {0, 11, 18, IGNORE}
    assert len(open_dataset("cityscapes", root=cityscapes_root, split="val")) == 2


def test_described(camvid_file: Path) -> None:
    dataset = open_dataset(str(camvid_file), split="val")
    assert (dataset.name, dataset.split, len(dataset)) == ("mini-camvid", "val", 5)
    assert dataset.classes.names == ("sky", "building", "road")
    image, label = dataset.read(3)
    assert image.shape == (*SIZE, 3)
    assert label is not None
    assert (label == dataset.read_label(3)).all()
    assert set(np.unique(label)) == {0, 1, 2, IGNORE}
    assert pickle.loads(pickle.dumps(dataset)).items == dataset.items


def test_root_of_the_run_wins(tmp_path: Path) -> None:
    file = write_camvid(tmp_path / "a", train=2)
    other = write_camvid(tmp_path / "b", train=4).parent
    assert len(open_dataset(str(file))) == 2
    assert len(open_dataset(str(file), root=other)) == 4
    file.write_text(file.read_text() + "root: ../b\n")
    assert len(open_dataset(str(file))) == 4
    assert len(open_dataset(str(file), root=tmp_path / "a")) == 2


def test_labels_are_not_looked_for(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path)
    next(root.glob("gtFine/train/aachen/*labelIds.png")).unlink()
    dataset = open_dataset("cityscapes", root=root, labels=False)
    assert len(dataset) == 3
    assert not dataset.labelled
    assert dataset.read(0)[1] is None
    with pytest.raises(DataError, match="has no label: split 'train' of 'cityscapes'"):
        dataset.read_label(0)


def test_no_label_at_all_is_an_unlabelled_split(tmp_path: Path) -> None:
    file = write_camvid(tmp_path)
    for path in tmp_path.glob("labels/train/*"):
        path.unlink()
    assert not open_dataset(str(file)).labelled
    assert open_dataset(str(file), split="val").labelled


def test_folder(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "sub/c.webp", "sub/deep/d.jpeg", "same.png", "same.bmp"):
        write_image(tmp_path / name, 0)
    write_image(tmp_path / ".hidden/x.png", 0)
    (tmp_path / "._a.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    dataset = open_dataset(str(tmp_path))
    names = [item.name for item in dataset.items]
    assert names == ["a", "b", "same.bmp", "same.png", "sub/c", "sub/deep/d"]
    assert not dataset.labelled
    assert dataset.classes == NO_CLASSES
    assert open_dataset(tmp_path.name, root=tmp_path.parent, classes=MINI).classes == MINI


@pytest.mark.parametrize("lines", ["f002\nf000\n", "images/train/f002.jpg\n\n./f000.jpg"])
def test_list_file(tmp_path: Path, lines: str) -> None:
    file = write_camvid(tmp_path)
    text = file.read_text().replace("*.png}", "*.png, list: train.txt}", 1)
    file.write_text(text)
    (tmp_path / "train.txt").write_text(lines)
    dataset = open_dataset(str(file))
    assert [item.name for item in dataset.items] == ["f002", "f000"]
    assert dataset.labelled


def test_list_beside_the_description(tmp_path: Path) -> None:
    root = write_camvid(tmp_path / "root").parent
    (tmp_path / "d.yaml").write_text(
        "classes: cityscapes\nroot: root\n"
        "splits: {train: {images: images/train/*.jpg, list: l.txt}}"
    )
    (tmp_path / "l.txt").write_text("f003\n")
    assert [item.name for item in open_dataset(str(tmp_path / "d.yaml")).items] == ["f003"]
    (root / "l.txt").write_text("f001\n")  # the data set's own comes first
    assert [item.name for item in open_dataset(str(tmp_path / "d.yaml")).items] == ["f001"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("f000\nf0001\n", r"train.txt: 1 line names no image .*line 2: f0001.*did you mean 'f001'"),
        ("f000\nf000.jpg\n", r"train.txt:2: 'f000.jpg' is already on line 1"),
        ("\n\n", "the list names no image"),
        (None, "the list cannot be read"),
    ],
)
def test_bad_list_file(tmp_path: Path, lines: str | None, message: str) -> None:
    file = write_camvid(tmp_path)
    file.write_text(file.read_text().replace("*.png}", "*.png, list: train.txt}", 1))
    if lines is not None:
        (tmp_path / "train.txt").write_text(lines)
    with pytest.raises(DataError, match=message):
        open_dataset(str(file))


def test_ambiguous_list_line(tmp_path: Path) -> None:
    for city in ("a", "b"):
        write_image(tmp_path / city / "x.png", 0)
    (tmp_path / "d.yaml").write_text(
        "classes: cityscapes\nsplits: {train: {images: '*/*.png', list: l.txt}}"
    )
    (tmp_path / "l.txt").write_text("a/x.png\n")
    assert len(open_dataset(str(tmp_path / "d.yaml"))) == 1
    (tmp_path / "l.txt").write_text("x.png\n")
    with pytest.raises(DataError, match=r"l.txt:1: 'x.png' fits 2 images.*write more of the path"):
        open_dataset(str(tmp_path / "d.yaml"))


def test_list_makes_other_files_irrelevant(tmp_path: Path) -> None:
    file = write_camvid(tmp_path)
    file.write_text(file.read_text().replace("*.png}", "*.png, list: train.txt}", 1))
    (tmp_path / "train.txt").write_text("f000\nf001\n")
    (tmp_path / "images/train/f003.jpg").unlink()
    (tmp_path / "labels/train/f004.png").unlink()
    assert len(open_dataset(str(file))) == 2
    (tmp_path / "labels/train/f001.png").unlink()
    with pytest.raises(DataError, match=r"1 image without a label \(of 2\): images/train/f001"):
        open_dataset(str(file))


def test_images_without_labels_and_labels_without_images(tmp_path: Path) -> None:
    file = write_camvid(tmp_path)
    for i in range(4):
        (tmp_path / f"labels/train/f{i:03}.png").unlink()
    (tmp_path / "images/train/f006.jpg").unlink()
    with pytest.raises(DataError) as error:
        open_dataset(str(file))
    message = str(error.value)
    assert "data set 'mini-camvid', split 'train'" in message
    assert "4 images without a label (of 6): images/train/f000.jpg" in message
    assert "images/train/f002.jpg, ..." in message
    assert "1 label without an image (of 3): labels/train/f006.png" in message


def test_labels_whose_images_are_missing(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path)
    for path in root.glob("leftImg8bit/val/*/*"):
        path.unlink()
    with pytest.raises(DataError, match=r"2 labels are there without images: gtFine/val/ulm/"):
        open_dataset("cityscapes", root=root, split="val")


@pytest.mark.parametrize(
    ("dataset", "root", "split", "message"),
    [
        ("gta5", None, "train", "'gta5' needs a root"),
        ("gta", None, "train", "neither a built-in data set.*did you mean 'gta5'"),
        ("photos.yaml", None, "train", "no data set description at photos.yaml"),
        ("gta5", "absent", "train", "the folder absent does not exist"),
        ("gta5", "absent", "val", "'gta5' has no split 'val'; valid: train"),
        ("cityscapes", "absent", "trian", "has no split 'trian'; did you mean 'train'"),
    ],
)
def test_unknown_names(dataset: str, root: str | None, split: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(dataset, root=root, split=split)


def test_missing_and_empty_folders(tmp_path: Path, camvid_file: Path) -> None:
    with pytest.raises(DataError, match=r"no image .*; the folder .* is empty"):
        open_dataset(str(tmp_path))
    with pytest.raises(DataError, match=r"no image images/\*.png in .* is empty"):
        open_dataset("gta5", root=tmp_path)
    (tmp_path / "readme.md").write_text("x")
    with pytest.raises(DataError, match=r"no image \(.*.bmp, .*\) in .*holds readme.md"):
        open_dataset(str(tmp_path))
    with pytest.raises(DataError, match="is a file; expected a description"):
        open_dataset(str(tmp_path / "readme.md"))
    with pytest.raises(DataError, match=r"readme.md is a file, not a folder"):
        open_dataset("gta5", root=tmp_path / "readme.md")
    with pytest.raises(DataError, match=r"no image RGB/\*.png in .* holds camvid.yaml, images, "):
        open_dataset("synthia", root=camvid_file.parent)


def test_a_root_one_folder_off(tmp_path: Path) -> None:
    right = write_synthia(tmp_path / "RAND_CITYSCAPES")
    for root in (tmp_path, right / "RGB"):
        with pytest.raises(DataError) as error:
            open_dataset("synthia", root=root)
        assert f"no image RGB/*.png in {root}; {root} holds" in str(error.value)
        assert str(error.value).endswith(f"{right} has such images: make it the root")


def test_labels_that_are_missing_as_a_whole(tmp_path: Path) -> None:
    root = write_gta5(tmp_path)
    assert open_dataset("gta5", root=root).sought == ""
    assert open_dataset("gta5", root=root, labels=False).sought == ""
    (root / "labels").rename(root / "masks")
    dataset = open_dataset("gta5", root=root)
    assert not dataset.labelled
    assert f"looked for labels/*.png in {root}; {root} holds images, masks" in dataset.sought


def test_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gta5(tmp_path)

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse)  # root may read everything
    with pytest.raises(DataError, match=r"images: the folder cannot be read \(Permission denied"):
        open_dataset("gta5", root=tmp_path)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied"):
        open_dataset(str(tmp_path))


def test_another_class_set_is_refused(camvid_file: Path) -> None:
    assert open_dataset(str(camvid_file), classes=MINI)  # names and order agree
    with pytest.raises(DataError, match=r"classes are those of 'mini'.*expected.*'cityscapes'"):
        open_dataset(str(camvid_file), classes=CITYSCAPES)


def test_sizes_that_differ(tmp_path: Path) -> None:
    file = write_camvid(tmp_path)
    write_image(tmp_path / "images/train/f001.jpg", 0, (30, 40))
    dataset = open_dataset(str(file))
    for read in (dataset.read, dataset.read_label):
        with pytest.raises(DataError, match=r"f001.png: 24x40 .*f001.jpg is 30x40") as error:
            read(1)
        assert "size_mismatch: resize_image" in str(error.value)


def test_values_outside_the_map(tmp_path: Path) -> None:
    file = write_camvid(tmp_path)
    write_values(tmp_path / "labels/train/f000.png", np.full(SIZE, 2, np.uint8))
    with pytest.raises(DataError, match=r"f000.png: .*2 \(960 pixels\); the map lists 0-1, 3, 11"):
        open_dataset(str(file)).read_label(0)


def test_synthia_labels_that_lost_their_bits(tmp_path: Path) -> None:
    write_synthia(tmp_path)
    path = tmp_path / "GT/LABELS/0000000.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(DataError, match=r"0000000.png: an 8-bit RGB colour PNG.*Pillow does"):
        open_dataset("synthia", root=tmp_path).read_label(0)


@pytest.mark.parametrize("split", ["train", "val"])
def test_cityscapes_sample(shared_data: Path, split: str) -> None:
    root = shared_data / "cityscapes-sample"
    if split == "val":
        with pytest.raises(DataError, match="3 labels are there without images"):
            open_dataset("cityscapes", root=root, split=split)
        return
    image, label = open_dataset("cityscapes", root=root, split=split).read(0)
    assert label is not None
    assert image.shape == (*label.shape, 3) == (1024, 2048, 3)
    assert set(np.unique(label)) <= {*range(19), IGNORE}
    assert (label == 0).mean() > 0.1  # road
