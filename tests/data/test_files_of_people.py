"""Folders, patterns, lists and labels as people bring them."""

from __future__ import annotations

import os
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from clan.core.errors import DataError
from clan.data.containers import turn
from clan.data.datasets import Dataset, open_dataset

CLASSES = "classes: {name: two, classes: {sky: [9, 9, 9], road: [1, 2, 3]}}\n"
LABEL = np.array([[0, 1, 0, 0], [0, 0, 1, 1]], np.uint8)


def put(root: Path, *names: str, size: tuple[int, int] = (2, 4)) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros(size, np.uint8)).save(path)


def described(root: Path, split: str, rest: str = "", **options: object) -> Dataset:
    (root / "d.yaml").write_text(f"{CLASSES}splits:\n  train: {{{split}}}\n{rest}")
    return open_dataset(str(root / "d.yaml"), **options)  # type: ignore[arg-type]


def pairs(data: Dataset) -> dict[str, str]:
    return {item.image.name: item.label.name if item.label else "" for item in data.items}


def photo(root: Path, orientation: int, label: np.ndarray, size: tuple[int, int]) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    for folder in ("i", "l"):
        (root / folder).mkdir(exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / "i/a.jpg", exif=tags)
    Image.fromarray(label).save(root / "l/a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_as_shown_and_as_the_sensor_lies(tmp_path: Path, orientation: int) -> None:
    shown = turn(LABEL, orientation)
    split = "images: i/*.jpg, labels: l/*.png"
    photo(tmp_path, orientation, shown, (2, 4))
    for rest in ("", "labels: {orientation: shown}"):
        data = described(tmp_path, split, rest)
        assert np.array_equal(data.read_label(0), shown)
        assert data.read(0)[0].shape[:2] == shown.shape
    photo(tmp_path, orientation, LABEL, (2, 4))
    data = described(tmp_path, split, "labels: {orientation: sensor}")
    assert np.array_equal(data.read_label(0), shown)
    label = data.read(0)[1]
    assert label is not None
    assert np.array_equal(label, shown)
    resized = described(
        tmp_path, split, "labels: {orientation: sensor}\nsize_mismatch: resize_image"
    )
    assert resized.read_image(0).shape[:2] == shown.shape


@pytest.mark.parametrize("mismatch", ["error", "resize_image"])
@pytest.mark.parametrize(("written", "other"), [("shown", "sensor"), ("sensor", "shown")])
def test_a_label_that_lies_the_other_way(
    tmp_path: Path, mismatch: str, written: str, other: str
) -> None:
    photo(tmp_path, 6, LABEL if written == "shown" else turn(LABEL, 6), (2, 4))
    data = described(
        tmp_path,
        "images: i/*.jpg, labels: l/*.png",
        f"labels: {{orientation: {written}}}\nsize_mismatch: {mismatch}",
    )
    with pytest.raises(DataError, match=rf"EXIF orientation 6.*orientation: {other}"):
        data.read(0)
    with pytest.raises(DataError, match="EXIF orientation 6"):
        data.read_label(0)


def test_names_that_would_collide(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.png", "a.jpg.webp", "b/a.png")
    data = open_dataset(str(tmp_path))
    names = {item.image.relative_to(tmp_path).as_posix(): item.name for item in data.items}
    assert names == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "a.jpg.webp": "a.jpg.webp",
        "b/a.png": "b/a",
    }


def test_names_of_items_are_unique_in_patterns(tmp_path: Path) -> None:
    put(tmp_path, "i/img.png", "i/imgimg.png", "i/img2.png")
    data = described(tmp_path, "images: i/img*.png")
    assert len({item.name for item in data.items}) == len(data) == 3
    assert [item.name for item in data.items] == ["i/img", "2", "i/imgimg"]


def test_two_files_of_one_item_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "i/a.jpg", "i/a.png")
    with pytest.raises(DataError, match=r"i/a\.\w+ and .*i/a\.\w+ are one item to the pattern"):
        described(tmp_path, "images: 'i/*.{jpg,png}'")


def test_braces_and_any_depth(tmp_path: Path) -> None:
    put(tmp_path, "i/a.jpg", "i/x/b.JPG", "i/x/y/c.png", "i/.trash/d.png", "i/e.gif")
    put(tmp_path, "l/a.png", "l/x/b.png", "l/x/y/c.png")
    data = described(tmp_path, "images: 'i/**/*.{jpg,JPG,png}', labels: 'l/**/*.png'")
    assert pairs(data) == {"a.jpg": "a.png", "b.JPG": "b.png", "c.png": "c.png"}
    assert [item.name for item in data.items] == ["a", "x/b", "x/y/c"]


