"""Pictures: what their pixels are, and that nothing is lost, cut or mislabelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clan.core.errors import DataError
from clan.data.classes import CITYSCAPES, IGNORE, ClassSet
from clan.prediction.pictures import (
    OUTLINE,
    PAPER,
    comparison_sheet,
    legend,
    overlay,
    present,
    strip,
    write_picture,
)

DUO = ClassSet("duo", ("road", "car"), ((128, 64, 128), (0, 0, 142)))


def colors_in(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(color) for color in np.unique(picture.reshape(-1, 3), axis=0).tolist()}


def ink_is_inside(picture: np.ndarray) -> bool:
    """Tell whether the picture's outermost columns are empty paper."""
    return bool((picture[:, [0, -1]] == PAPER).all())


def test_overlay_blends_classes_and_leaves_ignored_pixels() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    label = np.array([[0, 1], [IGNORE, 0]], np.uint8)
    blend = overlay(image, label, DUO, alpha=0.25)
    assert blend.dtype == np.uint8
    assert blend[0, 0].tolist() == [107, 91, 107]
    assert blend[0, 1].tolist() == [75, 75, 110]
    assert blend[1, 0].tolist() == [100, 100, 100]
    assert np.array_equal(overlay(image, label, DUO, alpha=0), image)
    assert overlay(image, label, DUO, alpha=1)[0, 0].tolist() == [128, 64, 128]


def test_overlay_refuses_other_sizes_and_weights() -> None:
    with pytest.raises(DataError, match=r"\(4, 4, 3\) and \(4, 5\)"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), DUO)
    with pytest.raises(DataError, match=r"1\.5"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), DUO, alpha=1.5)


def test_present_is_in_the_order_of_the_class_set() -> None:
    labels = [np.array([[13, IGNORE]], np.uint8), np.array([[0, 13]], np.uint8)]
    assert present(labels, CITYSCAPES) == ("road", "car")
    assert present([np.full((2, 2), IGNORE, np.uint8)], CITYSCAPES) == ()


@pytest.mark.parametrize("width", [260, 500, 2000])
def test_legend_shows_every_class_within_its_width(width: int) -> None:
    picture = legend(CITYSCAPES, width)
    assert picture.shape[1] == width
    assert picture.dtype == np.uint8
    assert set(CITYSCAPES.colors) <= colors_in(picture)
    assert ink_is_inside(picture)


def test_legend_grows_in_lines_and_names_only_what_it_is_given() -> None:
    assert legend(CITYSCAPES, 260).shape[0] > legend(CITYSCAPES, 2000).shape[0]
    picture = legend(CITYSCAPES, 400, ["car"])
    assert (0, 0, 142) in colors_in(picture)
    assert (128, 64, 128) not in colors_in(picture)
    ignored = colors_in(legend(CITYSCAPES, 400, ["car"], ignored=True))
    assert (0, 0, 0) in ignored - colors_in(picture)
    assert OUTLINE in ignored
    with pytest.raises(DataError, match="'car'"):
        legend(CITYSCAPES, 400, ["carr"])


def test_legend_of_nothing_is_an_empty_line() -> None:
    assert colors_in(legend(CITYSCAPES, 100, [])) == {PAPER}


def test_sheet_holds_the_panels_where_they_belong() -> None:
    image = np.full((10, 20, 3), (200, 30, 60), np.uint8)
    label = np.zeros((20, 40), np.uint8)
    label[:, 20:] = 1
    width = 200
    sheet = comparison_sheet(
        [[image, label], [image, label]], ["target", "CLAN"], DUO, panel_width=width
    )
    reds = (sheet == (200, 30, 60)).all(-1)
    roads, cars = ((sheet == color).all(-1) for color in DUO.colors)
    assert reds.sum() == 2 * 100 * width
    half = width // 2
    for mask, left in ((roads, 0), (cars, half)):
        columns = np.flatnonzero(mask.sum(0) == 2 * 100)
        assert len(columns) == half
        assert columns[0] > width + left
    assert np.flatnonzero(reds.any(0)).max() < np.flatnonzero(roads.sum(0) == 200).min()


def test_sheet_explains_ignored_pixels_only_where_there_are_some() -> None:
    label = np.zeros((20, 40), np.uint8)
    plain = comparison_sheet([[label]], ["truth"], DUO)
    label[:5] = IGNORE
    marked = comparison_sheet([[label]], ["truth"], DUO)
    chips = [(sheet[-40:] == 0).all(-1).any() for sheet in (plain, marked)]
    assert chips == [False, True]


def test_enlarged_labels_have_sharp_borders() -> None:
    label = np.zeros((9, 14), np.uint8)
    label[:, 7:] = 1
    sheet = comparison_sheet([[label]], [""], DUO, panel_width=331)
    row = sheet[sheet.shape[0] // 2]
    mixed = [c for c in map(tuple, row.tolist()) if c not in (*DUO.colors, PAPER)]
    assert len(mixed) <= 1


def test_sheet_refuses_what_does_not_fit() -> None:
    image, label = np.zeros((10, 20, 3), np.uint8), np.zeros((10, 20), np.uint8)
    with pytest.raises(DataError, match=r"2 titles .* \[1\]"):
        comparison_sheet([[image]], ["a", "b"], DUO)
    with pytest.raises(DataError, match="10x20, 20x20"):
        comparison_sheet([[image, np.zeros((20, 20), np.uint8)]], ["a", "b"], DUO)
    with pytest.raises(DataError, match="class set"):
        comparison_sheet([[label]], ["a"])
    with pytest.raises(DataError, match="at least one"):
        strip([])


def test_strip_keeps_the_size_and_fits_long_titles() -> None:
    image = np.full((50, 120, 3), 90, np.uint8)
    picture = strip([("a title that is far too long for its panel", image), ("Straße", image)])
    assert ((picture == 90).all(-1)).sum() == 2 * 50 * 120
    assert ink_is_inside(picture)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_written_pictures_read_back(tmp_path: Path, suffix: str) -> None:
    picture = np.full((8, 12, 3), (10, 200, 90), np.uint8)
    path = tmp_path / "new" / f"picture{suffix}"
    write_picture(path, picture)
    read = np.asarray(Image.open(path)).astype(int)
    assert np.abs(read - picture).max() <= 3


def test_pictures_that_cannot_be_written(tmp_path: Path) -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(DataError, match=r"\.png or \.jpg"):
        write_picture(tmp_path / "picture.xyz", picture)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_picture(tmp_path / "file" / "picture.png", picture)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_an_overlay_is_the_weighted_mean_of_image_and_colours(alpha: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    label = rng.integers(0, 19, (20, 30), dtype=np.uint8)
    label[:5] = 255
    found = overlay(image, label, CITYSCAPES, alpha)
    colors = CITYSCAPES.colorize(label).astype(float)
    expected = np.where((label == 255)[..., None], image, image * (1 - alpha) + colors * alpha)
    assert np.abs(found - expected).max() <= 0.5 + 1e-4
    assert np.array_equal(found[:5], image[:5])
