"""A cache of decoded and resized images and labels, in memory or in a folder.

An entry equals a fresh read bit for bit: pixels are stored uncompressed. Its name is a hash of the
files (path, size, modification time) and of all options that change pixels, so a changed file gets
a new entry. A damaged entry is read anew from the files.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError
from clan.data.archives.paths import fingerprint
from clan.data.datasets import Dataset
from clan.data.python import PythonDataset
from clan.data.sizes import Size, input_size
from clan.data.views import ViewOptions, resize_image, resize_label

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]
"""An image (H, W, 3), and its label (H, W) if it has one."""

_MAGIC = b"clanpix1"
_HEAD = struct.Struct("<8sIII?")  # magic, checksum, height, width, whether a label follows
_LOOK = 64  # entries written between measurements of the folder, which other processes fill too


class Cache:
    """A cache of one data set's images at the size of one view.

    Safe with many processes: entries are written atomically and never changed.

    Args:
        dataset: the data set.
        view: gives the size of the entries; with a random scale they keep the stored size.
        where: ``memory`` or a folder, which is made if it is missing.
        limit: most bytes: of the whole folder, or of memory in each process.

    Raises:
        DataError: the folder cannot be made.
    """

    def __init__(self, dataset: Dataset, view: ViewOptions, where: str, limit: int) -> None:
        self._dataset, self._limit = dataset, limit
        whole = view.scale == (1.0, 1.0) and not view.image_scales
        self._size: Size | None = view.size if whole else None
        self._kept: dict[str, Pair] = {}
        self._folder = None if where == "memory" else Path(where).expanduser()
        self._bytes, self._written = 0, 0
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(
                    f"data.cache: the folder {self._folder} cannot be made ({error.strerror})"
                ) from error
            self._bytes = _folder_bytes(self._folder)
        self._about = _about(dataset, self._size)

    def read(self, index: int, labels: bool) -> Pair:
        """Return an item as `Dataset.read` or `read_image` (no labels) does, at the view's size."""
        name = self._name(index, labels)
        if name is None:
            return self._fresh(index, labels)
        found = self._kept.get(name) if self._folder is None else _load(self._folder / name)
        if found is None:
            found = self._fresh(index, labels)
            self._keep(name, found)
        image, label = found
        # a copy, since the caller may change it in place
        return (image, label) if self._folder else (image.copy(), _copied(label))

    def _fresh(self, index: int, labels: bool) -> Pair:
        image, label = (
            self._dataset.read(index) if labels else (self._dataset.read_image(index), None)
        )
        size = input_size(self._size, (image.shape[0], image.shape[1]))
        return resize_image(image, size), None if label is None else resize_label(label, size)

    def _keep(self, name: str, pair: Pair) -> None:
        image, label = pair
        size = image.nbytes + (0 if label is None else label.nbytes)
        if self._folder is None:
            if self._bytes + size <= self._limit:
                self._kept[name] = (image.copy(), _copied(label))
                self._bytes += size
            return
        self._written += 1
        if self._written % _LOOK == 0:
            self._bytes = _folder_bytes(self._folder)
        if self._bytes + size <= self._limit and _store(self._folder / name, pair):
            self._bytes += size

    def _name(self, index: int, labels: bool) -> str | None:
        """Return an item's name in the cache; None if its files cannot be found."""
        item = self._dataset.items[index]
        # the image's size may depend on the label's, even if labels are not read
        fits = self._dataset.size_mismatch == "resize_image"
        parts = [self._about, str(labels)]
        try:
            for path in (item.image, item.label if labels or fits else None):
                if path is not None:
                    parts.append(fingerprint(path))
        except OSError:
            return None  # the read that follows raises the error
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
        return f"{digest[:2]}/{digest[2:34]}.pix"


def open_cache(dataset: Dataset, view: ViewOptions, where: str, gib: float) -> Cache | None:
    """Return the configured cache; None for ``none`` and for data from Python."""
    if where == "none" or isinstance(dataset, PythonDataset):
        return None
    return Cache(dataset, view, where, int(gib * 2**30))


def _about(dataset: Dataset, size: Size | None) -> str:
    """Return a text of all options that change the pixels read from a data set."""
    values = getattr(dataset.label_map, "_table", None)
    colors = [getattr(dataset.label_map, name, None) for name in ("_colors", "_targets")]
    digest = hashlib.sha256()
    for part in (values, *colors):
        digest.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
    tolerance = getattr(dataset.label_map, "_tolerance", 0)
    facts = (size, dataset.encoding, dataset.size_mismatch, dataset.orientation, tolerance)
    return f"{facts}|{digest.hexdigest()}|{cv2.__version__}|{np.__version__}"


def _copied(label: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    return None if label is None else label.copy()


def _store(path: Path, pair: Pair) -> bool:
    """Write an entry atomically; return False if it fails, for example on a full disk."""
    image, label = pair
    image = np.ascontiguousarray(image)
    label = None if label is None else np.ascontiguousarray(label)
    check = zlib.crc32(image.data)
    if label is not None:
        check = zlib.crc32(label.data, check)
    head = _HEAD.pack(_MAGIC, check, image.shape[0], image.shape[1], label is not None)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        with open(beside, "wb") as file:
            file.write(head)
            file.write(image.data)
            if label is not None:
                file.write(label.data)
        os.replace(beside, path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        return False
    return True


def _load(path: Path) -> Pair | None:
    """Return an entry; None if there is none, or it is damaged."""
    try:
        with open(path, "rb") as file:
            data = np.fromfile(file, np.uint8)
    except OSError:
        return None
    if len(data) < _HEAD.size:
        return None
    magic, check, height, width, labelled = _HEAD.unpack(data[: _HEAD.size].tobytes())
    pixels = height * width
    if magic != _MAGIC or len(data) != _HEAD.size + pixels * (4 if labelled else 3):
        return None
    body = data[_HEAD.size :]
    if zlib.crc32(body.data) != check:
        return None
    image = body[: 3 * pixels].reshape(height, width, 3)
    return image, body[3 * pixels :].reshape(height, width) if labelled else None


def _folder_bytes(folder: Path) -> int:
    """Return how many bytes a cache's folder holds."""
    total = 0
    with suppress(OSError):
        for inner in os.scandir(folder):
            if inner.is_dir():
                with suppress(OSError):
                    total += sum(entry.stat().st_size for entry in os.scandir(inner.path))
    return total