@pytest.mark.parametrize(
    ("images", "labels"),
    [("i/*", "l/*"), ("i/*", "l/*.png"), ("'i/**/*'", "'l/**/*'"), ("i/*.*", "l/*.*")],
)
def test_wildcards_that_take_the_ending_in(tmp_path: Path, images: str, labels: str) -> None:
    put(tmp_path, "i/a.jpg", "i/über 2.JPEG", "i/c.v1.png", "l/a.png", "l/über 2.png", "l/c.v1.png")
    data = described(tmp_path, f"images: {images}, labels: {labels}")
    assert pairs(data) == {"a.jpg": "a.png", "über 2.JPEG": "über 2.png", "c.v1.png": "c.v1.png"}
    assert {item.name for item in data.items} == {"a", "c.v1", "über 2"}
    # two images of one label are still said, whatever else there is
    put(tmp_path, "i/a.png")
    with pytest.raises(DataError, match="without a label"):
        described(tmp_path, f"images: {images}, labels: {labels}")


def test_rarer_endings_are_images_in_every_listing(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    for name, kind in (("a.JFIF", "JPEG"), ("b.jpe", "JPEG"), ("c.mpo", "MPO"), ("d.ppm", "PPM")):
        picture.save(tmp_path / name, kind)
    data = open_dataset(str(tmp_path))
    assert [data.read(at)[0].shape for at in range(len(data))] == [(4, 6, 3)] * 4
    assert data.left_out == ""


def test_letters_of_two_systems_are_one_name(tmp_path: Path) -> None:
    put(tmp_path, f"i/{normalize('NFD', 'grün é')}.jpg", "i/a.jpg")
    put(tmp_path, f"l/{normalize('NFC', 'grün é')}.png", "l/a.png")
    data = described(tmp_path, "images: i/*.jpg, labels: l/*.png")
    assert [item.name for item in data.items] == ["a", normalize("NFC", "grün é")]
    assert all(item.label is not None for item in data.items)


@pytest.mark.parametrize("there", ["NFC", "NFD"])
def test_folders_and_lists_with_letters_of_another_system(tmp_path: Path, there: str) -> None:
    folder, name = normalize(there, "Bilder ü"), normalize(there, "grün")
    put(tmp_path, f"{folder}/{name}.png", f"{folder}/b.png")
    written = normalize("NFC" if there == "NFD" else "NFD", "grün.png")
    (tmp_path / "list.txt").write_text(f"{written}\n", encoding="utf-8")
    data = described(tmp_path, "images: 'Bilder ü/*.png', list: list.txt")
    assert [item.image.name for item in data.items] == [f"{name}.png"]
    (tmp_path / "list.txt").write_bytes("grün.png\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"no text in UTF-8 or UTF-16.*save it as UTF-8"):
        described(tmp_path, "images: 'Bilder ü/*.png', list: list.txt")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("i/**.png", "must stand alone"),
        ("i/**", "behind `\\*\\*` belongs a name"),
        ("i/?.png", "the wildcards are"),
        ("i/{a,*}.png", "the wildcards are"),
        ("i/{a", "the wildcards are"),
        ("../i/*.png", "stay below the root"),
    ],
)
@pytest.mark.parametrize("key", ["images", "exclude"])
def test_bad_patterns(tmp_path: Path, key: str, pattern: str, message: str) -> None:
    with pytest.raises(DataError, match=f"splits.train.{key}.*{message}"):
        described(tmp_path, f"{'images: x, ' if key != 'images' else ''}{key}: '{pattern}'")


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    put(tmp_path, "i/a.png")
    (tmp_path / "i/loop").symlink_to(tmp_path / "i")
    assert len(open_dataset(str(tmp_path / "i"))) == 1
    assert len(described(tmp_path, "images: 'i/**/*.png'")) == 1


@pytest.mark.parametrize(
    ("images", "labels", "extra"),
    [
        ("d/*.png", "d/*_mask.png", ""),
        ("d/*_rgb.png", "d/*.png", ""),
        ("d/*.png", "d/*_mask.png", ", exclude: '*_depth.png'"),
        ("d/*.png", "d/*_mask.png", ", exclude: ['**/*_depth.png']"),
    ],
)
@pytest.mark.parametrize("with_labels", [True, False])
def test_images_and_labels_in_one_folder(
    tmp_path: Path, images: str, labels: str, extra: str, with_labels: bool
) -> None:
    wide = "_rgb" if "rgb" in images else ""
    put(tmp_path, f"d/a{wide}.png", f"d/b{wide}.png")
    put(tmp_path, *(f"d/{name}{'' if wide else '_mask'}.png" for name in "ab"))
    if extra:
        put(tmp_path, "d/a_depth.png")
    data = described(tmp_path, f"images: {images}, labels: {labels}{extra}", labels=with_labels)
    assert [item.image.name for item in data.items] == [f"a{wide}.png", f"b{wide}.png"]
    assert data.labelled == with_labels
    if not wide:
        count = 3 if extra else 2
        assert data.left_out == f"left out: {count} files that `labels` or `exclude` match"


