"""The files of one split of a described data set: which images, and which label each has."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from clan.core.errors import DataError, counted
from clan.data import lists
from clan.data.archives.paths import ArchivePath, FilePath
from clan.data.description import SplitPatterns
from clan.data.found import JOIN, Found, Key
from clan.data.items import Items
from clan.data.listing import describe, find, unique_names
from clan.data.pairing import Pairing, comparable, match_numbers, without
from clan.data.trees import tree_of


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split, listed once."""

    pairing: Pairing
    keys: list[Key] | None
    """Those of the list file's images, in its order; None without one: all."""
    left_out: str
    """What `images` matches and is no image, in words; empty if there is none."""

    def items(self) -> Items:
        """Return what is complete; names are unique."""
        images, labels, root = self.pairing.images, self.pairing.labels, self.pairing.root
        archive = root.archive if isinstance(root, ArchivePath) else None
        if self.keys is None and (not labels or self.pairing.alike):
            # nothing has to be looked up: a million of these takes seconds
            names = self._column(images)
            return Items(names, images.paths, _paths(labels) if labels else None, archive)
        chosen = list(images if self.keys is None else self.keys)
        if labels and not (self.keys is None and self.pairing.complete):
            chosen = [key for key in chosen if key in labels]
        return Items(
            self._names(chosen),
            [images[key] for key in chosen],
            [labels[key] for key in chosen] if labels else None,
            archive,
        )

    def _column(self, images: Found) -> Sequence[str]:
        """Return the names of all images; the column of their keys itself where it has them."""
        texts = images.texts
        if images.width == 1 and texts and texts[0]:
            return texts
        if images.width > 1 and (names := self._joined(texts)):
            return names
        return self._names(list(images))

    @staticmethod
    def _joined(texts: Sequence[str]) -> list[str]:
        """Return keys as names; nothing if a part is empty or two become one."""
        names = [text.replace(JOIN, "/") for text in texts]
        whole = all(names) and not any(n[0] == "/" or "//" in n or n[-1] == "/" for n in names)
        return names if whole and len(set(names)) == len(names) else []

    def _names(self, keys: Sequence[Key]) -> list[str]:
        """Return what the wildcards matched, and where that is not one image's alone, its path."""
        first = ["/".join(key if all(key) else filter(None, key)) for key in keys]
        if all(first) and len(set(first)) == len(first):
            return first
        start = len(os.path.join(str(self.pairing.root), ""))
        choices = []
        for key in keys:
            path = self.pairing.images[key][start:].replace(os.sep, "/")
            stem = os.path.splitext(path)[0]
            choices.append(("/".join(filter(None, key)) or stem.rsplit("/", 1)[-1], stem, path))
        return unique_names(choices)


def _paths(files: Mapping[Key, str]) -> Sequence[str]:
    return files.paths if isinstance(files, Found) else list(files.values())


def list_split(
    patterns: SplitPatterns, root: FilePath, where: str, labels: bool, home: Path
) -> SplitFiles:
    """List the files of a split; with ``labels`` False no label is looked for.

    DataError if ``root`` is no folder, a folder cannot be read, two files are one item, or a list
    file (in ``root``, else in ``home``) does not fit.
    """
    with _no_collection():
        return _list_split(patterns, root, where, labels, home)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the collector of garbage away: it would look at all that was listed again and again."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _list_split(
    patterns: SplitPatterns, root: FilePath, where: str, labels: bool, home: Path
) -> SplitFiles:
    if not root.is_dir():
        raise DataError(f"{where}: {describe(root, patterns.images)}")
    every = find(root, patterns.images)
    chosen = without(every, root, patterns.exclude)
    found: Mapping[Key, str] = find(root, patterns.labels) if patterns.labels and labels else {}
    if patterns.labels:
        # in a common folder the narrower pattern says what a file is
        pictures = without(chosen, root, (patterns.labels,))
        taken = set() if pictures else set(chosen.values())
        if taken:
            found = {key: path for key, path in found.items() if path not in taken} or found
        chosen = pictures or chosen
    if patterns.labels and isinstance(found, Found) and not found.same_keys(chosen):
        chosen = comparable(chosen, patterns.images)
        found = comparable(found, patterns.labels)
    if patterns.match == "numbers":
        found = match_numbers(chosen, found)
    if isinstance(found, Found) and found.same_keys(chosen):
        found = found.sharing(chosen)
    pairing = Pairing(
        root=root,
        image_pattern=patterns.images,
        label_pattern=patterns.labels if labels else None,
        images=chosen,
        labels=found,
    )
    keys = None
    if patterns.listed is not None and pairing.images:
        # lists come with the data, or with the description that was written for them
        beside = tree_of(root).is_file(str(root / patterns.listed))
        folder: FilePath = root if beside else home
        keys, given = lists.select(pairing, folder / patterns.listed, labels)
        pairing = replace(pairing, labels={**pairing.labels, **given})
    left_out = len(every) - len(chosen)
    said = f"left out: {counted(left_out, 'file')} that `labels` or `exclude` match"
    return SplitFiles(pairing, keys, said if left_out else "")
