"""A packed data set is the data set: same items, pixels, order; written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from clan.core.errors import DataError
from clan.data import pack as module
from clan.data.archives.paths import locate
from clan.data.datasets import open_dataset
from clan.data.pack import pack
from tests.conftest import write_camvid, write_cityscapes, write_image


def same(one: str, two: str, splits: tuple[str, ...], root: Path | None = None) -> None:
    for split in splits:
        plain, packed = open_dataset(one, split=split, root=root), open_dataset(two, split=split)
        assert [i.name for i in packed.items] == [i.name for i in plain.items]
        assert packed.classes == plain.classes
        for i in range(len(plain)):
            for a, b in zip(packed.read(i), plain.read(i), strict=True):
                assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_is_packed_reads_the_same(tmp_path: Path, kind: str) -> None:
    description = write_camvid(tmp_path / "camvid")
    write_image(tmp_path / "camvid/images/spare/x.jpg", 1)
    told: list[tuple[str, int, int]] = []
    packed = pack(
        str(description), tmp_path / f"new/c.{kind}", progress=lambda *step: told.append(step)
    )
    names = ["c.zip", "c.yaml"] if kind == "zip" else ["c.tar", "c.tar.index", "c.yaml"]
    assert [path.name for path in packed.files] == names
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)
    assert packed.members == 24  # the spare image belongs to no split
    assert packed.bytes == (tmp_path / f"new/c.{kind}").stat().st_size
    assert told[0] == ("packing", 1, 24)
    assert told[23:25] == [("packing", 24, 24), ("reading back", 1, 24)]
    same(str(description), str(tmp_path / "new/c.yaml"), ("train", "val"))
    # it can go elsewhere, and the folder with it
    os.rename(tmp_path / "new", tmp_path / "moved")
    assert len(open_dataset(str(tmp_path / "moved/c.yaml"))) == 7


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_the_bytes_depend_on_the_files_alone(tmp_path: Path, kind: str) -> None:
    sums = []
    for folder, when in (("one", 10**9), ("two", 2 * 10**9)):
        description = write_camvid(tmp_path / folder)
        for path in (tmp_path / folder).rglob("*.png"):
            os.utime(path, (when, when))
            path.chmod(0o600 if when == 10**9 else 0o664)
        out = tmp_path / f"{folder}_out" / f"c.{kind}"
        for path in pack(str(description), out).files:
            sums.append((path.name, hashlib.sha256(path.read_bytes()).hexdigest()))
    assert sums[: len(sums) // 2] == sums[len(sums) // 2 :]


def test_pictures_are_stored_as_they_are(tmp_path: Path) -> None:
    description = write_camvid(tmp_path / "c")
    text = description.read_text().replace("images/train/*.jpg", "images/train/*.bmp")
    for number in range(7):
        write_image(tmp_path / f"c/images/train/f{number:03}.bmp", number)
    description.write_text(text)
    out = tmp_path / "c.zip"
    pack(str(description), out, splits=["train"])
    kinds = {Path(i.filename).suffix: i.compress_type for i in zipfile.ZipFile(out).infolist()}
    assert kinds == {".bmp": zipfile.ZIP_DEFLATED, ".png": zipfile.ZIP_STORED}
    assert zipfile.ZipFile(out).testzip() is None
    assert list(yaml.safe_load((tmp_path / "c.yaml").read_text())["splits"]) == ["train"]
    same(str(description), str(tmp_path / "c.yaml"), ("train",))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_lists_classes_and_colours_come_along(tmp_path: Path, kind: str) -> None:
    root = write_camvid(tmp_path / "c").parent
    (root / "street.yaml").write_text(
        "classes: {sky: [1, 2, 3], road: [0, 0, 9]}\nsubsets: {one: [sky]}"
    )
    (root / "some.txt").write_text("f004\nimages/train/f001.jpg labels/train/f002.png\nf000\n")
    description = root / "mine.yaml"
    description.write_text(
        "classes: street.yaml\nlabels: {map: {0: sky, 1: road, 3: ignore, 11: ignore}}\n"
        "splits:\n"
        "  some: {images: 'images/train/*.jpg', labels: 'labels/train/*.png', list: some.txt}\n"
        "  all: {images: images/train/*.jpg, labels: labels/train/*.png}\n"
        "  bare: {images: images/val/*.jpg}\n"
    )
    pack(str(description), tmp_path / f"c.{kind}")
    read = tmp_path / "c.yaml"
    splits = ("some", "all", "bare")
    for split in splits:
        plain, packed = (open_dataset(str(d), split=split) for d in (description, read))
        assert [i.name for i in packed.items] == [i.name for i in plain.items]
        assert packed.classes.names == ("sky", "road")
        assert packed.classes.subsets == plain.classes.subsets
        assert all(np.array_equal(packed.read_image(i), plain.read_image(i)) for i in range(3))
    some = open_dataset(str(read), split="some")
    assert str(some.items[1].label).endswith("labels/train/f002.png")
    assert "name: mine" in read.read_text()


def test_a_built_in_layout_and_an_archive_are_packed(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "cityscapes")
    pack("cityscapes", tmp_path / "one.tar", root=str(root), splits=["train", "val"])
    same("cityscapes", str(tmp_path / "one.yaml"), ("train", "val"), root)
    pack(str(tmp_path / "one.yaml"), tmp_path / "two.zip")
    same("cityscapes", str(tmp_path / "two.yaml"), ("train", "val"), root)


@pytest.mark.parametrize("there", ["c.tar", "c.tar.index", "c.yaml"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    description = write_camvid(tmp_path / "camvid")
    (tmp_path / there).write_text("mine")
    with pytest.raises(DataError, match=f"{there} exists already; nothing was written"):
        pack(str(description), tmp_path / "c.tar")
    assert (tmp_path / there).read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["camvid", there])


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description = write_camvid(tmp_path / "camvid")
    broken = tmp_path / "camvid/images/val/f002.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"f002\.jpg: truncated image"):
        pack(str(description), tmp_path / "c.zip")
    broken.write_bytes(whole)
    monkeypatch.setattr(module.zlib, "crc32", lambda data, start=0: 7)
    with pytest.raises(DataError, match=r"c\.zip: '.*' was not written as it was read"):
        pack(str(description), tmp_path / "c.zip")
    monkeypatch.undo()

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(str(description), tmp_path / "c.tar", progress=stopped)
    monkeypatch.setattr(module, "_compare", stopped)
    with pytest.raises(KeyboardInterrupt):
        pack(str(description), tmp_path / "c.tar")
    assert [p.name for p in tmp_path.iterdir()] == ["camvid"]


def test_what_cannot_be_packed(tmp_path: Path) -> None:
    description = write_camvid(tmp_path / "camvid")
    with pytest.raises(DataError, match=r"expected the name of an archive, \.zip or \.tar"):
        pack(str(description), tmp_path / "c.tgz")
    with pytest.raises(DataError, match="expected a description"):
        pack(str(tmp_path / "camvid"), tmp_path / "c.zip")
    with pytest.raises(DataError, match="no data set description at"):
        pack(str(tmp_path / "none.yaml"), tmp_path / "c.zip")
    with pytest.raises(DataError, match="has no split 'test'"):
        pack(str(description), tmp_path / "c.zip", splits=["test"])
    (tmp_path / "camvid/images/val/f\\x.jpg").write_bytes(
        (tmp_path / "camvid/images/val/f001.jpg").read_bytes()
    )
    (tmp_path / "camvid/labels/val/f\\x.png").write_bytes(
        (tmp_path / "camvid/labels/val/f001.png").read_bytes()
    )
    with pytest.raises(DataError, match="cannot be the name of a member"):
        pack(str(description), tmp_path / "c.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["camvid"]


def test_an_index_is_written_for_any_tar(tmp_path: Path) -> None:
    import tarfile

    write_camvid(tmp_path / "camvid")
    with tarfile.open(tmp_path / "photos.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(tmp_path / "camvid/images", "./images")
        tar.add(tmp_path / "camvid/images/val/f000.jpg", "images/" + "long" * 60 + "/a.jpg")
    told: list[tuple[str, int, int]] = []
    index = module.write_index(tmp_path / "photos.tar", lambda *step: told.append(step))
    assert index == tmp_path / "photos.tar.index"
    size = (tmp_path / "photos.tar").stat().st_size
    assert {step[2] for step in told} == {size}
    assert told[-1][1] <= size
    assert len(open_dataset(str(tmp_path / "photos.tar"))) == 13
    assert (locate(tmp_path / "photos.tar") / "images/val/f000.jpg").is_file()
    with pytest.raises(DataError, match=r"expected a \.tar"):
        module.write_index(tmp_path / "photos.zip")
