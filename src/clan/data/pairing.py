"""Pairing images with labels by what the wildcards of their patterns matched."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from unicodedata import normalize

from clan.core.errors import DataError, counted
from clan.data.archives.paths import ArchivePath, FilePath
from clan.data.found import JOIN, Found, Key
from clan.data.images import SUFFIXES
from clan.data.listing import DEEP, describe, expression, find


@dataclass(frozen=True)
class Pairing:
    """The files of a split: images, labels, and the patterns that found them under ``root``."""

    root: FilePath
    image_pattern: str
    label_pattern: str | None
    images: Found
    labels: Mapping[Key, str]

    def check(self, where: str, keys: Sequence[Key] | None = None) -> None:
        """Raise DataError unless every image has a label and the reverse, or there is no label.

        With ``keys``, the images of a list file, labels of other images do not matter.
        """
        if not self.images:
            raise DataError(f"{where}: {self._no_images()}")
        bare, lonely = self.unpaired(keys)
        complaints = [
            f"{counted(len(paths), kind)} {lack} (of {total}): {self._first(paths)}"
            for kind, lack, paths, total in (
                ("image", "without a label", bare, len(self.images if keys is None else keys)),
                ("label", "without an image", lonely, len(self.labels)),
            )
            if paths
        ]
        if complaints:
            raise DataError(
                f"{where}: {'; '.join(complaints)}. Looked in {self.root} for "
                f"{self.image_pattern} and {self.label_pattern}: {self._advice()}"
                "complete the copy, remove what is "
                "left over, or name the wanted images in a `list` file"
            )

    @cached_property
    def complete(self) -> bool:
        """Whether every image has a label, and every label an image."""
        return self.alike or self.images.keys() == self.labels.keys()

    @cached_property
    def alike(self) -> bool:
        """Whether images and labels have the same keys in the same order, as two patterns find."""
        if isinstance(self.labels, Found):
            return self.images.same_keys(self.labels)
        return len(self.images) == len(self.labels) and list(self.images) == list(self.labels)

    def unpaired(self, keys: Sequence[Key] | None = None) -> tuple[list[str], list[str]]:
        """Return (images without a label, labels without an image); see `check` for ``keys``."""
        if not self.labels:
            return [], []
        if keys is None and self.complete:
            return [], []
        if keys is not None:
            return [self.images[key] for key in keys if key not in self.labels], []
        return self.images.lacking(self.labels), _lacking(self.labels, self.images)

    def sought(self) -> str:
        """Say where labels were looked for in vain; empty if there are some or none was wanted."""
        if self.labels or self.label_pattern is None:
            return ""
        found = describe(self.root, self.label_pattern)
        return f" (looked for {self.label_pattern} in {self.root}; {found})"

    def _advice(self) -> str:
        """Say which change of the description would pair the files; empty if none is known."""
        images, labels = set(self.images), set(self.labels)
        if images & labels or not self.label_pattern or "*" not in self.image_pattern:
            return ""
        if {numbered(key) for key in images} & {numbered(key) for key in labels}:
            return "zeros in front of numbers do not count with `match: numbers` in the split; or "
        if min(len(images), len(labels)) == 1:
            return ""  # of one name nothing shows which part is fixed
        ours, theirs = _fixed(images), _fixed(labels)
        if {_inner(key, ours) for key in images} & {_inner(key, theirs) for key in labels}:
            narrowed = " and ".join(
                f"`{kind}: {_narrowed(pattern, fixed)}`"
                for kind, pattern, fixed in (
                    ("images", self.image_pattern, ours),
                    ("labels", self.label_pattern, theirs),
                )
            )
            return f"write {narrowed}, so that the wildcards match the same; or "
        return ""

    def _first(self, paths: Sequence[str]) -> str:
        shown = ", ".join(within(path, self.root) for path in paths[:3])
        return shown + (", ..." if len(paths) > 3 else "")

    def _no_images(self) -> str:
        beside = ""
        if self.labels:
            paths = list(self.labels.values())
            verb = "is" if len(paths) == 1 else "are"
            beside = (
                f" ({counted(len(paths), 'label')} {verb} there without images: "
                f"{self._first(paths)})"
            )
        found = describe(self.root, self.image_pattern)
        return f"no image {self.image_pattern} in {self.root}{beside}; {found}" + _elsewhere(
            self.root, self.image_pattern
        )


def _lacking(files: Mapping[Key, str], others: Found) -> list[str]:
    if isinstance(files, Found):
        return files.lacking(others)
    return [path for key, path in files.items() if key not in others]


def within(path: str, root: FilePath) -> str:
    """Return a path relative to a root, where there is such a way."""
    start = os.path.join(str(root), "")
    if path.startswith(start):
        return path[len(start) :]
    return path if isinstance(root, ArchivePath) else os.path.relpath(path, root)


def numbered(key: Key) -> Key:
    """Return a key with its numbers as numbers: ``0001`` is ``1``."""
    return tuple(re.sub(r"\d+", lambda digits: str(int(digits[0])), part) for part in key)


def match_numbers(images: Mapping[Key, str], labels: Mapping[Key, str]) -> dict[Key, str]:
    """Return the labels under the keys of their images, zeros in front of numbers left aside.

    DataError if that makes two images, or two labels, one.
    """
    keys: dict[Key, Key] = {}
    for key in images:
        if keys.setdefault(numbered(key), key) != key:
            raise _ambiguous(images[keys[numbered(key)]], images[key])
    moved: dict[Key, str] = {}
    for key, path in labels.items():
        new = keys.get(numbered(key), key)
        if moved.setdefault(new, path) != path:
            raise _ambiguous(moved[new], path)
    return moved


def one_form(name: str) -> str:
    """Return a name with each letter in one form: macOS writes ``ü`` as two characters."""
    return name if name.isascii() else normalize("NFC", name)


def comparable(files: Found, pattern: str) -> Found:
    """Return files under keys that differ only where names do.

    Letters have one form. Where a last wildcard took in ``.jpg`` and the like, as in ``i/*`` and
    ``i/*.*``, it is left out, so that ``a.jpg`` is paired with ``a.png``. Where that would make two
    files one, the files are returned as they are.
    """
    texts = [one_form(text) for text in files.texts]
    if pattern.endswith("*") and files.width:
        # `*.*` takes the ending in as a part of its own
        alone = pattern.endswith(".*")
        texts = [_without_ending(text, alone) for text in texts]
    if texts == files.texts or len(set(texts)) < len(texts):
        return files
    order = sorted(range(len(texts)), key=texts.__getitem__)
    return Found([texts[at] for at in order], [files.paths[at] for at in order], files.width)


def _without_ending(text: str, alone: bool) -> str:
    if alone:
        name, join, ending = text.rpartition(JOIN)
        return name + join if f".{ending.lower()}" in SUFFIXES else text
    name, ending = os.path.splitext(text)
    return name if ending.lower() in SUFFIXES else text


def _ambiguous(first: str, second: str) -> DataError:
    return DataError(
        f"{first} and {second} are one with `match: numbers`, which leaves zeros in front of "
        "numbers aside; remove one, or rename the files"
    )


def without(images: Found, root: FilePath, excluded: Sequence[str]) -> Found:
    """Return the images that no pattern of ``excluded`` matches.

    A pattern without a slash is compared with file names, another with paths below ``root``.
    """
    if not excluded:
        return images
    ways = [_excluding(pattern) for pattern in excluded]
    kept: dict[Key, str] = {}
    start = len(os.path.join(str(root), ""))
    # what all matches begin with: most data sets have labels in a folder of their own
    fixed = [re.split(r"[*{]", p)[0] if "/" in p else "" for p in excluded]
    begins = tuple(os.path.join(str(root), *part.split("/")) for part in fixed)
    if not images.may_start(begins):
        return images
    for key, path in images.items():
        name = path[start:].replace(os.sep, "/")
        texts = [name if "/" in pattern else name.rsplit("/", 1)[-1] for pattern in excluded]
        matched = any(way.fullmatch(text) for way, text in zip(ways, texts, strict=True))
        if not matched:
            kept[key] = path
    return Found.of(kept, images.width) if len(kept) < len(images) else images


def _excluding(pattern: str) -> re.Pattern[str]:
    *parents, last = (
        None if part == DEEP else expression(part).pattern.replace("(.*)", "[^/]*")
        for part in pattern.split("/")
    )
    folders = "".join("(?:[^/]+/)*" if part is None else f"{part}/" for part in parents)
    return re.compile(folders + (last or ""), re.DOTALL)


def _fixed(keys: set[Key]) -> tuple[str, str]:
    """Return what the last parts of all keys begin and end with, numbers aside."""
    last = [key[-1] for key in keys]
    front = _common_start(last)
    back = _common_start([name[::-1] for name in last])[::-1]
    return front.rstrip("0123456789"), back.lstrip("0123456789")


def _inner(key: Key, fixed: tuple[str, str]) -> Key:
    front, back = fixed
    name = key[-1]
    return (*key[:-1], name[len(front) : len(name) - len(back) if back else None])


def _narrowed(pattern: str, fixed: tuple[str, str]) -> str:
    at = pattern.rindex("*")
    return f"{pattern[:at]}{fixed[0]}*{fixed[1]}{pattern[at + 1 :]}"


def _elsewhere(root: FilePath, pattern: str) -> str:
    """Name the folder above or directly below ``root`` that has what ``pattern`` asks for."""
    below = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in (root.resolve().parent, *below[:100]):
        with suppress(DataError):  # a folder that cannot be read is none that helps
            if find(folder, pattern):
                return f". {folder} has such images: make it the root"
    return ""


def _common_start(names: Sequence[str]) -> str:
    """Return the letters that all names begin with."""
    first, last = min(names), max(names)
    for place, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return first[:place]
    return first
