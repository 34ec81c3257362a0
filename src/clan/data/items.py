"""The items of a split, stored compactly as text: there may be a million."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from clan.data.archives.paths import Archive, FilePath
from clan.data.found import Around


@dataclass(frozen=True)
class Item:
    """One image; ``name`` is unique in its data set and valid as a file name."""

    name: str
    image: FilePath
    label: FilePath | None


class Items(Sequence[Item]):
    """Items stored as lists of text; an `Item` is created on access.

    Args:
        names: names of the items.
        images: paths of their images.
        labels: paths of their labels; None if there are none.
        archive: what paths may lie in; those that do not are local.
    """

    def __init__(
        self,
        names: Sequence[str],
        images: Sequence[str],
        labels: Sequence[str] | None,
        archive: Archive | None = None,
    ) -> None:
        self._names, self._archive = names, archive
        self._images = _compact(images, names)
        self._labels = None if labels is None else _compact(labels, names)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Items: ...

    def __getitem__(self, index: int | slice) -> Item | Items:
        labels = self._labels
        if isinstance(index, slice):
            part = Items.__new__(Items)
            part._names, part._images = self._names[index], self._images[index]
            part._archive = self._archive
            part._labels = None if labels is None else labels[index]
            return part
        label = None if labels is None else self._path(labels[index])
        return Item(self._names[index], self._path(self._images[index]), label)

    def _path(self, text: str) -> FilePath:
        if self._archive is not None and (inner := self._archive.inner(text)) is not None:
            return self._archive.path(inner)
        return Path(text)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self._names))


def _compact(paths: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """Return paths as `Around` if they have a common form; this saves two thirds of the memory."""
    if not paths or not names[0]:
        return paths
    if isinstance(paths, Around) and paths.names is names:
        return paths
    before, _, behind = paths[0].rpartition(names[0])
    told = all(path == f"{before}{name}{behind}" for path, name in zip(paths, names, strict=True))
    return Around(names, before, behind) if told else paths
