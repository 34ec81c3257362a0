from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from clan.core.errors import DataError
from clan.data.classes import CITYSCAPES, CITYSCAPES_IDS, IGNORE, SYNTHIA_IDS, ClassSet
from clan.data.label_maps import ColorMap, LabelMap, color_text, pack_color, parse_color, ranges

THREE = ClassSet("three", ("sky", "road", "car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))

# raw -> trainId, as published with the adaptation benchmarks
GTA5 = dict(
    zip(
        [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33],
        range(19),
        strict=True,
    )
)
SYNTHIA = {
    **{3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9},
    **{1: 10, 10: 11, 17: 12, 8: 13, 18: 14, 19: 15, 20: 16, 12: 17, 11: 18},
}


@pytest.mark.parametrize(("names", "train_ids"), [(CITYSCAPES_IDS, GTA5), (SYNTHIA_IDS, SYNTHIA)])
def test_benchmark_maps(names: dict[int, str], train_ids: dict[int, int]) -> None:
    raw = np.array([sorted(names)], np.uint16)
    mapped = LabelMap.from_names(names, CITYSCAPES).apply(raw, "x.png")
    assert mapped.tolist() == [[train_ids.get(value, IGNORE) for value in sorted(names)]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_map(dtype: type[np.integer]) -> None:
    table = LabelMap.from_names({0: "road", 5: "sky", 7: "ignore", 9: "road"}, THREE)
    label = table.apply(np.array([[0, 5], [7, 9]], dtype), "x.png")
    assert label.dtype == np.uint8
    assert label.tolist() == [[1, 0], [IGNORE, 1]]


def test_identity() -> None:
    label = LabelMap.identity(THREE).apply(np.array([[0, 1, 2, 255]], np.uint8), "x.png")
    assert label.tolist() == [[0, 1, 2, IGNORE]]


@pytest.mark.parametrize("value", [3, 254, 300, 70000, -1])
def test_values_outside_the_map(value: int) -> None:
    raw = np.array([[0, 1], [value, value]])
    if 0 <= value < 256:
        raw = raw.astype(np.uint8)
    with pytest.raises(DataError) as error:
        LabelMap.identity(THREE).apply(raw, Path("some/label.png"))
    message = str(error.value)
    assert message.startswith("some/label.png: ")
    assert f"{value} (2 pixels)" in message
    assert "the map lists 0-2, 255" in message


def test_many_values_outside_the_map_are_shortened() -> None:
    raw = np.arange(100, 140, dtype=np.uint8)[None]
    label, outside = LabelMap.identity(THREE).lookup(raw)
    assert (label == IGNORE).all()
    assert outside == dict.fromkeys(range(100, 140), 1)
    with pytest.raises(DataError, match="and 32 more"):
        LabelMap.identity(THREE).apply(raw, "x.png")


def test_map_to_an_unknown_class() -> None:
    with pytest.raises(DataError, match=r"raw value 4 is mapped to 'rood'.*did you mean 'road'"):
        LabelMap.from_names({4: "rood"}, THREE)


def test_ranges() -> None:
    assert ranges([0, 1, 2, 4, 6, 7]) == "0-2, 4, 6-7"


@pytest.mark.parametrize("text", ["128 64 0", "128, 64, 0", " 128,64 , 0 "])
def test_colors_are_read_and_written(text: str) -> None:
    assert parse_color(text) == pack_color(128, 64, 0) == 128 * 65536 + 64 * 256
    assert color_text(pack_color(128, 64, 0)) == "128 64 0"


@pytest.mark.parametrize("text", ["", "1 2", "1 2 3 4", "256 0 0", "-1 0 0", "a b c", "#804000", 7])
def test_what_is_no_color(text: object) -> None:
    assert parse_color(text) is None


def test_color_map() -> None:
    names = {pack_color(255, 0, 0): "road", pack_color(0, 0, 255): "sky", 0: "ignore"}
    table = ColorMap.from_names(names, THREE)
    raw = np.array([[0xFF0000, 0x0000FF], [0, 0xFF0000]], np.int32)
    for copy in (table, pickle.loads(pickle.dumps(table))):
        label = copy.apply(raw, "x.png")
        assert label.dtype == np.uint8
        assert label.tolist() == [[1, 0], [IGNORE, 1]]


def test_colors_outside_the_map() -> None:
    # beside, between and beyond the colours of the map
    raw = np.array([[0x010203, 0x010204, 0xFFFFFF, 0xFFFFFF]], np.int32)
    label, outside = ColorMap.identity(THREE).lookup(raw)
    assert label.tolist() == [[0, IGNORE, IGNORE, IGNORE]]
    assert outside == {0x010204: 1, 0xFFFFFF: 2}
    with pytest.raises(
        DataError, match=r"x.png: .*: 1 2 4 \(1 pixel\), 255 255 255 \(2 pixels\).* 4 colours"
    ):
        ColorMap.identity(THREE).apply(raw, "x.png")
    with pytest.raises(DataError, match=r"colour '1 2 3' is mapped to 'rood'"):
        ColorMap.from_names({0x010203: "rood"}, THREE)


def test_identity_of_colors() -> None:
    picture = CITYSCAPES.colorize(np.arange(19, dtype=np.uint8)[None]).astype(np.int32)
    raw = pack_color(*(picture[..., c] for c in range(3)))
    assert ColorMap.identity(CITYSCAPES).apply(raw, "x.png").tolist() == [list(range(19))]
    assert ColorMap.identity(CITYSCAPES).apply(0 * raw, "x.png").tolist() == [[IGNORE] * 19]
    black = ClassSet("black", ("night",), ((0, 0, 0),))
    assert ColorMap.identity(black).apply(0 * raw, "x.png").tolist() == [[0] * 19]
    twins = ClassSet("twins", ("a", "b"), ((1, 2, 3), (1, 2, 3)))
    with pytest.raises(DataError, match="'a' and 'b' of 'twins' have one colour, 1 2 3"):
        ColorMap.identity(twins)
