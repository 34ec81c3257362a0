"""Items are what a tuple of them would be, in a third of the memory."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from clan.data.datasets import open_dataset
from clan.data.items import Item, Items
from tests.conftest import write_camvid

REGULAR = (
    ["a", "b/c", "d"],
    ["/x/a.jpg", "/x/b/c.jpg", "/x/d.jpg"],
    ["/y/a.png", "/y/b/c.png", "/y/d.png"],
)
UNEVEN = (
    ["a", "b", "c"],
    ["/x/a.jpg", "/x/b.png", "/z/c.jpg"],
    ["/y/1.png", "/y/2.png", "/y/3.png"],
)
BARE = (["a", "b", "c"], ["/x/a.jpg", "/x/b.jpg", "/x/c.jpg"], None)


@pytest.mark.parametrize("parts", [REGULAR, UNEVEN, BARE])
def test_they_are_a_sequence_of_items(parts) -> None:
    names, images, labels = parts
    plain = tuple(
        Item(name, Path(image), None if labels is None else Path(labels[i]))
        for i, (name, image) in enumerate(zip(names, images, strict=True))
    )
    items = Items(*parts)
    assert tuple(items) == plain
    assert len(items) == 3
    assert items[1] == plain[1]
    assert items[-1] == plain[-1]
    assert tuple(items[::2]) == plain[::2]
    assert items[1:] == plain[1:]
    assert items == plain
    assert items == Items(*parts)
    assert items != plain[1:]
    assert hash(items) == hash(Items(*parts))
    assert pickle.loads(pickle.dumps(items)) == items
    with pytest.raises(IndexError):
        items[3]


def test_a_name_that_the_path_holds_twice(tmp_path: Path) -> None:
    items = Items(["1", "2"], ["/data1/1/1.png", "/data1/1/2.png"], None)
    assert [str(item.image) for item in items] == ["/data1/1/1.png", "/data1/1/2.png"]
    items = Items(["", "x"], ["/a/.png", "/a/x.png"], None)
    assert [str(item.image) for item in items] == ["/a/.png", "/a/x.png"]


def test_a_listed_split_keeps_names_alone(tmp_path: Path) -> None:
    dataset = open_dataset(str(write_camvid(tmp_path)))
    assert type(dataset.items._images).__name__ == "Around"
    assert [item.name for item in dataset.items] == [f"f{i:03}" for i in range(7)]
    assert all(item.image.is_file() and item.label.is_file() for item in dataset.items)
    assert len(replace(dataset, items=dataset.items[::3])) == 3
