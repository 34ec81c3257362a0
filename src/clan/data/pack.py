"""Writes a data set as one archive that is read in place, and the description that reads it."""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from clan.core.errors import DataError, counted
from clan.core.files import make_folder, user_path, write_whole, writing
from clan.core.yamlfile import read_mapping
from clan.data.archives import tars, zips
from clan.data.archives.index import Index
from clan.data.archives.paths import Archive, ArchivePath, FilePath, root_below
from clan.data.archives.several import locate_root
from clan.data.archives.storage import LocalFile
from clan.data.classes import BUILTIN_CLASS_SETS
from clan.data.containers import read_whole
from clan.data.datasets import BUILTIN_DATASETS, Dataset, open_dataset
from clan.data.description import read_description
from clan.data.pairing import within

KINDS = (".zip", ".tar")
"""Endings of archives that are written; each has an index."""

_COMPRESSED = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"})
"""Endings of formats that are compressed themselves: stored as they are."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold
_MODE = 0o100644

Progress = Callable[[str, int, int], None]
"""Called with (what is done, how many are, of how many)."""


@dataclass(frozen=True)
class Packed:
    """What was written."""

    files: tuple[Path, ...]
    members: int
    bytes: int

    def text(self) -> str:
        """Return the sentence about it."""
        size = f"{self.bytes / 2**20:,.1f} MiB"
        return (
            f"{', '.join(map(str, self.files))}: {counted(self.members, 'file')}, {size}, read back"
        )


@dataclass(frozen=True)
class _Plan:
    """What is to be packed: the description's content, and where it is; the splits, opened."""

    tree: dict[str, Any]
    home: Path
    root: FilePath
    splits: Mapping[str, Dataset]

    def sources(self) -> dict[str, FilePath]:
        """Return name in the archive -> file, sorted; DataError for a file outside of the root."""
        found: dict[str, FilePath] = {}
        for dataset in self.splits.values():
            for item in dataset.items:
                for path in (item.image, item.label):
                    if path is not None:
                        found[self.name(path)] = path
        return dict(sorted(found.items()))

    def name(self, path: FilePath) -> str:
        """Return the name that a file has in the archive."""
        root = self.root
        if isinstance(root, ArchivePath) and isinstance(path, ArchivePath) and not root.inner:
            return path.inner
        name = within(str(path), root)
        if name == str(path) or name.startswith("../"):
            raise DataError(f"{path} is not below the data set's root {self.root}: copy it there")
        return name

    def lists(self) -> dict[str, bytes]:
        """Return name -> content of a list for each split that has one, for the archive."""
        return {
            f"lists/{split}.txt": self._list(dataset)
            for split, dataset in self.splits.items()
            if "list" in self.tree["splits"][split]
        }

    def _list(self, dataset: Dataset) -> bytes:
        lines = (
            "\t".join(self.name(path) for path in (item.image, item.label) if path is not None)
            for item in dataset.items
        )
        return "".join(f"{line}\n" for line in lines).encode()

    def description(self, archive: str) -> str:
        """Return the description that reads the archive of this name beside it."""
        splits = {
            split: dict(self.tree["splits"][split], list=f"lists/{split}.txt")
            if "list" in self.tree["splits"][split]
            else self.tree["splits"][split]
            for split in self.splits
        }
        classes = self.tree["classes"]
        if isinstance(classes, str) and classes not in BUILTIN_CLASS_SETS:
            path = self.home / user_path(classes, DataError)
            classes = {"name": path.stem, **read_mapping(path)}
        tree = {**self.tree, "root": archive, "classes": classes, "splits": splits}
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)
        return f"# Written by clan data pack: the data set in {archive}.\n{text}"


def pack(
    dataset: str,
    out: Path,
    *,
    root: str | None = None,
    splits: Sequence[str] = (),
    progress: Progress | None = None,
) -> Packed:
    """Write the images and labels of a data set into one archive, and a description that reads it.

    The archive is written beside its place, read back whole, and only then given its name. The same
    files always give the same bytes. Formats that are compressed themselves are stored as they are.

    Args:
        dataset: a built-in name, or the path of a YAML description.
        out: the archive, ``.zip`` or ``.tar``; beside it NAME.yaml is written, and the index of a
            tar.
        root: the data set's folder; wins over the description's.
        splits: those to pack; none named: all.
        progress: called after each file.

    Raises:
        DataError: a data set that cannot be opened, a file that is missing or truncated or not
            below the root, an output that exists or cannot be written.

    Example:
        pack("mysim.yaml", Path("mysim.zip"))
    """
    told = progress or (lambda what, done, total: None)
    if out.suffix.lower() not in KINDS:
        raise DataError(f"{out}: expected the name of an archive, {' or '.join(KINDS)}")
    index = out.with_name(out.name + tars.ENDING)
    written = [out, *([index] if out.suffix.lower() == ".tar" else []), out.with_suffix(".yaml")]
    for path in written:
        if path.exists():
            raise DataError(f"{path} exists already; nothing was written: name another --out")
    plan = _plan(dataset, root, splits)
    sources, lists = plan.sources(), plan.lists()
    if taken := sorted(lists.keys() & sources.keys()):
        raise DataError(f"{plan.root}/{taken[0]}: pack needs this name for a list; rename the file")
    for name in sources:
        _check_name(name)
    make_folder(out.parent, DataError)
    try:
        with writing(out, DataError) as file:
            sums = _write(file, out, _contents(sources, lists, told))
            file.flush()
            index_bytes = _read_back(Path(file.name), out, sums, told)
        if index in written:
            write_whole(index, index_bytes, DataError)
        write_whole(written[-1], plan.description(out.name), DataError)
        _compare(plan, written[-1])
    except BaseException:
        for path in written:  # none of them was there before
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    return Packed(tuple(written), len(sums), out.stat().st_size)


