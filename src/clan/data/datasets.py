"""Data sets: a split's files, and how to read them.

A data set is a YAML description (see `clan.data.description`), a folder of images, or the name
of a built-in description of an original layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError, nearest
from clan.core.files import user_path
from clan.data import images, listing
from clan.data.archives.paths import (
    ArchivePath,
    FilePath,
    Root,
    below,
    is_archive,
    locate,
    root_below,
)
from clan.data.archives.several import locate_root
from clan.data.archives.storage import is_url
from clan.data.classes import IGNORE, NO_CLASSES, ClassSet
from clan.data.containers import turn
from clan.data.description import described_classes, known_absent, read_description
from clan.data.encodings import Encoding
from clan.data.items import Item, Items
from clan.data.label_maps import LabelMap
from clan.data.names import name_in_layout
from clan.data.splits import list_split
from clan.data.views import resize_image

BUILTIN_DATASETS = ("camvid", "camvid-segnet", "cityscapes", "gta5", "synthia")
"""Data sets whose original folder layout is known; each needs a root."""


Unpaired = Literal["refuse", "report"]


@dataclass(frozen=True)
class Dataset:
    """A split of a data set: its items and how to read them."""

    name: str
    split: str
    classes: ClassSet = field(repr=False)
    items: Sequence[Item] = field(repr=False)
    label_map: LabelMap = field(repr=False, compare=False)
    encoding: Encoding = "index"
    size_mismatch: Literal["error", "resize_image"] = "error"
    unpaired: tuple[str, ...] = field(default=(), repr=False)
    """Files left out for want of a partner, where `open_dataset` was told to report them."""
    sought: str = field(default="", repr=False)
    """Where labels were searched and what was found instead; empty if labels were found or not
    requested."""
    left_out: str = field(default="", repr=False)
    """What lies beside the images and was left out, in words; empty if nothing was."""
    absent: tuple[str, ...] = field(default=(), repr=False)
    """Classes that this split is said to have no pixel of."""
    orientation: Literal["shown", "sensor"] | None = field(default=None, repr=False)
    """Orientation of labels of rotated photographs; None: not given, so as the photograph is shown.
    """

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labelled(self) -> bool:
        """Whether every item has a label file (all items have one, or none)."""
        return bool(self.items) and self.items[0].label is not None

    def image_size(self, i: int) -> tuple[int, int]:
        """Return the size (H, W) of image ``i`` as it is stored; DataError if it is no image."""
        return images.image_size(self.items[i].image)

    def read_image(self, i: int) -> NDArray[np.uint8]:
        """Return image ``i``, (H, W, 3) uint8 RGB; DataError if it cannot be read whole."""
        item = self.items[i]
        image = images.read_image(item.image)
        if item.label is None or self.size_mismatch == "error":
            return image
        height, width = images.image_size(item.label)
        if self._turned(item) >= 5:
            height, width = width, height
        self._check_sizes(item, (image.shape[0], image.shape[1]), (height, width))
        return resize_image(image, (height, width))

    def read_label(self, i: int) -> NDArray[np.uint8]:
        """Return label ``i``, (H, W) uint8 class indices, 255 = ignore.

        DataError if there is none, if it cannot be read, holds values outside the map, or has
        another size than its image.
        """
        label = self._read_label(self.items[i])
        size = images.image_size(self.items[i].image)
        self._check_sizes(self.items[i], size, (label.shape[0], label.shape[1]))
        return label

    def read(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Return image and label ``i`` (None in an unlabelled split), each file read once."""
        item = self.items[i]
        image = images.read_image(item.image)
        if item.label is None:
            return image, None
        label = self._read_label(item)
        size = (label.shape[0], label.shape[1])
        self._check_sizes(item, (image.shape[0], image.shape[1]), size)
        if self.size_mismatch == "resize_image":
            image = resize_image(image, size)
        return image, label

    def has_labelled_pixel(self) -> bool:
        """Tell whether any label holds a class; labels are read until one does.

        Labels that cannot be read are passed over: they are reported where they are learnt from.
        """
        for i in range(len(self)):
            with suppress(DataError):
                if (self.read_label(i) != IGNORE).any():
                    return True
        return False

    def raw_label(self, item: Item) -> NDArray[np.integer[Any]]:
        """Return the values (H, W) in an item's label, not yet mapped, as its image is shown."""
        if item.label is None:
            raise DataError(
                f"{item.image} has no label: split {self.split!r} of {self.name!r} is unlabelled"
            )
        raw = images.read_label(item.label, self.encoding)
        return turn(raw, self._turned(item))

    def size_problem(self, item: Item, size: tuple[int, int], label: tuple[int, int]) -> str:
        """Return what is wrong with the sizes (H, W) of an image and its label; empty if nothing.

        With ``size_mismatch: resize_image`` only a label that lies as the sensor does is wrong.
        """
        if size == label:
            return ""
        lies = size == label[::-1] and images.image_orientation(item.image) >= 5
        if self.size_mismatch == "resize_image" and not lies:
            return ""
        hint = ""
        if lies:
            hint = (
                "; the photograph is shown turned (EXIF orientation "
                f"{images.image_orientation(item.image)}), and the label fits it as its pixels are "
                f"stored: describe the data set with `labels: {{orientation: {self._other()}}}`"
            )
        return (
            f"{label[0]}x{label[1]} (height x width), but its image {item.image} is "
            f"{size[0]}x{size[1]}{hint}"
        )

    def fits_both_ways(self, item: Item, label: tuple[int, int]) -> int:
        """Return the EXIF orientation of an image whose label may lie shown or stored, else 0.

        0 too where the description says how labels lie.
        """
        if self.orientation is not None:
            return 0
        orientation = images.image_orientation(item.image)
        return orientation if orientation > 1 and (orientation < 5 or label[0] == label[1]) else 0

    def _other(self) -> str:
        return "shown" if self.orientation == "sensor" else "sensor"

    def _turned(self, item: Item) -> int:
        """Return the EXIF orientation by which an item's label is still to be turned."""
        return images.image_orientation(item.image) if self.orientation == "sensor" else 1

    def _read_label(self, item: Item) -> NDArray[np.uint8]:
        return self.label_map.apply(self.raw_label(item), item.label or item.image)

    def _check_sizes(self, item: Item, size: tuple[int, int], label: tuple[int, int]) -> None:
        if problem := self.size_problem(item, size, label):
            advice = (
                ""
                if "EXIF" in problem
                else "; correct one of them, or describe the data "
                "set with `size_mismatch: resize_image` if the label's size is the true one"
            )
            raise DataError(f"{item.label}: {problem}{advice}")


