"""Files that list the images of a split, as they come from Windows, other machines and tables."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator, Mapping

from clan.core.errors import DataError, counted, nearest
from clan.data.archives.paths import ArchivePath, FilePath
from clan.data.found import Key
from clan.data.pairing import Pairing, one_form, within
from clan.data.trees import tree_of

_SEPARATORS = ("\t", ",", ";", " ")


class _Names:
    """The ways to name a found file: the end of its path, or its wildcards' matches."""

    def __init__(self, files: Mapping[Key, str], root: FilePath) -> None:
        self.files = files
        self.keys: dict[str, list[Key]] = {}
        for key, path in files.items():
            parts = within(path, root).split(os.sep)
            endings = {"/".join(parts[start:]) for start in range(len(parts))}
            whole = path if isinstance(root, ArchivePath) else os.path.abspath(path)
            for name in endings | {"/".join(key), path, whole.replace("\\", "/")}:
                self.keys.setdefault(one_form(name), []).append(key)

    def fitting(self, name: str) -> list[Key]:
        """Return the keys of what ``name`` may mean; a path of another machine by its end."""
        name = one_form(name)
        found = self.keys.get(name, [])
        parts = name.split("/")
        if found or not (name.startswith("/") or name[1:3] == ":/"):
            return found
        # a folder and the name at least: the name alone may be another split's
        ends = ("/".join(parts[start:]) for start in range(1, len(parts) - 1))
        return next((self.keys[end] for end in ends if end in self.keys), [])


def select(pairing: Pairing, list_file: FilePath, labels: bool) -> tuple[list[Key], dict[Key, str]]:
    """Return the keys of the images that a list file names, in its order, and labels named there.

    A line holds an image: its name (its wildcard matches joined by ``/``), or the end of its path,
    or its whole path. Behind a tab, comma, semicolon or space its label may follow; the label is
    then this file, and must exist if ``labels`` are wanted.

    DataError for a line that fits no image or several, for one that comes twice, and for a file
    that is missing or empty.
    """
    images, root = pairing.images, pairing.root
    names = _Names(images, root)
    known = _Names(pairing.labels, root)
    keys: dict[Key, int] = {}
    given: dict[Key, str] = {}
    unknown: list[str] = []
    for number, line in _lines(list_file):
        fitting, label = _fitting(line, names, known, (root, list_file.parent), labels)
        if not fitting:
            unknown.append(f"line {number}: {line}")
        elif len(fitting) > 1:
            raise DataError(
                f"{list_file}:{number}: {line!r} fits {len(fitting)} images, such as "
                f"{images[fitting[0]]} and {images[fitting[1]]}; write more of the path"
            )
        elif keys.setdefault(fitting[0], number) != number:
            raise DataError(f"{list_file}:{number}: {line!r} is already on line {keys[fitting[0]]}")
        elif label:
            given[fitting[0]] = label
    if unknown:
        raise DataError(_unknown(unknown, pairing, list_file))
    if not keys:
        raise DataError(f"{list_file}: the list names no image")
    return list(keys), given


def _lines(list_file: FilePath) -> Iterator[tuple[int, str]]:
    """Yield (number, content) of the lines that hold something, in whatever way it was saved."""
    try:
        data = list_file.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{list_file}: the list is no text in UTF-8 or UTF-16 ({error}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"{list_file}: the list cannot be read ({error})") from error
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        if name := _plain(line):
            yield number, name


def _plain(name: str) -> str:
    return name.strip().strip("\"'").replace("\\", "/").removeprefix("./")


def _fitting(
    line: str, names: _Names, known: _Names, folders: tuple[FilePath, FilePath], labels: bool
) -> tuple[list[Key], str | None]:
    """Return the images that a line may mean, and its label's path if the line names one."""
    if fitting := names.fitting(line):
        return fitting, None
    for separator in _SEPARATORS:
        parts = line.split(separator)
        for at in range(1, len(parts)):
            first, second = _plain(separator.join(parts[:at])), _plain(separator.join(parts[at:]))
            fitting = names.fitting(first)
            label = _label(second, known, folders) if labels else None
            if fitting and (label or not labels):
                return fitting, label
    return [], None


def _label(name: str, known: _Names, folders: tuple[FilePath, FilePath]) -> str | None:
    for folder in folders:
        # a tree takes a name too long for a file to be none, a path raises an error
        if name and tree_of(folder).is_file(str(folder / name)):
            return str(folder / name)
    fitting = known.fitting(name)
    return known.files[fitting[0]] if len(fitting) == 1 else None


def _unknown(unknown: list[str], pairing: Pairing, list_file: FilePath) -> str:
    name = unknown[0].split(": ", 1)[1]
    images = pairing.images
    hint = nearest(name, ["/".join(key) for key in images]) if len(images) < 1000 else ""
    verb = "names" if len(unknown) == 1 else "name"
    return (
        f"{list_file}: {counted(len(unknown), 'line')} {verb} no image under {pairing.root} "
        f"({'; '.join(unknown[:3])}{'; ...' if len(unknown) > 3 else ''}), or a label that is not "
        f"there; it has images such as {next(iter(images.values()))}"
        + (hint if hint.startswith("; did") else "")
    )