def _plan(dataset: str, root: str | None, splits: Sequence[str]) -> _Plan:
    if dataset in BUILTIN_DATASETS:
        path = Path(str(files("clan.data"))) / "builtin" / f"{dataset}.yaml"
    else:
        path = user_path(dataset, DataError)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(
            f"{dataset!r}: expected a description (.yaml) or one of {', '.join(BUILTIN_DATASETS)}. "
            "A folder of photos needs no description: zip it by any program (zip -r photos.zip .)"
        )
    if not path.is_file():
        raise DataError(f"no data set description at {path}")
    description = read_description(path)
    chosen = tuple(splits) or tuple(description.splits)
    opened = {split: open_dataset(dataset, root=root, split=split) for split in chosen}
    place = locate_root(
        root if root is not None else root_below(path.parent, description.root or ".")
    )
    tree = {"name": description.name or path.stem, **read_mapping(path)}
    return _Plan(tree, path.parent, place, opened)


def _check_name(name: str) -> None:
    """Refuse a name that an archive cannot hold as it is."""
    surrogates = any("\ud800" <= letter <= "\udfff" for letter in name)
    if surrogates or re.search(r"\\|^[A-Za-z]:", name):
        raise DataError(f"{name!r} cannot be the name of a member of an archive; rename the file")


def _contents(
    sources: Mapping[str, FilePath], lists: Mapping[str, bytes], told: Progress
) -> Iterator[tuple[str, bytes]]:
    for done, (name, path) in enumerate(sources.items(), 1):
        yield name, read_whole(path)
        told("packing", done, len(sources))
    yield from lists.items()


def _write(
    file: BinaryIO, out: Path, contents: Iterator[tuple[str, bytes]]
) -> dict[str, tuple[int, int]]:
    """Write all members; return name -> (size, checksum)."""
    sums: dict[str, tuple[int, int]] = {}
    with _zip(file) if out.suffix.lower() == ".zip" else _tar(file) as add:
        for name, content in contents:
            sums[name] = len(content), zlib.crc32(content)
            add(name, content)
    return sums


@contextmanager
def _zip(file: BinaryIO) -> Iterator[Callable[[str, bytes], None]]:
    with zipfile.ZipFile(file, "w") as archive:
        yield lambda name, content: archive.writestr(_zip_entry(name), content)


@contextmanager
def _tar(file: BinaryIO) -> Iterator[Callable[[str, bytes], None]]:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        kept: Any = archive

        def add(name: str, content: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), _MODE & 0o777
            archive.addfile(entry, BytesIO(content))
            kept.members = []  # else it keeps an object for each

        yield add


def _zip_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.create_system, entry.external_attr = 3, _MODE << 16
    stored = Path(name).suffix.lower() in _COMPRESSED
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    return entry


def _read_back(part: Path, out: Path, sums: Mapping[str, tuple[int, int]], told: Progress) -> bytes:
    """Read the archive as training would; return the index of a tar. DataError if it differs."""
    file, beside = LocalFile(part), b""
    file.shown = str(out)
    if out.suffix.lower() == ".zip":
        index: Index = zips.read_index(file)
    else:
        beside = tars.make_index(part, file)
        index = tars.index_of(beside, file, str(out))
    archive = Archive(file, index)
    for done, (name, expected) in enumerate(sums.items(), 1):
        member = index.member(name)
        if member is None or (member.size, member.crc) != expected:
            raise DataError(f"{out}: {name!r} was not written as it was read; check the disk")
        archive.read(member)
        told("reading back", done, len(sums))
    if len(index) != len(sums):
        raise DataError(f"{out}: holds {len(index)} files, {len(sums)} were written")
    return beside


def _compare(plan: _Plan, description: Path) -> None:
    """Raise DataError unless the new description gives the same items."""
    for split, dataset in plan.splits.items():
        found = open_dataset(str(description), split=split)
        if [item.name for item in found.items] != [item.name for item in dataset.items]:
            raise DataError(
                f"{description}: split {split!r} has other items than {plan.root}; report this"
            )


def write_index(tar: Path, progress: Progress | None = None) -> Path:
    """Write the index that lets a tar be read as a data set; return its path.

    Args:
        tar: the archive; it is read once from its beginning.
        progress: called after each member with bytes.

    Raises:
        DataError: no tar, a compressed or damaged one, or one with members that are links, have one
            name, or lead out of it.
    """
    if tar.suffix.lower() != ".tar":
        raise DataError(f"{tar}: expected a .tar; a zip has its own table of contents")
    file = LocalFile(tar)
    told = None if progress is None else lambda done: progress("indexing", done, file.size)
    content = tars.make_index(tar, file, told)
    tars.index_of(content, file, str(tar))
    index = tar.with_name(tar.name + tars.ENDING)
    write_whole(index, content, DataError)
    return index
