"""Finding files by pattern, and pairing images with labels by what the wildcards matched."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clan.core.errors import DataError, nearest

Key = tuple[str, ...]
"""What the wildcards of a pattern matched, in order."""

Found = dict[Key, str]
"""Wildcard matches -> path, sorted by path component."""


def find(root: Path, pattern: str) -> Found:
    """List the files under ``root`` that match ``pattern``, each folder read once.

    ``*`` matches any part of one path component that does not begin with a dot. An absent folder
    gives no files. DataError if a folder cannot be read.
    """
    folders: list[tuple[Key, str]] = [((), str(root))]
    *parents, last = pattern.split("/")
    for component in parents:
        folders = [match for folder in folders for match in _step(folder, component, files=False)]
    found = dict(match for folder in folders for match in _step(folder, last, files=True))
    return dict(sorted(found.items()))


def _step(folder: tuple[Key, str], component: str, files: bool) -> Iterator[tuple[Key, str]]:
    key, path = folder
    if "*" not in component:
        inside = os.path.join(path, component)
        if os.path.isfile(inside) if files else os.path.isdir(inside):
            yield key, inside
        return
    # `*` at the start must not take hidden files, such as the ._name.png that macOS leaves.
    expression = re.compile(
        r"(?!\.)" + "(.*)".join(re.escape(part) for part in component.split("*")), re.DOTALL
    )
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                match = expression.fullmatch(entry.name)
                if match and (entry.is_file() if files else entry.is_dir()):
                    yield (*key, *match.groups()), entry.path
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{path}: the folder cannot be read ({error.strerror})") from error


def find_images(folder: Path, suffixes: frozenset[str]) -> Found:
    """List image files in ``folder`` and all folders below it, hidden ones left out.

    The key is the path relative to ``folder`` without its suffix; files that differ in nothing
    but the suffix keep it. DataError if a folder cannot be read.
    """
    paths: list[str] = []
    try:
        _collect(str(folder), suffixes, paths)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    # Text, not Path objects: a folder may hold a hundred thousand files.
    start = len(os.path.join(folder, ""))
    names = [path[start:].replace(os.sep, "/") for path in paths]
    times = Counter(os.path.splitext(name)[0] for name in names)
    found: Found = {}
    for name, path in zip(names, paths, strict=True):
        stem = os.path.splitext(name)[0]
        found[(stem if times[stem] == 1 else name,)] = path
    return dict(sorted(found.items()))


def _collect(folder: str, suffixes: frozenset[str], paths: list[str]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                _collect(entry.path, suffixes, paths)
            elif os.path.splitext(entry.name)[1].lower() in suffixes:
                paths.append(entry.path)


@dataclass(frozen=True)
class Pairing:
    """The files of a split: images, labels, and the patterns that found them under ``root``."""

    root: Path
    image_pattern: str
    label_pattern: str | None
    images: Found
    labels: Found

    def check(self, where: str, keys: Sequence[Key] | None = None) -> None:
        """Raise DataError unless every image has a label and the reverse, or there is no label.

        With ``keys``, the images of a list file, labels of other images do not matter.
        """
        if not self.images:
            raise DataError(f"{where}: {self._no_images()}")
        bare, lonely = self.unpaired(keys)
        complaints = [
            f"{len(paths)} {kind} (of {total}): {self._first(paths)}"
            for kind, paths, total in (
                ("images without a label", bare, len(self.images if keys is None else keys)),
                ("labels without an image", lonely, len(self.labels)),
            )
            if paths
        ]
        if complaints:
            raise DataError(
                f"{where}: {'; '.join(complaints)}. Looked in {self.root} for "
                f"{self.image_pattern} and {self.label_pattern}: complete the copy, remove what is "
                "left over, or name the wanted images in a `list` file"
            )

    def unpaired(self, keys: Sequence[Key] | None = None) -> tuple[list[str], list[str]]:
        """Return (images without a label, labels without an image); see `check` for ``keys``."""
        if not self.labels:
            return [], []
        wanted = self.images.keys() if keys is None else keys
        bare = [self.images[key] for key in wanted if key not in self.labels]
        if keys is not None:
            return bare, []
        return bare, [path for key, path in self.labels.items() if key not in self.images]

    def sought(self) -> str:
        """Say where labels were looked for in vain; empty if there are some or none was wanted."""
        if self.labels or self.label_pattern is None:
            return ""
        found = describe(self.root, self.label_pattern)
        return f" (looked for {self.label_pattern} in {self.root}; {found})"

    def _first(self, paths: Sequence[str]) -> str:
        shown = ", ".join(os.path.relpath(path, self.root) for path in paths[:3])
        return shown + (", ..." if len(paths) > 3 else "")

    def _no_images(self) -> str:
        beside = ""
        if self.labels:
            paths = list(self.labels.values())
            beside = f" ({len(paths)} labels are there without images: {self._first(paths)})"
        found = describe(self.root, self.image_pattern)
        return f"no image {self.image_pattern} in {self.root}{beside}; {found}" + _elsewhere(
            self.root, self.image_pattern
        )


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


def _elsewhere(root: Path, pattern: str) -> str:
    """Name the folder above or directly below ``root`` that has what ``pattern`` asks for."""
    below = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in (root.resolve().parent, *below[:100]):
        with suppress(DataError):  # a folder that cannot be read is none that helps
            if find(folder, pattern):
                return f". {folder} has such images: make it the root"
    return ""


def select(images: Found, root: Path, list_file: Path) -> list[Key]:
    """Return the keys of the images that a list file names, in its order.

    A line holds an image's name (its wildcard matches joined by ``/``) or the end of its path.
    DataError for a line that fits no image or several, for one that comes twice, and for a file
    that is missing or empty.
    """
    try:
        lines = list_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{list_file}: the list cannot be read ({error})") from error
    names: dict[str, list[Key]] = {}
    for key, path in images.items():
        parts = Path(path).relative_to(root).parts
        endings = {"/".join(parts[start:]) for start in range(len(parts))}
        for name in endings | {"/".join(key), path}:
            names.setdefault(name, []).append(key)
    keys: dict[Key, int] = {}
    unknown: list[str] = []
    for number, line in enumerate(lines, 1):
        name = line.strip().removeprefix("./")
        if not name:
            continue
        fitting = names.get(name, [])
        if not fitting:
            unknown.append(f"line {number}: {name}")
        elif len(fitting) > 1:
            raise DataError(
                f"{list_file}:{number}: {name!r} fits {len(fitting)} images, such as "
                f"{images[fitting[0]]} and {images[fitting[1]]}; write more of the path"
            )
        elif keys.setdefault(fitting[0], number) != number:
            raise DataError(f"{list_file}:{number}: {name!r} is already on line {keys[fitting[0]]}")
    if unknown:
        name = unknown[0].split(": ", 1)[1]
        hint = nearest(name, ["/".join(key) for key in images]) if len(images) < 1000 else ""
        raise DataError(
            f"{list_file}: {len(unknown)} lines name no image under {root} "
            f"({'; '.join(unknown[:3])}{'; ...' if len(unknown) > 3 else ''}), which has images "
            f"such as {next(iter(images.values()))}" + (hint if hint.startswith("; did") else "")
        )
    if not keys:
        raise DataError(f"{list_file}: the list names no image")
    return list(keys)
