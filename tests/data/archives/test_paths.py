"""A data set in an archive is the same data set: items, pixels, batches, messages."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from clan.core.errors import DataError
from clan.data.archives.paths import ArchivePath, below, is_archive, locate
from clan.data.cache import open_cache
from clan.data.check import check_dataset
from clan.data.datasets import Dataset, open_dataset
from clan.data.images import image_size, read_image
from clan.data.loading import training_loader
from clan.data.views import ViewOptions
from tests.conftest import write_camvid, write_cityscapes
from tests.data.archives.conftest import index_tar, tar_folder, zip_folder

KINDS = ("zip", "deflated.zip", "tar")


def batches(dataset: Dataset, workers: int = 0, cache: str = "none") -> list[dict[str, object]]:
    view = ViewOptions(size=(16, 24), flip=0.5, jitter=0.2)
    kept = open_cache(dataset, view, cache, 1)
    loader = training_loader(
        dataset,
        view,
        seed=3,
        stream=0,
        batch_size=2,
        start_step=5,
        stop_step=11,
        workers=workers,
        cache=kept,
    )
    return list(loader)


def assert_equal_batches(found: list, expected: list) -> None:
    assert len(found) == len(expected) > 0
    for one, two in zip(found, expected, strict=True):
        assert one["name"] == two["name"]
        assert torch.equal(one["image"], two["image"])
        assert torch.equal(one["label"], two["label"])


@pytest.mark.parametrize("kind", KINDS)
def test_items_and_pixels_are_those_of_the_folder(camvid: Path, archived, kind: str) -> None:
    plain = open_dataset(str(camvid), split="val")
    packed = open_dataset(str(camvid), root=archived(kind), split="val")
    assert [item.name for item in packed.items] == [item.name for item in plain.items]
    assert packed.items[0].image.name == plain.items[0].image.name
    assert str(packed.items[0].label) == str(archived(kind) / "labels/val/f000.png")
    for i in range(len(plain)):
        for one, two in zip(packed.read(i), plain.read(i), strict=True):
            assert np.array_equal(one, two)
        assert packed.image_size(i) == plain.image_size(i)
        assert np.array_equal(packed.read_label(i), plain.read_label(i))
    assert len(packed.items[1:3]) == 2
    assert packed.items[1:3][0].image == packed.items[1].image


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_bit_identical_with_workers_and_caches(
    camvid: Path, archived, tmp_path: Path, kind: str, workers: int
) -> None:
    expected = batches(open_dataset(str(camvid)))
    packed = open_dataset(str(camvid), root=archived(kind))
    assert_equal_batches(batches(packed, workers), expected)
    for cache in ("memory", str(tmp_path / "kept"), str(tmp_path / "kept")):
        assert_equal_batches(batches(packed, workers, cache), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_handles_are_opened_anew_in_forked_and_spawned_processes(camvid: Path, archived) -> None:
    packed = open_dataset(str(camvid), root=archived("zip"))
    expected = packed.read(0)[0].sum()  # the file is open now
    for way in ("fork", "spawn"):
        with multiprocessing.get_context(way).Pool(1) as pool:
            assert pool.apply(_sum, (packed,)) == expected
    copy = pickle.loads(pickle.dumps(packed))
    assert copy.items[0].image.archive.file._file is None
    assert copy.read(0)[0].sum() == expected


def _sum(dataset: Dataset) -> int:
    total = dataset.read(0)[0].sum()
    process, _ = dataset.items[0].image.archive.file._file
    assert process == os.getpid()
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_reports_the_same(camvid: Path, archived, kind: str) -> None:
    (camvid.parent / "images/train/f003.jpg").write_bytes(b"\xff\xd8 no image")
    place = archived(kind)
    plain = check_dataset(open_dataset(str(camvid)))
    packed = check_dataset(open_dataset(str(camvid), root=place))
    assert packed.histogram == plain.histogram
    folder = str(camvid.parent)
    assert [p.replace(str(place), folder) for p in packed.problems] == list(plain.problems)
    assert len(plain.problems) == 1


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("at", ["inside", "beside"])
def test_a_list_of_members(camvid: Path, archived, kind: str, at: str) -> None:
    root = camvid.parent
    lines = "f004\nimages/train/f001.jpg labels/train/f002.png\n/other/images/train/f000.jpg\n"
    text = camvid.read_text().replace(
        "labels/train/*.png}", "labels/train/*.png, list: some.txt, exclude: 'f006*'}"
    )
    if at == "inside":
        (root / "some.txt").write_text(lines)
        place = archived(kind)
        (root / "some.txt").unlink()
    else:
        place = archived(kind)
        (root / "some.txt").write_text(lines)
    camvid.write_text(text)
    dataset = open_dataset(str(camvid), root=place)
    assert [item.name for item in dataset.items] == ["f004", "f001", "f000"]
    assert str(dataset.items[1].label) == f"{place}/labels/train/f002.png"
    assert np.array_equal(
        read_image(dataset.items[2].image), read_image(root / "images/train/f000.jpg")
    )


def test_the_description_names_the_archive_and_a_folder_in_it(tmp_path: Path) -> None:
    camvid = tmp_path / "download" / "camvid"
    description = write_camvid(camvid)
    zip_folder(tmp_path / "download", tmp_path / "data.zip")
    beside = tmp_path / "mine.yaml"
    beside.write_text(f"root: data.zip/camvid\n{description.read_text()}")
    dataset = open_dataset(str(beside))
    assert len(dataset) == 7
    assert str(dataset.items[0].image) == str(tmp_path / "data.zip/camvid/images/train/f000.jpg")
    with pytest.raises(DataError, match=r"data\.zip/camvid has such images: make it the root"):
        open_dataset(str(beside), root=tmp_path / "data.zip")
    with pytest.raises(DataError, match=r"the folder .*data\.zip/none does not exist"):
        open_dataset(str(beside), root=tmp_path / "data.zip/none")
    for outside in ("../download", "..", "images/../../../etc"):
        with pytest.raises(DataError, match="does not exist"):
            open_dataset(str(beside), root=tmp_path / "data.zip" / outside)
    assert not (locate(tmp_path / "data.zip") / "/etc/hosts").exists()


def test_an_original_layout_in_an_archive(tmp_path: Path) -> None:
    plain = write_cityscapes(tmp_path / "cityscapes")
    packed = tar_folder(plain, tmp_path / "cityscapes.tar")
    one, two = (open_dataset("cityscapes", root=root) for root in (plain, packed))
    assert [item.name for item in one.items] == [item.name for item in two.items]
    assert all(np.array_equal(one.read_label(i), two.read_label(i)) for i in range(len(one)))


def test_an_archive_of_photos_is_a_data_set(camvid: Path, archived) -> None:
    (camvid.parent / "images/.hidden.jpg").write_bytes(b"")
    place = archived("zip")
    plain, packed = open_dataset(str(camvid.parent)), open_dataset(str(place))
    assert [item.name for item in packed.items] == [item.name for item in plain.items]
    assert len(packed) == 24
    assert packed.left_out == plain.left_out == "left out: 1 .yaml, 1 hidden (a dot in front)"
    assert not packed.labelled
    inner = open_dataset(str(place / "images/val"))
    assert [item.name for item in inner.items] == [f"f{i:03}" for i in range(5)]
    relative = open_dataset("camvid.zip", root=place.parent)
    assert len(relative) == 24


def test_unpaired_files_are_named_alike(camvid: Path, archived) -> None:
    (camvid.parent / "labels/train/f001.png").unlink()
    place = archived("zip")
    said = []
    for root in (camvid.parent, place):
        with pytest.raises(DataError) as error:
            open_dataset(str(camvid), root=root)
        said.append(str(error.value).replace(str(root), "ROOT"))
    assert said[0] == said[1]
    assert "1 image without a label (of 7): images/train/f001.jpg" in said[0]
    packed = open_dataset(str(camvid), root=place, unpaired="report")
    assert packed.unpaired == (f"{place}/images/train/f001.jpg: no label belongs to this image",)
    assert len(open_dataset(str(camvid), root=place, labels=False)) == 7


def test_a_header_is_read_without_the_rest(camvid: Path, archived, monkeypatch) -> None:
    root = locate(archived("zip"))
    path = root / "images/train/f000.jpg"
    assert isinstance(path, ArchivePath)
    asked = []
    read = type(path.archive.file).read
    monkeypatch.setattr(type(path.archive.file), "read", lambda *a: asked.append(a[1:]) or read(*a))
    monkeypatch.setattr("clan.data.archives.paths._AHEAD", 256)
    assert image_size(path) == (24, 40)
    assert sum(length for _, length in asked) < len(path.read_bytes())
    with path.open() as file:
        assert file.read(4) == path.read_bytes()[:4]
        assert file.seek(-2, os.SEEK_END) == len(path.read_bytes()) - 2
        assert file.read() == b"\xff\xd9"
    with pytest.raises(ValueError, match="only read"):
        path.open("wb")


def test_paths_behave_like_paths(camvid: Path, archived) -> None:
    root = locate(archived("tar"))
    path = root / "images" / "val/f001.jpg"
    assert (path.name, path.stem, path.suffix) == ("f001.jpg", "f001", ".jpg")
    assert path.parent == root / "images/val/"
    assert path.parent.parent.parent == root == root.parent == root.resolve()
    assert path.is_file()
    assert not path.is_dir()
    assert path.parent.is_dir()
    assert not path.parent.is_file()
    assert not (root / "images/va").exists()
    assert [p.name for p in sorted((root / "images").iterdir())] == ["train", "val"]
    assert {p.name for p in root.iterdir()} == {"camvid.yaml", "images", "labels"}
    assert hash(path) == hash(root / "images/val/f001.jpg")
    assert repr(path).startswith("ArchivePath(")
    with pytest.raises(DataError, match=r"none\.jpg: no such file"):
        read_image(root / "none.jpg")


def test_what_is_an_archive(tmp_path: Path, camvid: Path, archived) -> None:
    place = archived("zip")
    (tmp_path / "folder.zip").mkdir()
    assert is_archive(place)
    assert is_archive(place / "images")
    assert is_archive("s3://bucket/some/data.TAR/images")
    assert is_archive("https://host/data.zip?key=1")
    for other in (tmp_path, tmp_path / "folder.zip", tmp_path / "none.zip", "s3://bucket/data"):
        assert not is_archive(other)
    assert below("s3://b/x/", "y.zip") == "s3://b/x/y.zip"
    assert below("data", "s3://b/y.zip") == "s3://b/y.zip"
    assert below(None, "y") == Path("y")
    with pytest.raises(DataError, match="expected an archive at this address"):
        locate("s3://bucket/folder")
    (tmp_path / "data.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read at any place"):
        locate(tmp_path / "data.tar.gz")


def test_an_archive_that_changes_while_it_is_used_is_refused(camvid: Path, archived) -> None:
    place = archived("tar")
    packed = open_dataset(str(camvid), root=place)
    again = pickle.loads(pickle.dumps(packed))
    os.utime(place, ns=(1, 1))
    with pytest.raises(DataError, match="the archive changed after it was listed"):
        again.read(0)
    # opened anew, it is read as it is now
    index_tar(place)
    assert len(open_dataset(str(camvid), root=place)) == 7


def test_several_splits_share_one_index(camvid: Path, archived: Callable[[str], Path]) -> None:
    place = archived("zip")
    one, two = (open_dataset(str(camvid), root=place, split=s) for s in ("train", "val"))
    assert one.items[0].image.archive is two.items[0].image.archive
