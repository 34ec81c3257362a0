"""A named subset of a class set as the class set of a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clan.core.errors import DataError
from clan.data.classes import CITYSCAPES, ClassSet, class_set
from clan.data.datasets import open_dataset
from clan.data.description import LabelOptions

SIXTEEN = class_set("cityscapes-16")


def test_sixteen_classes_keep_order_and_colours() -> None:
    dropped = {"terrain", "truck", "train"}
    assert SIXTEEN.names == tuple(n for n in CITYSCAPES.names if n not in dropped)
    for name in SIXTEEN.names:
        expected = CITYSCAPES.colors[CITYSCAPES.index(name)]
        assert SIXTEEN.colors[SIXTEEN.index(name)] == expected
    assert SIXTEEN.subsets == {"cityscapes-13": CITYSCAPES.subsets["cityscapes-13"]}
    assert CITYSCAPES.holds(SIXTEEN)
    assert not SIXTEEN.holds(CITYSCAPES)
    with pytest.raises(DataError, match=r"no subset 'cityscapes-15'; did you mean"):
        CITYSCAPES.subset("cityscapes-15")


def test_labels_of_the_other_classes_are_ignored(cityscapes_root: Path) -> None:
    whole = open_dataset("cityscapes", root=cityscapes_root)
    part = open_dataset("cityscapes", root=cityscapes_root, classes=SIXTEEN)
    assert part.classes == SIXTEEN
    raw = np.arange(34, dtype=np.uint8)[None]
    before, after = (d.label_map.lookup(raw)[0][0] for d in (whole, part))
    for a, b in zip(before, after, strict=True):
        name = CITYSCAPES.names[a] if a != 255 else None
        assert b == (SIXTEEN.index(name) if name in SIXTEEN.names else 255)


def test_stored_indices_are_narrowed_too() -> None:
    three = ClassSet("three", ("a", "b", "c"), ((0, 0, 0),) * 3, {"two": ("a", "c")})
    table = LabelOptions().label_map(three, three.subset("two"))
    assert table.lookup(np.array([[0, 1, 2, 255]], np.uint8))[0].tolist() == [[0, 255, 1, 255]]


def test_a_set_of_the_same_name_and_other_classes_is_refused(cityscapes_root: Path) -> None:
    other = ClassSet("cityscapes-16", ("road", "sky"), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(DataError, match="must share one class set"):
        open_dataset("cityscapes", root=cityscapes_root, classes=other)
