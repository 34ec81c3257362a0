"""The images of a split, of which there may be a million: text is kept, paths are made when asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload


@dataclass(frozen=True)
class Item:
    """One image; ``name`` is unique in its data set and fit to name files after it."""

    name: str
    image: Path
    label: Path | None


class Items(Sequence[Item]):
    """Items as lists of text; each is made when it is asked for.

    Args:
        names: of the items.
        images: paths of their images.
        labels: paths of their labels; None: there is none.
    """

    def __init__(
        self, names: Sequence[str], images: Sequence[str], labels: Sequence[str] | None
    ) -> None:
        self._names, self._images, self._labels = names, images, labels

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Items: ...

    def __getitem__(self, index: int | slice) -> Item | Items:
        labels = self._labels
        if isinstance(index, slice):
            return Items(
                self._names[index], self._images[index], None if labels is None else labels[index]
            )
        label = None if labels is None else Path(labels[index])
        return Item(self._names[index], Path(self._images[index]), label)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Items):
            ours = (self._names, self._images, self._labels)
            return ours == (other._names, other._images, other._labels)
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self._names))