def test_zeros_in_front_of_numbers(tmp_path: Path) -> None:
    put(tmp_path, "i/1.png", "i/12.png", "l/0001.png", "l/0012.png")
    split = "images: i/*.png, labels: l/*.png"
    with pytest.raises(DataError, match="with `match: numbers`"):
        described(tmp_path, split)
    data = described(tmp_path, f"{split}, match: numbers")
    assert pairs(data) == {"1.png": "0001.png", "12.png": "0012.png"}
    put(tmp_path, "l/01.png")
    with pytest.raises(DataError, match=r"l/0001\.png and .*l/01\.png are one with `match: numb"):
        described(tmp_path, f"{split}, match: numbers")


def test_names_that_differ_in_front_are_explained(tmp_path: Path) -> None:
    put(tmp_path, "i/rgb_001.png", "i/rgb_102.png", "l/seg_001.png", "l/seg_102.png")
    with pytest.raises(DataError, match=r"write `images: i/rgb_\*.png` and `labels: l/seg_\*.png`"):
        described(tmp_path, "images: i/*.png, labels: l/*.png")
    data = described(tmp_path, "images: i/rgb_*.png, labels: l/seg_*.png")
    assert pairs(data) == {"rgb_001.png": "seg_001.png", "rgb_102.png": "seg_102.png"}


LISTS = {
    "byte order mark": "\ufeffi/b.png\ni/a.png\n",
    "windows": "i\\b.png\r\n.\\i\\a.png\r\n",
    "whole paths": "{root}/i/b.png\n{root}/i/a.png\n",
    "another machine": "/home/x/data/i/b.png\nC:\\data\\i\\a.png\n",
    "quoted": '"i/b.png"\n"i/a.png"\n',
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lists_of_any_origin(tmp_path: Path, kind: str, encoding: str) -> None:
    put(tmp_path, "i/a.png", "i/b.png", "i/c.png")
    text = LISTS[kind].format(root=tmp_path)
    (tmp_path / "l.txt").write_bytes(text.encode(encoding))
    data = described(tmp_path, "images: i/*.png, list: l.txt")
    assert [item.name for item in data.items] == ["b", "a"]


@pytest.mark.parametrize("long", ["x" * 300, "/".join(["y" * 200] * 30)])
def test_names_longer_than_any_file_s_are_absent(tmp_path: Path, long: str) -> None:
    put(tmp_path, "i/a.png", "m/a.png")
    (tmp_path / "l.csv").write_text(f"i/a.png {long}\n")
    for split, said in (
        ("images: i/*.png, labels: m/*.png, list: l.csv", "1 line names no image"),
        (f"images: i/*.png, labels: m/*.png, list: {long}", "the list cannot be read"),
        (f"images: {long}/*.png, labels: m/*.png", "holds|too long"),
    ):
        with pytest.raises(DataError, match=said):
            described(tmp_path, split)
    # without any label it is a split without labels
    assert not described(tmp_path, f"images: i/*.png, labels: {long}/*.png").labelled


def test_a_whole_path_of_another_split_is_not_taken_by_its_name(tmp_path: Path) -> None:
    put(tmp_path, "i/a.png")
    (tmp_path / "l.txt").write_text("/data/val/a.png\n")
    with pytest.raises(DataError, match=r"line 1: /data/val/a.png"):
        described(tmp_path, "images: i/*.png, list: l.txt")


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", ", ";"])
@pytest.mark.parametrize("labels", ["", "labels: m/*_x.png, "])
def test_pairs_on_a_line(tmp_path: Path, separator: str, labels: str) -> None:
    put(tmp_path, "i/a b.png", "i/c.png", "m/1_x.png", "m/2 2_x.png")
    lines = f"i/a b.png{separator}m/2 2_x.png\n{tmp_path}/i/c.png{separator}m\\1_x.png\n"
    (tmp_path / "l.txt").write_text(lines)
    data = described(tmp_path, f"images: i/*.png, {labels}list: l.txt")
    assert pairs(data) == {"a b.png": "2 2_x.png", "c.png": "1_x.png"}
    unlabelled = described(tmp_path, f"images: i/*.png, {labels}list: l.txt", labels=False)
    assert pairs(unlabelled) == {"a b.png": "", "c.png": ""}
    os.remove(tmp_path / "m/1_x.png")
    with pytest.raises(DataError, match=r"line 2: .* or a label that is not there"):
        described(tmp_path, f"images: i/*.png, {labels}list: l.txt")


