"""Files by what the wildcards of a pattern matched, as columns of text: there may be a million.

A `Found` reads like a dict of tuples. Where paths have a common form it keeps one text for each
file, in place of a tuple, its parts and a path.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self, overload

Key = tuple[str, ...]
"""What the wildcards of a pattern matched, in order."""

JOIN = "\0"
"""Stands between the parts of a key in a column: below every other character, so that columns sort
as tuples do."""


class Around(Sequence[str]):
    """Paths made of each name, a common prefix and a common suffix."""

    def __init__(self, names: Sequence[str], before: str, behind: str) -> None:
        self.names, self.before, self.behind = names, before, behind

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return Around(self.names[index], self.before, self.behind)
        return f"{self.before}{self.names[index]}{self.behind}"

    def __iter__(self) -> Iterator[str]:
        before, behind = self.before, self.behind
        return (f"{before}{name}{behind}" for name in self.names)


class Found(Mapping[Key, str]):
    """Key -> path, in the order of the keys.

    Args:
        texts: the keys, each with its parts joined by `JOIN`; sorted, none twice.
        paths: a path for each.
        width: how many parts a key has.
    """

    def __init__(self, texts: list[str], paths: Sequence[str], width: int) -> None:
        self.texts, self.paths, self.width = texts, paths, width

    @classmethod
    def of(cls, files: Mapping[Key, str], width: int) -> Self:
        """Build from a mapping whose keys have ``width`` parts each."""
        keys = sorted(files)
        return cls([JOIN.join(key) for key in keys], [files[key] for key in keys], width)

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[Key]:
        return map(self._key, self.texts)

    def __getitem__(self, key: Key) -> str:
        place = self._place(key)
        if place is None:
            raise KeyError(key)
        return self.paths[place]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and self._place(key) is not None

    def _key(self, text: str) -> Key:
        return tuple(text.split(JOIN)) if self.width else ()

    def _place(self, key: Key) -> int | None:
        text = JOIN.join(key)
        place = bisect_left(self.texts, text)
        there = place < len(self.texts) and self.texts[place] == text
        return place if there and len(key) == self.width else None

    def same_keys(self, other: Found) -> bool:
        """Tell whether another has the same keys."""
        return self.width == other.width and self.texts == other.texts

    def sharing(self, other: Found) -> Found:
        """Return this with the equal keys of another, so that memory holds them once."""
        paths = self.paths
        if isinstance(paths, Around) and paths.names is self.texts:
            paths = Around(other.texts, paths.before, paths.behind)
        return Found(other.texts, paths, self.width)

    def lacking(self, others: Iterable[Key]) -> list[str]:
        """Return the paths of the keys that are not among ``others``."""
        known = set(others.texts if isinstance(others, Found) else map(JOIN.join, others))
        return [
            path for text, path in zip(self.texts, self.paths, strict=True) if text not in known
        ]

    def may_start(self, begins: tuple[str, ...]) -> bool:
        """Tell whether a path may begin with one of ``begins``; True is not certain."""
        if isinstance(self.paths, Around):
            own = self.paths.before
            return any(own.startswith(text) or text.startswith(own) for text in begins)
        return any(path.startswith(begins) for path in self.paths)
