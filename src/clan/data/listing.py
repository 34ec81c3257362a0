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
from itertools import pairwise
from unicodedata import normalize

from clan.core.errors import DataError
from clan.data.archives.paths import FilePath
from clan.data.found import JOIN, Around, Found, Key
from clan.data.images import CONVERT, SUFFIXES, UNREADABLE
from clan.data.trees import Tree, tree_of

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


def find(root: FilePath, pattern: str) -> Found:
    """List the files under ``root`` that match ``pattern``, each folder read once.

    ``*`` matches any part of one path component that does not begin with a dot, ``**`` any number
    of folders that are not hidden, ``{a,b}`` one of these. An absent folder gives no files.
    DataError if a folder cannot be read, or if two files differ in nothing but a brace.
    """
    tree = tree_of(root)
    folders: list[tuple[Key, str]] = [((), str(root))]
    *parents, last = pattern.split("/")
    for component in parents:
        folders = [match for folder in folders for match in _step(tree, folder, component)]
    width = wildcards(pattern)
    if len(folders) == 1 and not folders[0][0] and _simple(last):
        return _in_one_folder(tree, folders[0][1], last)
    # by folder, then within each: the order of the keys, unless braces make two folders one
    folders.sort()
    texts: list[str] = []
    paths: list[str] = []
    for key, path in folders:
        front = "".join(part + JOIN for part in key) if width > len(key) else JOIN.join(key)
        for match, name in _matches(tree, path, last):
            texts.append(front + match)
            paths.append(os.path.join(path, name))
    if "{" in pattern:
        order = sorted(range(len(texts)), key=texts.__getitem__)
        texts, paths = [texts[at] for at in order], [paths[at] for at in order]
        _refuse_twins(texts, paths, pattern)
    return Found(texts, paths, width)


def _simple(component: str) -> bool:
    """Tell whether a component's only wildcard is one `*`: then no expression is needed."""
    return component.count("*") == 1 and "{" not in component


def _in_one_folder(tree: Tree, folder: str, component: str) -> Found:
    """List the most frequent form of a pattern: one folder of perhaps a million files."""
    before, behind = component.split("*")
    names = tree.files(folder, before, behind, hidden=bool(before))
    start, end = len(before), -len(behind) or None
    texts = names if not before and not behind else [name[start:end] for name in names]
    texts.sort()
    return Found(texts, Around(texts, os.path.join(folder, before), behind), 1)


def _matches(tree: Tree, folder: str, component: str) -> list[tuple[str, str]]:
    """Return (what the wildcards matched, name) of a folder's files, sorted."""
    if "*" not in component and "{" not in component:
        there = tree.is_file(os.path.join(folder, component))
        return [("", component)] if there else []
    fits = expression(component).fullmatch
    before, behind = re.split(r"[*{]", component)[0], re.split(r"[*}]", component)[-1]
    names = tree.files(folder, before, behind, hidden=component[0] != "*")
    return sorted((JOIN.join(m.groups()), name) for name in names if (m := fits(name)))


def _refuse_twins(texts: Sequence[str], paths: Sequence[str], pattern: str) -> None:
    """Raise DataError if two files have one key; keys are sorted."""
    for place, (one, two) in enumerate(pairwise(texts)):
        if one == two:
            raise DataError(
                f"{paths[place]} and {paths[place + 1]} are one item to the pattern {pattern!r}, "
                "since its wildcards match the same in both; remove one, or narrow the pattern"
            )


def _step(tree: Tree, folder: tuple[Key, str], component: str) -> list[tuple[Key, str]]:
    """Return the folders in ``folder`` that match a component of a pattern."""
    key, path = folder
    if component == DEEP:
        return [((*key, inner), below) for inner, below in _below(tree, path)]
    if "*" not in component and "{" not in component:
        # as written, then as other systems write letters such as `ü`
        forms = (component, normalize("NFC", component), normalize("NFD", component))
        inside = (os.path.join(path, form) for form in dict.fromkeys(forms))
        return [(key, each) for each in inside if tree.is_dir(each)][:1]
    matches = tree.folders(path, expression(component))
    return [(key + match.groups(), os.path.join(path, match[0])) for match in matches]


def _below(tree: Tree, folder: str, inner: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path from the first folder, path) of a folder and all below it but hidden ones."""
    yield inner, folder
    for name in tree.deeper(folder):
        path = os.path.join(folder, name)
        yield from _below(tree, path, f"{inner}/{name}" if inner else name)


def find_images(folder: FilePath) -> tuple[Found, LeftOut]:
    """List image files in ``folder`` and all folders below it; say what else is there.

    The key is the path relative to ``folder`` without its suffix; files that differ in nothing
    but the suffix keep it. DataError if a folder cannot be read.
    """
    paths: list[str] = []
    left_out = LeftOut()
    tree = tree_of(folder)
    for _, below in _below(tree, str(folder)):
        for name, kind in tree.content(below):
            if name.startswith("."):
                left_out.hidden += 1
            elif kind == "other":
                left_out.pipes += 1
            elif kind == "file" and (ending := os.path.splitext(name)[1].lower()) in SUFFIXES:
                paths.append(os.path.join(below, name))
            elif kind == "file":
                left_out.endings[ending] += 1
    start = len(os.path.join(str(folder), ""))
    return _by_name([path[start:].replace(os.sep, "/") for path in paths], paths), left_out


def _by_name(relative: list[str], paths: list[str]) -> Found:
    """Return paths by their relative form without its suffix; with it where that is needed."""
    names = [os.path.splitext(name)[0] for name in relative]
    if len(set(names)) < len(names):
        names = unique_names([(n, whole) for n, whole in zip(names, relative, strict=True)])
    order = sorted(range(len(names)), key=names.__getitem__)
    return Found([names[at] for at in order], [paths[at] for at in order], 1)


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


def describe(root: FilePath, pattern: str) -> str:
    """Say how far the fixed part of ``pattern`` exists under ``root``, and what is there."""
    folder, tree = root, tree_of(root)
    for component in pattern.split("/")[:-1]:
        if "*" in component or not tree.is_dir(str(folder / component)):
            break
        folder = folder / component
    if not folder.exists():
        return f"the folder {folder} does not exist"
    if not folder.is_dir():
        return f"{folder} is a file, not a folder"
    try:
        content = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"the folder {folder} cannot be read ({error.strerror})"
    if not content:
        return f"the folder {folder} is empty"
    return f"{folder} holds {', '.join(content[:5])}" + (
        f" and {len(content) - 5} more" if len(content) > 5 else ""
    )
