from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clan.core.errors import DataError
from clan.data.classes import CITYSCAPES, CITYSCAPES_IDS
from clan.data.datasets import open_dataset
from clan.town import SOURCE, TARGET, Look, draw_frame, make_town
from clan.town.camera import Camera
from clan.town.scene import Scene
from clan.town.shapes import Label, Paint, Shape
from clan.town.view import look_at

SIZE = (48, 96)
COUNTS = {"source": 5, "target": 4, "val": 2}
RARE = ("pole", "traffic light", "traffic sign", "person", "rider", "motorcycle", "bicycle")
COMMON = ("road", "building", "vegetation", "sky")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "town"
    return make_town(folder, **COUNTS, size=SIZE, seed=3, workers=1)


def frames(look: Look, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    drawn = [draw_frame(look, (11, i), (64, 128)) for i in range(count)]
    return np.stack([image for image, _ in drawn]), np.stack([label for _, label in drawn])


@pytest.fixture(scope="module")
def source() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return frames(SOURCE, 24)


@pytest.fixture(scope="module")
def target() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return frames(TARGET, 24)


def test_the_same_bytes_from_two_processes(town: Path, tmp_path: Path) -> None:
    again = make_town(tmp_path / "again", **COUNTS, size=SIZE, seed=3, workers=2)
    assert contents(again) == contents(town)


def test_another_seed_and_another_split_draw_other_pictures(town: Path, tmp_path: Path) -> None:
    other = contents(make_town(tmp_path / "other", **COUNTS, size=SIZE, seed=4, workers=1))
    mine = contents(town)
    assert mine.keys() == other.keys()
    assert all(mine[name] != other[name] for name in mine if name.endswith(".png"))
    pictures = [data for name, data in mine.items() if name.endswith(".png")]
    assert len(set(pictures)) == len(pictures)


def test_more_frames_leave_the_first_ones_as_they_are(town: Path, tmp_path: Path) -> None:
    more = make_town(tmp_path / "more", source=6, target=5, val=3, size=SIZE, seed=3, workers=1)
    longer = contents(more)
    for name, data in contents(town).items():
        assert not name.endswith(".png") or longer[name] == data


def test_layouts_are_those_of_gta5_and_cityscapes(town: Path) -> None:
    names = set(contents(town))
    assert {f"source/{kind}/0000{i}.png" for kind in ("images", "labels") for i in range(1, 6)} < (
        names
    )
    stem = "farbenau/farbenau_000001_000019"
    for split in ("train", "val"):
        assert f"target/leftImg8bit/{split}/{stem}_leftImg8bit.png" in names
        assert f"target/gtFine/{split}/{stem}_gtFine_labelIds.png" in names
    assert len(names) == 2 * sum(COUNTS.values()) + 2
    assert "seed 3" in (town / "README.txt").read_text(encoding="utf-8")


def test_file_formats(town: Path) -> None:
    with Image.open(town / "source/images/00001.png") as image:
        assert (image.mode, image.size) == ("RGB", SIZE[::-1])
    with Image.open(town / "source/labels/00001.png") as label:
        assert (label.mode, label.size) == ("P", SIZE[::-1])
        palette = label.getpalette()
        assert palette is not None
        for raw, name in CITYSCAPES_IDS.items():
            if name != "ignore":
                color = CITYSCAPES.colors[CITYSCAPES.index(name)]
                assert tuple(palette[3 * raw : 3 * raw + 3]) == color
    for path in (town / "target/gtFine").rglob("*.png"):
        with Image.open(path) as label:
            assert (label.mode, label.size) == ("L", SIZE[::-1])


def test_built_in_data_sets_read_the_town(town: Path) -> None:
    for name, root, split, count in (
        ("gta5", "source", "train", 5),
        ("cityscapes", "target", "train", 4),
        ("cityscapes", "target", "val", 2),
    ):
        data = open_dataset(name, root=town / root, split=split)
        assert len(data) == count
        for i in range(count):
            assert data.read_image(i).shape == (*SIZE, 3)
            label = data.read_label(i)
            assert label.shape == SIZE
            assert {CITYSCAPES.index("road"), CITYSCAPES.index("building")} <= set(
                np.unique(label).tolist()
            )


def test_the_town_is_called_so_wherever_it_was_drawn(town: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "anywhere"
    shutil.copytree(town, drawn)
    for root, layout in (("source", "gta5"), ("target", "cityscapes")):
        assert open_dataset(layout, root=drawn / root).name == f"town/{root}"
    # without its record it is a data set in that layout, as any other
    (drawn / "town.json").unlink()
    assert open_dataset("cityscapes", root=drawn / "target").name == "cityscapes"


@pytest.mark.parametrize("size", [(33, 57), (128, 128), (16, 40)])
def test_any_size(size: tuple[int, int]) -> None:
    image, label = draw_frame(TARGET, (0, 0), size)
    assert (image.shape, image.dtype) == ((*size, 3), np.uint8)
    assert (label.shape, label.dtype) == (size, np.uint8)


def test_labels_agree_across_sizes() -> None:
    _, small = draw_frame(SOURCE, (0, 5), (64, 128))
    _, large = draw_frame(SOURCE, (0, 5), (128, 256))
    assert (small == large[1::2, 1::2]).mean() > 0.93


def test_every_class_occurs_in_both_domains_and_rare_ones_are_rare(
    source: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    target: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    expected = set(Label) - {Label.EGO}
    for domain, extra in ((source, set()), (target, {Label.EGO})):
        labels = domain[1]
        values, pixels = np.unique(labels, return_counts=True)
        assert set(values.tolist()) == expected | extra
        share = {
            CITYSCAPES_IDS[int(v)]: n / labels.size for v, n in zip(values, pixels, strict=True)
        }
        assert all(0.0002 < share[name] < 0.03 for name in RARE)
        assert all(share[name] > 0.04 for name in COMMON)


def saturation(images: NDArray[np.uint8]) -> float:
    high, low = images.max(-1).astype(float), images.min(-1).astype(float)
    return float(((high - low) / np.maximum(high, 1)).mean())


def grain(image: NDArray[np.uint8], label: NDArray[np.uint8]) -> float:
    """Return the median difference of road pixels and those right of them."""
    road = (label == Label.ROAD)[..., 1:] & (label == Label.ROAD)[..., :-1]
    return float(np.median(np.abs(np.diff(image.astype(float).mean(-1), axis=-1))[road]))


def test_source_is_a_clean_game_and_target_a_camera(
    source: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    target: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    assert saturation(source[0]) > 1.5 * saturation(target[0])
    assert grain(*target) > 2.0 + grain(*source)
    exposure = [images.mean((1, 2, 3)).std() for images, _ in (source, target)]
    assert exposure[1] > 1.5 * exposure[0]


def test_each_strength_of_the_look_is_one_switch() -> None:
    quiet, label = draw_frame(replace(TARGET, noise=(0.0, 0.0), texture={}), (0, 1), (64, 128))
    noisy, same = draw_frame(replace(TARGET, noise=(9.0, 9.0), texture={}), (0, 1), (64, 128))
    assert np.array_equal(label, same)
    assert grain(noisy, label) > 2 * grain(quiet, label)
    bare = draw_frame(replace(TARGET, bonnet=0.0), (0, 1), (64, 128))[1]
    assert Label.EGO in label
    assert Label.EGO not in bare


def test_the_camera_is_a_pinhole() -> None:
    camera = Camera(0.0, 2.0, 0.0, 0.0, field_of_view=90.0, size=(100, 200))
    scene = Scene(curvature=0.0, eye=camera)
    for z, label in ((20.0, Label.WALL), (10.0, Label.SIGN)):
        board = Shape()
        board.flat(Paint(label, (9, 9, 9), solid=False), [(-1, 1), (1, 1), (1, 3), (-1, 3)])
        scene.place(board, (0.0, 0.0, z))
    view = look_at(scene.polygons(), camera)
    # Focal length 100 pixels: 2 m at 10 m are 20 pixels around the middle, before the far board.
    rows, columns = np.nonzero(view.ids == 2)
    assert abs(np.ptp(rows) + 1 - 20) <= 1
    assert abs(np.ptp(columns) + 1 - 20) <= 1
    assert abs(rows.mean() - 49.5) <= 0.5
    assert abs(columns.mean() - 99.5) <= 0.5
    assert not (view.ids == 1).any()


def test_an_identical_town_is_used_again(town: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in town.rglob("*")}
    calls: list[int] = []
    assert make_town(town, **COUNTS, size=SIZE, seed=3, progress=calls.append) == town
    assert {path: path.stat().st_mtime_ns for path in town.rglob("*")} == before
    assert calls == []


def test_another_town_is_not_overwritten(town: Path) -> None:
    with pytest.raises(DataError, match="another town"):
        make_town(town, **COUNTS, size=SIZE, seed=5)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="not empty"):
        make_town(tmp_path / "out", **COUNTS, size=SIZE)
    assert contents(tmp_path) == {"out/thesis.tex": b"years of work"}


def test_a_town_with_files_missing_is_noticed(tmp_path: Path) -> None:
    folder = make_town(tmp_path / "town", source=2, target=1, val=1, size=SIZE, workers=1)
    (folder / "source/images/00002.png").unlink()
    with pytest.raises(DataError, match="1 files, the town has 2"):
        make_town(folder, source=2, target=1, val=1, size=SIZE, workers=1)


def test_an_empty_folder_is_filled_and_progress_counts_every_image(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    calls: list[int] = []
    make_town(out, **COUNTS, size=SIZE, workers=1, progress=calls.append)
    assert sum(calls) == sum(COUNTS.values())


def test_nothing_half_written_remains_after_an_interruption(tmp_path: Path) -> None:
    def interrupt(drawn: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_town(tmp_path / "out", **COUNTS, size=SIZE, workers=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": (8, 96)}, "8x96"),
        ({"source": -1}, "-1 source images"),
        ({"seed": -1}, "seed -1"),
        ({"workers": 0}, "0 workers"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_town(tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
