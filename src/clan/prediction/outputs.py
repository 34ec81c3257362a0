"""What is written of a prediction: labels, overlays, probabilities, uncertainty, a summary."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clan.core.errors import ConfigError, DataError, nearest
from clan.core.files import make_folder, write_whole
from clan.data.classes import IGNORE, ClassSet
from clan.data.images import write_label
from clan.prediction.pictures import write_picture
from clan.prediction.prediction import Prediction
from clan.scoring.submission import label_id_palette, label_id_table

FORMATS = ("overlay", "cityscapes")
"""Palette labels and overlays, or PNGs of official label ids."""
PROBABILITIES = ("npz", "png")
"""One compressed NumPy file of all classes, or a folder with a 16-bit grey PNG for each."""
CLASSES = "classes.json"


@dataclass(frozen=True)
class Outputs:
    """What is written for each image."""

    style: str = "overlay"
    alpha: float = 0.5
    """Weight of the colours in overlays."""
    probabilities: str | None = None
    """``npz``, ``png`` or none."""
    uncertainty: bool = False
    summary: bool = False
    tile: int | None = None

    def check(self, classes: ClassSet) -> None:
        """Refuse what cannot be written, before work begins.

        Raises:
            ConfigError: an unknown format, outputs that exclude each other, or classes that
                Cityscapes does not have in its style.
        """
        if self.style not in FORMATS:
            raise ConfigError(f"unknown format {self.style!r}{nearest(self.style, FORMATS)}")
        kind = self.probabilities
        if kind is not None and kind not in PROBABILITIES:
            raise ConfigError(
                f"unknown form of probabilities {kind!r}{nearest(kind, PROBABILITIES)}"
            )
        asked = {"probabilities": kind, "uncertainty": self.uncertainty, "json": self.summary}
        more = [name for name, given in asked.items() if given]
        if self.style == "cityscapes":
            label_id_table(classes)
            if more:
                raise ConfigError(
                    f"the format cityscapes has label ids alone; leave out {', '.join(more)}"
                )
        if self.tile is not None and more:
            raise ConfigError(
                f"{', '.join(more)} cannot be written beside tile, which keeps labels alone so "
                "that any picture fits the memory; leave one out"
            )


def write_outputs(target: Path, found: Prediction, outputs: Outputs, source: Path) -> None:
    """Write all that is asked for of one image.

    Args:
        target: the path without ``_label.png`` and the like.
        found: the prediction.
        outputs: what to write.
        source: the image's file, which the summary names.

    Raises:
        RunError, DataError: something cannot be written.
    """
    make_folder(target.parent)
    labels, classes = found.labels, found.classes
    path = label_file(target, outputs.style)
    if outputs.style == "cityscapes":
        write_label(path, label_id_table(classes)[labels], label_id_palette())
        return
    write_label(path, labels, classes.palette())
    write_picture(beside(target, "overlay.jpg"), found.overlay(outputs.alpha))
    if outputs.probabilities is not None:
        _write_probabilities(target, found, outputs.probabilities)
    if outputs.uncertainty:
        _write_share(beside(target, "entropy.png"), found.uncertainty)
        if found.two_classifiers:
            _write_share(beside(target, "disagreement.png"), found.disagreement)
    if outputs.summary:
        text = json.dumps(summary(found, source), indent=2)
        write_whole(beside(target, "summary.json"), f"{text}\n")


def label_file(target: Path, style: str) -> Path:
    """Return the path of an image's label."""
    return target if style == "cityscapes" else beside(target, "label.png")


def beside(target: Path, kind: str) -> Path:
    """Return the path of one of an image's results."""
    return target.with_name(f"{target.name}_{kind}")


def summary(found: Prediction, source: Path) -> dict[str, object]:
    """Return an image's shares of classes and mean confidence, fit for JSON."""
    height, width = found.shape
    return {
        "image": str(source),
        "size": [height, width],
        "shares": {name: round(share, 6) for name, share in found.shares.items()},
        "mean_confidence": round(float(found.confidence.mean()), 6),
        "mean_entropy": round(float(found.uncertainty.mean()), 6),
    }


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Say in ``classes.json`` what the values of the labels in a folder mean."""
    entries = [
        {"index": index, "name": name, "color": list(color)}
        for index, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
    ]
    about = {"class_set": classes.name, "ignore": IGNORE, "classes": entries}
    write_whole(folder / CLASSES, json.dumps(about, indent=2) + "\n")


def _write_probabilities(target: Path, found: Prediction, kind: str) -> None:
    p = found.probabilities
    names = found.classes.names
    if kind == "npz":
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, probabilities=p.astype(np.float16), classes=np.array(names, dtype=np.str_)
        )
        write_whole(beside(target, "probabilities.npz"), buffer.getvalue(), DataError)
        return
    for index, (name, layer) in enumerate(zip(names, p, strict=True)):
        safe = re.sub(r"[^\w-]+", "_", name)
        _write_grey(
            beside(target, "probabilities") / f"{index:02}_{safe}.png",
            np.rint(layer * 65535).astype(np.uint16),
        )


def _write_share(path: Path, values: NDArray[np.float32]) -> None:
    """Write values in 0..1 as an 8-bit grey PNG, 1 = white."""
    _write_grey(path, np.rint(values * 255).astype(np.uint8))


def _write_grey(path: Path, values: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue(), DataError)
