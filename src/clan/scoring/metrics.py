"""Scores computed from a confusion matrix: IoU per class, mIoU, pixel accuracy.

They are defined as in the Cityscapes evaluation (``evalPixelLevelSemanticLabeling``): one matrix
counts the pixels of all images, without ignored ones. A class that is neither in the truth nor
predicted has no IoU and is left out of the mean. A class that is predicted but not in the truth has
IoU 0, which counts in the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import ConfigError, RunError, nearest
from clan.data.classes import ClassSet
from clan.scoring.protocol import Protocol


@dataclass(frozen=True, eq=False)
class Scores:
    """The confusion matrix of a labelled split, and the scores computed from it.

    Attributes:
        classes: the classes of the rows and columns.
        confusion: (C, C) int64 pixel counts, rows = truth, columns = prediction.
        images: number of images.
        seconds: duration of the pass, None if unknown.
        protocol: how images were resized and logits up-sampled, None if unknown.
    """

    classes: ClassSet
    confusion: NDArray[np.int64]
    images: int
    seconds: float | None = None
    protocol: Protocol | None = None

    @cached_property
    def iou(self) -> dict[str, float]:
        """IoU per class name, 0..1: TP / (TP + FN + FP), nan where all three are 0."""
        hit = np.diagonal(self.confusion).astype(np.float64)
        union = self.confusion.sum(0) + self.confusion.sum(1) - hit
        with np.errstate(invalid="ignore"):
            values = hit / union
        return dict(zip(self.classes.names, values.tolist(), strict=True))

    def miou(self, subset: str | None = None) -> float:
        """Mean IoU, 0..1, over the classes that have one; nan if none has.

        Args:
            subset: a named subset of the class set, over whose IoUs the mean is taken (the
                definition of SYNTHIA's 16- and 13-class numbers); None or the class set's own name
                for all classes.
        """
        return self.mean_iou(subset_names(self.classes, subset))

    def mean_iou(self, names: Iterable[str]) -> float:
        """Mean IoU, 0..1, over those of the named classes that have one; nan if none has."""
        values = [self.iou[name] for name in names]
        valid = [value for value in values if not math.isnan(value)]
        return math.fsum(valid) / len(valid) if valid else math.nan

    @property
    def pixel_accuracy(self) -> float:
        """Share of correctly predicted pixels, 0..1; nan if no pixel was counted."""
        total = int(self.confusion.sum())
        return int(np.trace(self.confusion)) / total if total else math.nan

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes without a pixel in the truth."""
        return tuple(
            name
            for name, pixels in zip(self.classes.names, self.confusion.sum(1), strict=True)
            if pixels == 0
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON, nan as None.

        Besides the matrix it contains the scores computed from it, for people and other tools.
        """
        subsets = (self.classes.name, *self.classes.subsets)
        protocol = self.protocol
        return {
            "images": self.images,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "protocol": None if protocol is None else _protocol_dict(protocol),
            "classes": self.classes.to_dict(),
            "confusion": self.confusion.tolist(),
            "iou": {name: _nullable(value) for name, value in self.iou.items()},
            "miou": {name: _nullable(self.miou(name)) for name in subsets},
            "pixel_accuracy": _nullable(self.pixel_accuracy),
            "absent": list(self.absent),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scores:
        """Rebuild from `to_dict`; the scores are computed again from the matrix.

        Raises:
            RunError: keys missing, or a matrix that is not (C, C) non-negative integers.
        """
        missing = [key for key in ("classes", "confusion", "images") if key not in data]
        if missing:
            raise RunError(f"scores lack {', '.join(missing)}")
        classes = ClassSet.from_dict(data["classes"])
        try:
            confusion = np.array(data["confusion"])
        except ValueError:
            confusion = np.empty(0)
        shape = (len(classes), len(classes))
        if confusion.shape != shape or confusion.dtype.kind != "i" or confusion.min() < 0:
            raise RunError(
                f"the confusion matrix is {confusion.dtype} {confusion.shape}; expected "
                f"non-negative integers {shape} for the {len(classes)} classes of {classes.name!r}"
            )
        seconds, protocol = data.get("seconds"), data.get("protocol")
        return cls(
            classes,
            confusion.astype(np.int64),
            int(data["images"]),
            None if seconds is None else float(seconds),
            None if protocol is None else _protocol(protocol),
        )


def subset_names(classes: ClassSet, subset: str | None) -> tuple[str, ...]:
    """Return the class names of a named subset; all classes for None or the set's own name.

    Raises:
        ConfigError: no such subset.
    """
    if subset is None or subset == classes.name:
        return classes.names
    if subset not in classes.subsets:
        valid = (classes.name, *classes.subsets)
        raise ConfigError(
            f"the class set {classes.name!r} has no subset {subset!r}{nearest(subset, valid)}"
        )
    return tuple(classes.subsets[subset])


def _protocol_dict(protocol: Protocol) -> dict[str, Any]:
    return {"name": protocol.name, **protocol.model_dump(mode="json")}


def _protocol(data: Mapping[str, Any]) -> Protocol:
    try:
        # the name is computed from the other values
        return Protocol(**{key: value for key, value in data.items() if key != "name"})
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"the protocol {data!r} cannot be read: {error}") from error


def _nullable(value: float) -> float | None:
    return None if math.isnan(value) else value
