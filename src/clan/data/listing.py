"""Finds files by pattern and in folders, and names them.

All commands leave out hidden files and folders (a leading dot) and special files; other files
beside images are counted, so that messages can name them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clan.core.errors import DataError
from clan.data.images import CONVERT, SUFFIXES, UNREADABLE

Key = tuple[str, ...]
"""What the wildcards of a pattern matched, in order."""

Found = dict[Key, str]
"""Wildcard matches -> path, sorted by path component."""

DEEP = "**"
"""The wildcard that stands for any number of folders."""

_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass
class LeftOut:
    """What a folder holds besides the images."""

    hidden: int = 0
    """Files and folders that begin with a dot."""
    endings: Counter[str] = field(default_factory=Counter)
    """Ending in small letters -> number of files."""
    pipes: int = 0
    """Pipes, sockets, devices, and links that lead nowhere."""

    def text(self) -> str:
        """Return what was left out in a sentence's part; empty if nothing was."""
        unreadable = {e: n for e, n in self.endings.items() if e in UNREADABLE}
        parts = [f"{n} {e or 'without an ending'}" for e, n in sorted(unreadable.items())]
        if parts:
            parts[-1] += f" (cannot be read: {CONVERT})"
        others = sorted(self.endings.items() - unreadable.items())
        parts += [f"{n} {e or 'without an ending'}" for e, n in others[:6]]
        if len(others) > 6:
            parts.append(f"{sum(n for _, n in others[6:])} of other endings")
        if self.hidden:
            parts.append(f"{self.hidden} hidden (a dot in front)")
        if self.pipes:
            parts.append(f"{self.pipes} that {'is' if self.pipes == 1 else 'are'} no plain file")
        return "left out: " + ", ".join(parts) if parts else ""


def check_pattern(pattern: str) -> str:
    """Return what is wrong with a pattern; empty if nothing is."""
    plain = _BRACES.sub("", pattern)
    inside = "".join(_BRACES.findall(pattern))
    if any(sign in plain for sign in "?[]{}\\") or any(sign in inside for sign in "*/?[]\\"):
        return (
            f"{pattern!r}: the wildcards are `*` (within one path component), `**` (any folders) "
            "and `{jpg,png}` (one of these)"
        )
    if any("**" in part and part != DEEP for part in pattern.split("/")):
        return f"{pattern!r}: `**` must stand alone between slashes, such as `images/**/*.png`"
    if pattern.split("/")[-1] == DEEP:
        return f"{pattern!r}: behind `**` belongs a name, such as `**/*.png`"
    if pattern.startswith("/") or ".." in pattern.split("/"):
        return f"{pattern!r}: patterns stay below the root; set `root` instead"
    return ""


def wildcards(pattern: str) -> int:
    """Return how many wildcards a pattern has that take part in names."""
    return sum(1 if part == DEEP else part.count("*") for part in pattern.split("/"))


def expression(component: str) -> re.Pattern[str]:
    """Return the expression of one component of a pattern; its groups are the wildcards."""
    parts = re.split(r"(\*|\{[^{}]*\})", component)
    text = ""
    for part in parts:
        if part == "*":
            text += "(.*)"
        elif part.startswith("{"):
            text += "(?:" + "|".join(re.escape(p) for p in part[1:-1].split(",")) + ")"
        else:
            text += re.escape(part)
    # `*` at the start must not take hidden files, such as the ._name.png that macOS leaves.
    return re.compile((r"(?!\.)" if component[:1] == "*" else "") + text, re.DOTALL)


def find(root: Path, pattern: str) -> Found:
    """List the files under ``root`` that match ``pattern``, each folder read once.

    ``*`` matches any part of one path component that does not begin with a dot, ``**`` any number
    of folders that are not hidden, ``{a,b}`` one of these. An absent folder gives no files.
    DataError if a folder cannot be read, or if two files differ in nothing but a brace.
    """
    folders: list[tuple[Key, str]] = [((), str(root))]
    *parents, last = pattern.split("/")
    for component in parents:
        folders = [match for folder in folders for match in _step(folder, component, files=False)]
    found: Found = {}
    for folder in folders:
        for key, path in _step(folder, last, files=True):
            if found.setdefault(key, path) != path:
                raise DataError(
                    f"{found[key]} and {path} are one item to the pattern {pattern!r}, since its "
                    "wildcards match the same in both; remove one, or narrow the pattern"
                )
    # by component, as tuples would be: no name holds the sign in between, which is the least of all
    order = dict(zip(map("\0".join, found), found.items(), strict=True))
    return dict(map(order.__getitem__, sorted(order)))


