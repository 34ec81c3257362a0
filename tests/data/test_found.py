"""Found files are what a dict of tuples would be, in a fraction of its memory and time."""

from __future__ import annotations

import re
import tracemalloc
from itertools import product
from pathlib import Path

import pytest

from clan.core.errors import DataError
from clan.data.datasets import open_dataset
from clan.data.found import Around, Found
from clan.data.listing import expression, find, find_images, wildcards

NAMES = ("a.png", "b_1.png", "b_10.png", "b-1.png", "c.jpg", ".h.png", "Ä.png", "a_b_c.png", ".png")
FOLDERS = ("", "in", "in/one", "in/two", "in/one!", "in/.hidden", "in/one/deep/er")
PATTERNS = (
    *("in/*.png", "in/b*.png", "in/*", "*.png", "in/a.png", "in/none.png", "none/*.png"),
    *("in/*/*.png", "in/*/b_*.png", "in/*/*_*.png", "**/*.png", "in/**/*.png", "**/one/**/*.png"),
    *("in/*.{png,jpg}", "in/{one,two}/a.png", "in/*/*.{jpg,png}", "in/*/a.png", "in/.h*.png"),
    *("in/{.h,b_}*.png", "in/.hidden/*.png"),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for folder, name in product(FOLDERS, NAMES):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / name).touch()
    (root / "in" / "folder.png").mkdir()
    (root / "in" / "two" / "c.jpg").unlink()
    return root


def plainly(root: Path, pattern: str) -> dict[tuple[str, ...], str]:
    """Match every path below the root with the whole pattern, component by component."""
    found: dict[tuple[str, ...], str] = {}
    for path in root.rglob("*"):
        if path.is_file():
            for key in _keys(path.relative_to(root).parts, pattern.split("/")):
                assert found.setdefault(key, str(path)) == str(path), "a pattern of one key each"
    return dict(sorted(found.items()))


def _keys(parts: tuple[str, ...], pattern: list[str]) -> list[tuple[str, ...]]:
    if not pattern or not parts:
        return [()] if not pattern and not parts else []
    if pattern[0] == "**":
        keys = []
        for taken in range(len(parts)):
            if not any(part.startswith(".") for part in parts[:taken]):
                rest = _keys(parts[taken:], pattern[1:])
                keys += [("/".join(parts[:taken]), *key) for key in rest]
        return keys
    match = expression(pattern[0]).fullmatch(parts[0])
    return [match.groups() + key for key in _keys(parts[1:], pattern[1:])] if match else []


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_form_of_pattern_finds_what_matches(tree: Path, pattern: str) -> None:
    if pattern == "in/{one,two}/a.png":
        with pytest.raises(DataError, match="one item to the pattern"):
            find(tree, pattern)
        return
    found, expected = find(tree, pattern), plainly(tree, pattern)
    assert list(found.items()) == list(expected.items())
    assert found == expected
    assert bool(found) == (pattern not in ("in/none.png", "none/*.png"))
    assert all(found[key] == path and key in found for key, path in expected.items())
    for stranger in ((), ("none",), ("none", "none"), "none", ("in\0one",)):
        assert stranger not in found or stranger in expected
    assert found.width == wildcards(pattern)


def test_the_twins_of_a_brace_are_named(tree: Path) -> None:
    (tree / "twins").mkdir()
    for name in ("x.jpg", "x.png", "y.png"):
        (tree / "twins" / name).touch()
    with pytest.raises(DataError, match=re.escape("x.jpg and ")):
        find(tree, "twins/*.{png,jpg}")


def test_images_of_a_folder_are_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.jpg", "a.jpg", "b.jpg", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, left_out = find_images(tmp_path)
    expected = {("a",): "a.jpg", ("a/c",): "a/c.jpg", ("b.jpg",): "b.jpg", ("b.png",): "b.png"}
    assert list(found.items()) == [(k, str(tmp_path / p)) for k, p in expected.items()]
    assert left_out.text() == "left out: 1 .txt"


def test_lacking_and_sharing() -> None:
    images = Found(["a", "b", "c"], ["/i/a", "/i/b", "/i/c"], 1)
    labels = Found.of({("c",): "/l/c", ("a",): "/l/a"}, 1)
    assert images.lacking(labels) == ["/i/b"]
    assert labels.lacking({("a",): "x"}) == ["/l/c"]
    assert not images.same_keys(labels)
    texts = ["a", "c"]
    labels = Found(texts, Around(texts, "/l/", ""), 1).sharing(Found(["a", "c"], ["x", "y"], 1))
    assert dict(labels) == {("a",): "/l/a", ("c",): "/l/c"}
    assert labels.texts is labels.paths.names


def test_a_pair_takes_less_than_two_hundred_bytes(tmp_path: Path) -> None:
    count = 3000
    for folder, ending in (("images", "jpg"), ("labels", "png")):
        (tmp_path / folder).mkdir()
        for number in range(count):
            (tmp_path / folder / f"frame_{number:08}.{ending}").touch()
    (tmp_path / "many.yaml").write_text(
        "classes: cityscapes\nsplits: {train: {images: 'images/*.jpg', labels: 'labels/*.png'}}\n"
    )
    open_dataset(str(tmp_path / "many.yaml"))  # caches of expressions and class sets
    tracemalloc.start()
    try:
        dataset = open_dataset(str(tmp_path / "many.yaml"))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(dataset) == count
    # texts of 63 bytes: once to keep, twice while both folders are listed; the rest is constant
    assert kept < 120 * count + 150_000
    assert peak < 200 * count + 300_000
