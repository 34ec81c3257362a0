from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from clan.core.errors import DataError
from clan.data.classes import CAMVID, CITYSCAPES, CITYSCAPES_IDS, IGNORE, ClassSet, class_set

THREE = ClassSet("three", ("sky", "road", "car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))


def test_cityscapes_is_the_official_table() -> None:
    official = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    trained = [label for label in official if 0 <= label.trainId < 255]
    assert CITYSCAPES.names == tuple(label.name for label in trained)
    assert [label.trainId for label in trained] == list(range(len(CITYSCAPES)))
    assert CITYSCAPES.colors == tuple(label.color for label in trained)
    for label in official:
        raw = label.id if label.id >= 0 else 255  # -1 as an 8-bit file stores it
        assert CITYSCAPES_IDS[raw] == (label.name if label in trained else "ignore")
    assert set(CITYSCAPES_IDS) == {*range(35), 255}


def test_camvid() -> None:
    assert class_set("camvid") is CAMVID
    assert len(CAMVID) == len(set(CAMVID.colors)) == 11


def test_subsets() -> None:
    sixteen, thirteen = CITYSCAPES.subsets["cityscapes-16"], CITYSCAPES.subsets["cityscapes-13"]
    assert set(CITYSCAPES.names) - set(sixteen) == {"terrain", "truck", "train"}
    assert set(sixteen) - set(thirteen) == {"wall", "fence", "pole"}
    assert (len(CITYSCAPES), len(sixteen), len(thirteen)) == (19, 16, 13)


def test_class_set_survives_json_and_pickle() -> None:
    stored = json.loads(json.dumps(CITYSCAPES.to_dict()))
    assert ClassSet.from_dict(stored) == CITYSCAPES
    assert pickle.loads(pickle.dumps(CITYSCAPES)) == CITYSCAPES
    assert hash(ClassSet.from_dict(stored)) == hash(CITYSCAPES)


@pytest.mark.parametrize("broken", [{}, {"name": "x", "names": ["a"], "colors": [[1]]}])
def test_stored_class_set_of_another_form(broken: dict[str, object]) -> None:
    with pytest.raises(DataError, match="needs name, names, colors"):
        ClassSet.from_dict(broken)


def test_index_names_the_nearest() -> None:
    assert CITYSCAPES.index("car") == 13
    with pytest.raises(DataError, match="did you mean 'bicycle'"):
        CITYSCAPES.index("bicicle")


def test_colors() -> None:
    assert THREE.palette() == [*range(1, 10), *[0] * 759]
    picture = THREE.colorize(np.array([[0, 2, IGNORE]], np.uint8))
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[1, 2, 3], [7, 8, 9], [0, 0, 0]]]


def test_class_set_file(tmp_path: Path) -> None:
    text = "name: t\nclasses: {road: [4, 5, 6], sky: [1, 2, 3]}\nsubsets: {flat: [road]}\n"
    (tmp_path / "c.yaml").write_text(text)
    classes = class_set("c.yaml", base=tmp_path)
    assert classes == ClassSet("t", ("road", "sky"), ((4, 5, 6), (1, 2, 3)), {"flat": ("road",)})
    assert class_set(tmp_path / "c.yaml") == classes
    assert class_set("cityscapes") is CITYSCAPES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: {}", "`classes` must map"),
        ("classes: [a, b]", "`classes` must map"),
        ("clases: {a: [1, 2, 3]}", "did you mean 'classes'"),
        ("classes: {a: [1, 2]}", "colour of 'a' is .*three values"),
        ("classes: {a: [1, 2, 300]}", "0..255"),
        ("classes: {a: red}", "colour of 'a'"),
        ("classes: {no: [1, 2, 3]}", "class name False is not text; write it in quotes"),
        ("classes: {a: [1, 2, 3], a: [4, 5, 6]}", "c.yaml:1:25.*'a' appears twice"),
        ("classes: {ignore: [1, 2, 3]}", "unlabelled pixels"),
        ("classes: {road: [1, 2, 3]}\nsubsets: {s: [raod]}", "did you mean 'road'"),
        ("classes: {road: [1, 2, 3]}\nsubsets: {s: []}", "'s' is empty"),
        ("classes: {road: [1, 2, 3]}\nsubsets: {s: road}", "must be a list"),
        ("name: s\nclasses: {road: [1, 2, 3]}\nsubsets: {s: [road]}", "name of the whole"),
        ("classes: {a: [1, 2", "c.yaml:1:.* is not YAML"),
        ("- a", "expected a mapping"),
        ("", "holds nothing"),
    ],
)
def test_bad_class_set_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        class_set("c.yaml", base=tmp_path)
    assert str(tmp_path / "c.yaml") in str(error.value)


def test_unknown_class_set() -> None:
    with pytest.raises(DataError, match=r"neither built in nor a file.*did you mean 'cityscapes'"):
        class_set("cityscape")


def test_too_many_classes() -> None:
    with pytest.raises(DataError, match="at most 254"):
        ClassSet("n", tuple(map(str, range(255))), ((0, 0, 0),) * 255)