def _step(folder: tuple[Key, str], component: str, files: bool) -> Iterator[tuple[Key, str]]:
    key, path = folder
    if component == DEEP:
        yield from (((*key, inner), below) for inner, below in _below(path))
        return
    if "*" not in component and "{" not in component:
        inside = os.path.join(path, component)
        if os.path.isfile(inside) if files else os.path.isdir(inside):
            yield key, inside
        return
    fits = expression(component).fullmatch
    for entry in _entries(path):
        match = fits(entry.name)
        if match and (entry.is_file() if files else entry.is_dir()):
            yield key + match.groups(), entry.path


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from entries
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{path}: the folder cannot be read ({error.strerror})") from error


def _below(folder: str, inner: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path from the first folder, path) of a folder and all below it but hidden ones."""
    yield inner, folder
    for entry in _entries(folder):
        if not entry.name.startswith(".") and entry.is_dir() and not _returns(entry):
            yield from _below(entry.path, f"{inner}/{entry.name}" if inner else entry.name)


def _returns(entry: os.DirEntry[str]) -> bool:
    """Tell whether a folder is a link to one that it lies in: following it would never end."""
    if not entry.is_symlink():
        return False
    real = os.path.realpath(entry.path)
    here = os.path.realpath(os.path.dirname(entry.path))
    return os.path.commonpath([real, here]) == real


def find_images(folder: Path) -> tuple[Found, LeftOut]:
    """List image files in ``folder`` and all folders below it; say what else is there.

    The key is the path relative to ``folder`` without its suffix; files that differ in nothing
    but the suffix keep it. DataError if a folder cannot be read.
    """
    paths: list[str] = []
    left_out = LeftOut()
    for _, below in _below(str(folder)):
        for entry in _entries(below):
            if entry.name.startswith("."):
                left_out.hidden += 1
            elif entry.is_dir():
                continue
            elif not entry.is_file():
                left_out.pipes += 1
            elif (ending := os.path.splitext(entry.name)[1].lower()) in SUFFIXES:
                paths.append(entry.path)
            else:
                left_out.endings[ending] += 1
    # Text, not Path objects: a folder may hold a hundred thousand files.
    start = len(os.path.join(folder, ""))
    relative = [path[start:].replace(os.sep, "/") for path in paths]
    names = unique_names([(os.path.splitext(name)[0], name) for name in relative])
    return dict(sorted(((name,), path) for name, path in zip(names, paths, strict=True))), left_out


def unique_names(choices: Sequence[Sequence[str]]) -> list[str]:
    """Return one name for each, the first of its choices that no other has.

    The last choice of each must be its own. Results are stored under these names: two of one name
    would overwrite each other.
    """
    level = [0] * len(choices)
    while True:
        names = [choice[at] for choice, at in zip(choices, level, strict=True)]
        times = Counter(names)
        again = [
            i for i, name in enumerate(names) if times[name] > 1 and level[i] + 1 < len(choices[i])
        ]
        if not again:
            return names
        for i in again:
            level[i] += 1


def describe(root: Path, pattern: str) -> str:
    """Say how far the fixed part of ``pattern`` exists under ``root``, and what is there."""
    folder = root
    for component in pattern.split("/")[:-1]:
        if not folder.is_dir() or "*" in component or not (folder / component).is_dir():
            break
        folder = folder / component
    if not folder.exists():
        return f"the folder {folder} does not exist"
    if not folder.is_dir():
        return f"{folder} is a file, not a folder"
    try:
        content = sorted(os.listdir(folder))
    except OSError as error:
        return f"the folder {folder} cannot be read ({error.strerror})"
    if not content:
        return f"the folder {folder} is empty"
    return f"{folder} holds {', '.join(content[:5])}" + (
        f" and {len(content) - 5} more" if len(content) > 5 else ""
    )
