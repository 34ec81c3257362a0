"""Data sets: a split's files, and how to read them.

A data set is a YAML description (see `clan.data.description`), a folder of images, or the name
of a built-in description of an original layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError, nearest
from clan.data import images, listing
from clan.data.classes import NO_CLASSES, ClassSet, class_set
from clan.data.description import SplitPatterns, read_description
from clan.data.images import Encoding
from clan.data.label_maps import LabelMap
from clan.data.views import resize_image

BUILTIN_DATASETS = ("camvid", "camvid-segnet", "cityscapes", "gta5", "synthia")
"""Data sets whose original folder layout is known; each needs a root."""


Unpaired = Literal["refuse", "report"]


@dataclass(frozen=True)
class Item:
    """One image; ``name`` is unique in its data set and fit to name files after it."""

    name: str
    image: Path
    label: Path | None


@dataclass(frozen=True)
class Dataset:
    """A split of a data set: its items and how to read them."""

    name: str
    split: str
    classes: ClassSet = field(repr=False)
    items: tuple[Item, ...] = field(repr=False)
    label_map: LabelMap = field(repr=False, compare=False)
    encoding: Encoding = "index"
    size_mismatch: Literal["error", "resize_image"] = "error"
    unpaired: tuple[str, ...] = field(default=(), repr=False)
    """Files left out for want of a partner, where `open_dataset` was told to report them."""
    sought: str = field(default="", repr=False)
    """Where labels were looked for and what is there instead; empty if labels were found, or none
    was asked for."""

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
        return resize_image(image, images.image_size(item.label))

    def read_label(self, i: int) -> NDArray[np.uint8]:
        """Return label ``i``, (H, W) uint8 class indices, 255 = ignore.

        DataError if there is none, if it cannot be read, holds values outside the map, or has
        another size than its image.
        """
        label = self._read_label(self.items[i])
        if self.size_mismatch == "error":
            self._check_sizes(self.items[i], images.image_size(self.items[i].image), label)
        return label

    def read(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Return image and label ``i`` (None in an unlabelled split), each file read once."""
        item = self.items[i]
        image = images.read_image(item.image)
        if item.label is None:
            return image, None
        label = self._read_label(item)
        if self.size_mismatch == "resize_image":
            image = resize_image(image, (label.shape[0], label.shape[1]))
        self._check_sizes(item, (image.shape[0], image.shape[1]), label)
        return image, label

    def _read_label(self, item: Item) -> NDArray[np.uint8]:
        if item.label is None:
            raise DataError(
                f"{item.image} has no label: split {self.split!r} of {self.name!r} is unlabelled"
            )
        return self.label_map.apply(images.read_label(item.label, self.encoding), item.label)

    def _check_sizes(self, item: Item, size: tuple[int, int], label: NDArray[np.uint8]) -> None:
        if size != label.shape:
            raise DataError(
                f"{item.image} is {size[0]}x{size[1]} (height x width) but its label {item.label} "
                f"is {label.shape[0]}x{label.shape[1]}; correct one of them, or describe the data "
                "set with `size_mismatch: resize_image` if the label's size is the true one"
            )


def open_dataset(
    dataset: str,
    *,
    root: str | Path | None = None,
    split: str = "train",
    classes: ClassSet | None = None,
    labels: bool = True,
    unpaired: Unpaired = "refuse",
) -> Dataset:
    """Open a split of a data set, listing its files once.

    Args:
        dataset: a built-in name (see `BUILTIN_DATASETS`), the path of a YAML description, or a
            folder of images (searched with all folders below it; unlabelled).
        root: the data set's folder; wins over the description's. A folder of images is also
            looked for below it.
        split: which split; a folder of images is the same for any.
        classes: the class set expected. A folder takes it as its own (without it the folder has
            no classes). Of a description it must be the class set, or one of its named subsets:
            the other classes are then ignored.
        labels: False leaves label files alone: none is looked for, whether there are any or not.
        unpaired: what to do about images without a label and labels without an image where others
            have theirs: refuse, or leave them out and name them in `Dataset.unpaired`.

    Returns:
        The split; ``read(i)`` gives image (H, W, 3) and label (H, W), both uint8.

    Raises:
        DataError: unknown data set or split, a malformed description, missing or empty folders,
            images without labels or labels without images, another class set than expected. A
            split without any label file is no error: it is not `Dataset.labelled`.

    Example:
        data = clan.open_dataset("gta5", root="data/gta5")
        image, label = data.read(0)
    """
    if dataset in BUILTIN_DATASETS:
        if root is None:
            raise DataError(f"the data set {dataset!r} needs a root: the folder that it lies in")
        path = Path(str(files("clan.data"))) / "builtin" / f"{dataset}.yaml"
        return _described(path, Path(root).expanduser(), split, classes, labels, unpaired)
    path = Path(dataset).expanduser()
    if path.suffix.lower() in (".yaml", ".yml"):
        if not path.is_file():
            raise DataError(f"no data set description at {path}")
        folder = Path(root).expanduser() if root else None
        return _described(path, folder, split, classes, labels, unpaired)
    if not path.is_dir() and root is not None:
        path = Path(root).expanduser() / path
    if not path.exists():
        raise DataError(
            f"{dataset!r} is neither a built-in data set nor a description (.yaml) nor a folder of "
            f"images ({path} does not exist){nearest(dataset, BUILTIN_DATASETS)}"
        )
    return _folder(path, split, classes)


