"""Predictions in the format of the Cityscapes server and its evaluation script.

One PNG per image, at the image's size, with the official label ids (not the 19 training ids),
named ``<city>_<sequence>_<frame>*.png``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import ConfigError, DataError, RunError
from clan.data.archives.paths import FilePath
from clan.data.classes import CITYSCAPES, CITYSCAPES_IDS, IGNORE, ClassSet
from clan.data.images import write_label
from clan.scoring.failures import Failures

LABEL_IDS = {name: raw for raw, name in CITYSCAPES_IDS.items() if name != "ignore"}
"""Class name of `CITYSCAPES` -> official label id."""

_FRAME = re.compile(r"[A-Za-z-]+_\d{6}_\d{6}(?=_|$)")


def label_id_table(classes: ClassSet) -> NDArray[np.uint8]:
    """Return (256,) uint8: class index -> official label id; ignored pixels become 0, unlabeled.

    Raises:
        ConfigError: a class that Cityscapes does not have.
    """
    unknown = [name for name in classes.names if name not in LABEL_IDS]
    if unknown:
        raise ConfigError(
            f"the Cityscapes format needs classes of Cityscapes; {classes.name!r} has "
            f"{', '.join(unknown)}. Expected names out of: {', '.join(LABEL_IDS)}"
        )
    table = np.zeros(256, np.uint8)
    table[: len(classes)] = [LABEL_IDS[name] for name in classes.names]
    table[IGNORE] = 0
    return table


def frame_name(image: FilePath) -> str:
    """Return ``<city>_<sequence>_<frame>`` from the name of a Cityscapes image.

    Raises:
        DataError: another name, from which the server could not find the image.
    """
    found = _FRAME.match(image.stem)
    if found is None:
        raise DataError(
            f"{image}: not named like an image of Cityscapes, "
            "<city>_123456_123456_leftImg8bit.png; the server matches predictions by this name"
        )
    return found.group()


def label_id_file(image: FilePath) -> str:
    """Return the file name of an image's prediction; DataError as for `frame_name`."""
    return f"{frame_name(image)}_labelIds.png"


def label_id_palette() -> list[int]:
    """Return 256 RGB triples as one list: the official colours at the official ids."""
    flat = np.zeros((256, 3), np.uint8)
    for name, color in zip(CITYSCAPES.names, CITYSCAPES.colors, strict=True):
        flat[LABEL_IDS[name]] = color
    return [int(value) for value in flat.flatten()]


class Submission:
    """A folder that is filled with one label id PNG per image.

    Args:
        folder: made here, or empty.
        classes: those of the predictions.
        images: how many predictions there will be.

    Attributes:
        failures: the images whose predictions could not be written.

    Raises:
        ConfigError: classes that Cityscapes does not have.
        RunError: the folder cannot be made, is a file, or is not empty: the server refuses two
            predictions of one image, and old ones could be taken for new ones.
    """

    def __init__(self, folder: Path, classes: ClassSet, images: int) -> None:
        self.failures = Failures(images, then="choose an empty folder and start again")
        self._table = label_id_table(classes)
        self._palette = label_id_palette()
        check_folder(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the folder {folder}: {error.strerror}") from error
        self.folder = folder

    def add(self, image: FilePath, prediction: NDArray[np.uint8]) -> None:
        """Write a prediction as `write` does; what cannot be written is kept in ``failures``.

        Raises:
            RunError: the disk is full or read-only.
        """
        self.failures.write(image, lambda: self.write(image, prediction))

    def write(self, image: FilePath, prediction: NDArray[np.uint8]) -> Path:
        """Write the prediction (H, W) uint8, class indices, of an image; return the file.

        Raises:
            DataError: the image is not named as one of Cityscapes, or the file cannot be written.
        """
        path = self.folder / label_id_file(image)
        if path.exists():
            raise DataError(f"{path} exists already: {image} and another image name one frame")
        write_label(path, self._table[prediction], self._palette)
        return path


def check_folder(out: Path, overwrite: bool = False) -> None:
    """Refuse a results folder that is a file, or not empty unless ``overwrite`` is True."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; expected a folder for the results")
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise RunError(f"{out} is not empty; choose another folder, or allow it with --overwrite")