def open_dataset(
    dataset: str,
    *,
    root: Root | None = None,
    split: str = "train",
    classes: ClassSet | None = None,
    labels: bool = True,
    unpaired: Unpaired = "refuse",
    absent: Sequence[str] = (),
) -> Dataset:
    """Open a split of a data set, listing its files once.

    Args:
        dataset: a built-in name (see `BUILTIN_DATASETS`), the path of a YAML description, or a
            folder or archive of images (searched with all folders below it; unlabelled).
        root: the data set's folder or archive (.zip, .tar, or an address of one), or several
            archives that are read as one; wins over the description's. A folder of images is also
            looked for below a folder.
        split: which split; a folder of images is the same for any.
        classes: the class set expected. A folder takes it as its own (without it the folder has
            no classes). Of a description it must be the class set, or one of its named subsets:
            the other classes are then ignored.
        labels: False leaves label files alone: none is looked for, whether there are any or not.
        unpaired: what to do about images without a label and labels without an image where others
            have theirs: refuse, or leave them out and name them in `Dataset.unpaired`.
        absent: classes that the split is known to lack, beside those that its description names.

    Returns:
        The split; ``read(i)`` gives image (H, W, 3) and label (H, W), both uint8.

    Raises:
        DataError: unknown data set or split, a malformed description, a single class, missing or
            empty folders, images without labels or labels without images, another class set than
            expected. A split without any label file is no error: it is not `Dataset.labelled`.

    Example:
        data = clan.open_dataset("gta5", root="data/gta5")
        image, label = data.read(0)
    """
    if dataset in BUILTIN_DATASETS:
        if root is None:
            raise DataError(f"the data set {dataset!r} needs a root: the folder that it lies in")
        path = Path(str(files("clan.data"))) / "builtin" / f"{dataset}.yaml"
        folder = locate_root(root)
        found = _described(path, folder, split, classes, labels, unpaired, absent)
        return replace(found, name=name_in_layout(dataset, folder))
    if is_url(dataset):
        return _folder(locate(dataset), split, classes)
    path = user_path(dataset, DataError)
    if path.suffix.lower() in (".yaml", ".yml"):
        if not path.is_file():
            raise DataError(f"no data set description at {path}")
        own = locate_root(root) if root else None
        return _described(path, own, split, classes, labels, unpaired, absent)
    if root is not None and not isinstance(root, str | Path):
        raise DataError(
            f"{dataset}: several archives are the root of a description (.yaml) or of a built-in "
            "data set; images without labels lie in one folder or archive"
        )
    if not path.exists() and not is_archive(path) and root is not None:
        path = user_path(below(root, path), DataError)
    place = locate(path)
    if not place.exists():
        raise DataError(
            f"{dataset!r} is neither a built-in data set nor a description (.yaml) nor a folder of "
            f"images ({path} does not exist){nearest(dataset, BUILTIN_DATASETS)}"
        )
    return _folder(place, split, classes)