def test_what_a_folder_holds_besides_is_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.TIF", "c.gif", "._a.jpg", ".trash/d.jpg")
    for name in ("e.heic", "f.HEIC", "g.txt", "noending"):
        (tmp_path / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "h.png")
    data = open_dataset(str(tmp_path))
    assert [item.name for item in data.items] == ["a", "b", "c"]
    assert data.left_out.startswith("left out: 2 .heic (cannot be read: convert it to JPEG")
    assert data.left_out.endswith(
        "1 without an ending, 1 .txt, 2 hidden (a dot in front), 1 that is no plain file"
    )
    put(tmp_path / "clean", "a.png")
    assert open_dataset(str(tmp_path / "clean")).left_out == ""


def test_a_folder_of_nothing_but_heic(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no image .*left out: 1 .heic \(cannot be read: convert"):
        open_dataset(str(tmp_path))


def test_one_class_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "i/a.png", "l/a.png")
    (tmp_path / "d.yaml").write_text(
        "classes: {name: one, classes: {road: [1, 2, 3]}}\n"
        "splits: {train: {images: i/*.png, labels: l/*.png}}"
    )
    with pytest.raises(DataError, match=r"'road' is the only class.*background"):
        open_dataset(str(tmp_path / "d.yaml"))


def test_absent_classes_must_exist(tmp_path: Path) -> None:
    put(tmp_path, "i/a.png")
    with pytest.raises(DataError, match="absent: unknown class 'raod'; did you mean 'road'"):
        described(tmp_path, "images: i/*.png, absent: [raod]")
    with pytest.raises(DataError, match="absent: unknown class 'rod'"):
        described(tmp_path, "images: i/*.png", absent=["rod"])


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("{channel: X}", "channel: Input should be 'R', 'G' or 'B'"),
        ("{chanel: R}", "chanel: unknown key; did you mean 'channel'"),
        ("{}", "expected `channel`, `divide` or both"),
        ("{divide: 1}", "divide: .*greater than or equal to 2"),
        ("{channel: R, below: keep}", "`below` needs `divide`"),
        ("[R]", "no encoding; expected 'index', 'color' or 'synthia', or such as {channel: R}"),
    ],
)
def test_bad_encodings(tmp_path: Path, encoding: str, message: str) -> None:
    with pytest.raises(DataError, match=f"labels.encoding: .*{message}"):
        described(tmp_path, "images: i/*.png", f"labels: {{encoding: {encoding}}}")


def test_encodings_in_braces_and_quoted_numbers(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    put(tmp_path, "i/a.png", size=(1, 2))
    Image.fromarray(np.array([[[7, 90, 3], [8, 5, 6]]], np.uint8)).save(tmp_path / "l/a.png")
    split = "images: i/*.png, labels: l/*.png"
    data = described(
        tmp_path, split, "labels: {encoding: {channel: r}, map: {'7': sky, \"8\": road}}"
    )
    assert data.read_label(0).tolist() == [[0, 1]]
    with pytest.raises(DataError, match="raw value 7 appears twice"):
        described(tmp_path, split, "labels: {map: {'7': sky, 7: road}}")


def test_colours_within_a_tolerance(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    put(tmp_path, "i/a.png", size=(1, 4))
    pixels = [[[101, 99, 100], [52, 50, 48], [75, 75, 75], [53, 50, 50]]]
    Image.fromarray(np.array(pixels, np.uint8)).save(tmp_path / "l/a.png")
    split, near = "images: i/*.png, labels: l/*.png", "100 100 100: sky, 50 50 50: road"
    data = described(tmp_path, split, f"labels: {{encoding: color, tolerance: 2, map: {{{near}}}}}")
    label, outside = data.label_map.lookup(data.raw_label(data.items[0]))
    assert label.tolist() == [[0, 1, 255, 255]]
    assert len(outside) == 2
    assert data.label_map.approximated(data.raw_label(data.items[0])) == 2
    # as near to one class as to the other is neither
    wide = described(
        tmp_path, split, f"labels: {{encoding: color, tolerance: 30, map: {{{near}}}}}"
    )
    assert wide.label_map.lookup(wide.raw_label(wide.items[0]))[0].tolist() == [[0, 1, 255, 1]]
    with pytest.raises(DataError, match="tolerance: a tolerance is for colours"):
        described(tmp_path, split, "labels: {tolerance: 3}")


def test_a_source_without_a_labelled_pixel(tmp_path: Path) -> None:
    put(tmp_path, "i/a.png", "i/b.png", "l/a.png", "l/b.png")
    split, void = "images: i/*.png, labels: l/*.png", "labels: {map: {0: ignore, 1: sky, 2: road}}"
    assert not described(tmp_path, split, void).has_labelled_pixel()
    Image.fromarray(LABEL).save(tmp_path / "l/b.png")
    assert described(tmp_path, split, void).has_labelled_pixel()