def _folder(folder: Path, split: str, classes: ClassSet | None) -> Dataset:
    endings = ", ".join(sorted(images.SUFFIXES))
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; expected a description (.yaml) or a folder of images")
    found = listing.find_images(folder, images.SUFFIXES)
    if not found:
        raise DataError(
            f"no image ({endings}) in {folder} or below it; {listing.describe(folder, '*')}"
        )
    items = tuple(Item(key[0], Path(path), None) for key, path in found.items())
    classes = classes or NO_CLASSES
    return Dataset(folder.resolve().name, split, classes, items, LabelMap.identity(classes))


def _described(
    path: Path,
    root: Path | None,
    split: str,
    expected: ClassSet | None,
    labels: bool,
    unpaired: Unpaired,
) -> Dataset:
    description = read_description(path)
    name = description.name or path.stem
    if split not in description.splits:
        raise DataError(f"{name!r} has no split {split!r}{nearest(split, description.splits)}")
    try:
        classes = class_set(description.classes, base=path.parent)
        kept = expected if expected is not None and classes.holds(expected) else None
        label_map = description.labels.label_map(classes, kept)
        classes = kept or classes
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if expected is not None and expected.names != classes.names:
        raise DataError(
            f"{path}: its classes are those of {classes.name!r} ({', '.join(classes.names)}), "
            f"expected those of {expected.name!r} ({', '.join(expected.names)}); source and target "
            "may store different values but must share one class set"
        )
    if root is None:
        root = path.parent / Path(description.root or ".").expanduser()
    where = f"data set {name!r}, split {split!r}"
    pairing, keys = _pairing(description.splits[split], root, where, labels, path.parent)
    if unpaired == "refuse" or not pairing.images:
        pairing.check(where, keys)
    bare, lonely = pairing.unpaired(keys)
    return Dataset(
        name=name,
        split=split,
        classes=classes,
        items=tuple(_paired(pairing, keys)),
        label_map=label_map,
        encoding=description.labels.encoding,
        size_mismatch=description.size_mismatch,
        unpaired=(
            *(f"{image}: no label belongs to this image" for image in bare),
            *(f"{label}: no image belongs to this label" for label in lonely),
        ),
        sought=pairing.sought(),
    )


def _pairing(
    patterns: SplitPatterns, root: Path, where: str, labels: bool, home: Path
) -> tuple[listing.Pairing, list[listing.Key] | None]:
    """List a split's files once; return them with the keys that its list file chooses."""
    if not root.is_dir():
        raise DataError(f"{where}: {listing.describe(root, patterns.images)}")
    label_pattern = patterns.labels if labels else None
    pairing = listing.Pairing(
        root=root,
        image_pattern=patterns.images,
        label_pattern=label_pattern,
        images=listing.find(root, patterns.images),
        labels=listing.find(root, label_pattern) if label_pattern else {},
    )
    keys = None
    if patterns.listed is not None and pairing.images:
        # lists come with the data, or with the description that was written for them
        folder = root if (root / patterns.listed).is_file() else home
        keys = listing.select(pairing.images, root, folder / patterns.listed)
    return pairing, keys


def _paired(pairing: listing.Pairing, keys: list[listing.Key] | None) -> Iterator[Item]:
    for key in pairing.images if keys is None else keys:
        if not pairing.labels or key in pairing.labels:
            yield Item(
                name="/".join(key) or Path(pairing.images[key]).stem,
                image=Path(pairing.images[key]),
                label=Path(pairing.labels[key]) if pairing.labels else None,
            )