def _folder(folder: FilePath, split: str, classes: ClassSet | None) -> Dataset:
    endings = ", ".join(sorted(images.SUFFIXES))
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; expected a description (.yaml) or a folder of images")
    found, left_out = listing.find_images(folder)
    if not found:
        said = left_out.text()
        raise DataError(
            f"no image ({endings}) in {folder} or below it{said and f' ({said})'}; "
            f"{listing.describe(folder, '*')}"
        )
    items = Items(
        found.texts, found.paths, None, folder.archive if isinstance(folder, ArchivePath) else None
    )
    classes = classes or NO_CLASSES
    return Dataset(
        folder.resolve().name,
        split,
        classes,
        items,
        LabelMap.identity(classes),
        left_out=left_out.text(),
    )


def _described(
    path: Path,
    root: FilePath | None,
    split: str,
    expected: ClassSet | None,
    labels: bool,
    unpaired: Unpaired,
    absent: Sequence[str],
) -> Dataset:
    description = read_description(path)
    name = description.name or path.stem
    if split not in description.splits:
        raise DataError(f"{name!r} has no split {split!r}{nearest(split, description.splits)}")
    classes, label_map = described_classes(description, path, expected)
    if root is None:
        root = locate_root(root_below(path.parent, description.root or "."))
    where = f"data set {name!r}, split {split!r}"
    patterns = description.splits[split]
    files_of = list_split(patterns, root, where, labels, path.parent)
    pairing = files_of.pairing
    if unpaired == "refuse" or not pairing.images:
        pairing.check(where, files_of.keys)
    bare, lonely = pairing.unpaired(files_of.keys)
    lacking = known_absent((*patterns.absent, *absent), classes, description, path)
    return Dataset(
        name=name,
        split=split,
        classes=classes,
        items=files_of.items(),
        label_map=label_map,
        encoding=description.labels.encoding,
        size_mismatch=description.size_mismatch,
        unpaired=(
            *(f"{image}: no label belongs to this image" for image in bare),
            *(f"{label}: no image belongs to this label" for label in lonely),
        ),
        sought=pairing.sought(),
        left_out=files_of.left_out,
        absent=lacking,
        orientation=description.labels.orientation,
    )
