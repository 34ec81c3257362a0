"""Data sets from Python: any map-style data set of (image, label) pairs instead of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import IterableDataset

from clan.core.errors import DataError
from clan.data.archives.paths import FilePath
from clan.data.classes import IGNORE, ClassSet
from clan.data.datasets import Dataset
from clan.data.images import pixels_of
from clan.data.items import Item
from clan.data.label_maps import LabelMap

PYTHON = "python"
"""Stands in a configuration for a data set that is passed from Python."""


class MapStyle(Protocol):
    """A map-style data set, such as a `torch.utils.data.Dataset` that has a length.

    An entry is an (image, label) pair; where labels are not read, it may be an image alone. The
    same index must always give the same entry: augmentation is the run's.

    An image is a uint8 (H, W, 3) RGB array, a Pillow image, or a uint8 (3, H, W) tensor. A label is
    an array, tensor or Pillow image (H, W) of integers: class indices, 255 = ignore.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class PythonDataset(Dataset):
    """A data set whose images, and labels if there are any, come from a Python object.

    Its items are named by their index; the paths of their images are for messages alone. An item
    with a label file has that label: a stage's, which the training wrote.
    """

    entries: MapStyle = field(kw_only=True, repr=False, compare=False)
    own_labels: bool = field(kw_only=True)

    @property
    def labelled(self) -> bool:
        """Whether every item has a label."""
        return self.own_labels or super().labelled

    def image_size(self, i: int) -> tuple[int, int]:
        """Return the size (H, W) of image ``i``."""
        height, width, _ = self.read_image(i).shape
        return height, width

    def read_image(self, i: int) -> NDArray[np.uint8]:
        """Return image ``i``, (H, W, 3) uint8 RGB; DataError if the entry is no image."""
        return self._entry(self.items[i])[0]

    def read_label(self, i: int) -> NDArray[np.uint8]:
        """Return label ``i``, (H, W) uint8 class indices, 255 = ignore; DataError as `read`."""
        label = self.read(i)[1]
        if label is None:
            raise DataError(f"{self.items[i].image} has no label: {self.name!r} is unlabelled")
        return label

    def read(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Return image and label ``i`` (None in an unlabelled split) from one look at the entry.

        DataError if the entry cannot be had, is of another form, or its label has values that are
        no class, or another size than the image.
        """
        item = self.items[i]
        image, label = self._entry(item)
        if item.label is not None:
            label = self._read_label(item)
        if label is not None and label.shape != image.shape[:2]:
            raise DataError(
                f"{item.image}: the image is {image.shape[0]}x{image.shape[1]} (height x width) "
                f"but its label {label.shape[0]}x{label.shape[1]}"
            )
        return image, label

    def _entry(self, item: Item) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        try:
            entry = self.entries[int(item.name)]
        except Exception as error:
            # whatever the user's code raises; the index is what helps to find it
            raise DataError(f"{item.image}: {type(error).__name__}: {error}") from error
        pair = isinstance(entry, tuple | list)
        if not self.own_labels:
            return _image(entry[0] if pair and len(entry) else entry, item.image), None
        if not pair or len(entry) != 2:
            raise DataError(
                f"{item.image} is {_form(entry)}; expected an (image, label) pair: "
                f"the {self.name} needs labels"
            )
        return _image(entry[0], item.image), _label(entry[1], item.image, self.classes)


def open_python(entries: object, name: str, classes: ClassSet, labelled: bool) -> PythonDataset:
    """Take a data set from Python as a domain's; the first entry is looked at.

    Args:
        entries: the data set, see `MapStyle`.
        name: of the domain: ``source``, ``target`` or ``validation``.
        classes: what the labels' values mean.
        labelled: whether labels are read; otherwise they are left alone.

    Raises:
        DataError: it is not map-style or empty, or the first entry is of another form.
    """
    if isinstance(entries, str | Path):
        raise DataError(
            f"{name}={str(entries)!r} names files: put it into the configuration, as "
            f"data.{name}; the argument takes a data set object"
        )
    if isinstance(entries, IterableDataset) or not (
        hasattr(entries, "__len__") and hasattr(entries, "__getitem__")
    ):
        raise DataError(
            f"{name} is {_form(entries)}, which has no entries by index; expected a map-style "
            "data set with __len__ and __getitem__: any slot of any step must be read at will"
        )
    if not len(entries):
        raise DataError(f"{name} is {_form(entries)} without any entry")
    digits = len(str(len(entries) - 1))
    items = tuple(Item(f"{i:0{digits}d}", Path(f"{name}[{i}]"), None) for i in range(len(entries)))
    dataset = PythonDataset(
        name=name,
        split=PYTHON,
        classes=classes,
        items=items,
        label_map=LabelMap.identity(classes),
        entries=entries,
        own_labels=labelled,
    )
    dataset.read(0)
    return dataset


def facts(dataset: PythonDataset) -> dict[str, Any]:
    """Return what must be the same when a run is resumed: length, sizes of the first and last."""
    last = len(dataset) - 1
    return {"images": len(dataset), "sizes": [list(dataset.image_size(i)) for i in (0, last)]}


def _image(value: object, where: FilePath) -> NDArray[np.uint8]:
    """Return an image as (H, W, 3) uint8, a copy: views may change it in place."""
    found = _form(value)
    if isinstance(value, Image.Image):
        value = pixels_of(value, str(where))
    elif isinstance(value, torch.Tensor) and value.ndim == 3:
        value = value.permute(1, 2, 0).cpu().numpy()
    if (
        not isinstance(value, np.ndarray)
        or value.dtype != np.uint8
        or value.ndim != 3
        or value.shape[2] != 3
        or 0 in value.shape
    ):
        raise DataError(
            f"the image of {where} is {found}; expected a uint8 (H, W, 3) RGB array, a Pillow "
            "image, or a uint8 (3, H, W) tensor, with values 0 to 255: neither scaled nor "
            "normalised"
        )
    return np.array(value, order="C")


def _label(value: object, where: FilePath, classes: ClassSet) -> NDArray[np.uint8]:
    """Return a label as (H, W) uint8 class indices, 255 = ignore."""
    found = _form(value)
    if isinstance(value, torch.Tensor):
        value = value.cpu().numpy()
    elif isinstance(value, Image.Image):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in "iu":
        raise DataError(
            f"the label of {where} is {found}; expected integers (H, W): class indices, "
            f"{IGNORE} = ignore"
        )
    outside = value[((value < 0) | (value >= len(classes))) & (value != IGNORE)]
    if outside.size:
        listed = ", ".join(map(str, np.unique(outside)[:5]))
        raise DataError(
            f"the label of {where} has {outside.size} pixels of {listed}; expected 0 to "
            f"{len(classes) - 1} ({', '.join(classes.names)}) or {IGNORE} = ignore"
        )
    return np.asarray(value.astype(np.uint8), order="C")


def _form(value: object) -> str:
    """Say what a value is: its type and, of arrays, numbers and shape."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray | torch.Tensor):
        return f"{kind} of {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Image.Image):
        return f"{kind} of mode {value.mode}"
    return f"{kind} of {len(value)}" if isinstance(value, tuple | list) else kind
