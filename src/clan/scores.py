"""What scoring counts, and the file that keeps it: confusion matrix -> per-class IoU and mIoU.

The numbers are those of the Cityscapes evaluation (``evalPixelLevelSemanticLabeling``): the pixels
of all images are counted in one matrix, pixels whose truth is ignored count nowhere, and a class
that is neither in the truth nor in the prediction has no IoU and stays out of the mean. A class
that is absent from the truth and yet predicted has IoU 0 and counts in the mean.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clan.data.labels import ClassSet
from clan.errors import ClanError, ConfigError, RunError, nearest
from clan.protocol import Protocol

FILE = "evaluation.json"


@dataclass(frozen=True, eq=False)
class Scores:
    """What one pass over a labelled split counted.

    Attributes:
        classes: what the rows and columns mean.
        confusion: (C, C) int64 pixel counts, rows = truth, columns = prediction.
        images: number of images counted.
        seconds: how long the pass took, None if unknown.
        protocol: how images were shown and logits up-sampled, None if unknown.
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
            subset: a named subset of the class set (its IoUs are averaged, nothing is counted
                anew, which is how the 16- and 13-class numbers of SYNTHIA are defined); None or
                the class set's own name for all classes.
        """
        return self.mean_iou(subset_names(self.classes, subset))

    def mean_iou(self, names: Iterable[str]) -> float:
        """Mean IoU, 0..1, over those of the named classes that have one; nan if none has."""
        values = [self.iou[name] for name in names]
        valid = [value for value in values if not math.isnan(value)]
        return math.fsum(valid) / len(valid) if valid else math.nan

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that are right, 0..1; nan if none was counted."""
        total = int(self.confusion.sum())
        return int(np.trace(self.confusion)) / total if total else math.nan

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes that have no pixel in the truth."""
        return tuple(
            name
            for name, pixels in zip(self.classes.names, self.confusion.sum(1), strict=True)
            if pixels == 0
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form: nan becomes null.

        The matrix holds everything; the derived numbers are there for people and other tools.
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

    def render(self) -> RenderableType:
        """Return a rich table: IoU and share of the truth per class, mIoU per named subset.

        It says by which protocol they were made, and which classes have no pixel in the truth.
        """
        if not self.confusion.any():
            return Text(f"{self.images} images predicted; nothing was scored: they have no labels")
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("class")
        table.add_column("IoU %", justify="right")
        table.add_column("truth %", justify="right")
        truth = self.confusion.sum(1)
        share = 100 * truth / max(1, truth.sum())
        for (name, value), part in zip(self.iou.items(), share.tolist(), strict=True):
            table.add_row(Text(name), _percent(value), f"{part:.2f}")
        summary = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
        for subset in (self.classes.name, *self.classes.subsets):
            size = len(subset_names(self.classes, subset))
            heading = Text(f"mIoU over {subset} ({size} classes)", style="bold")
            summary.add_row(heading, Text(_percent(self.miou(subset)), style="bold"))
        summary.add_row("pixel accuracy", _percent(self.pixel_accuracy))
        summary.add_row("images", str(self.images))
        notes = [Text(note, style="dim") for note in self.notes()]
        return Group(table, "", summary, *notes)

    def notes(self) -> list[str]:
        """Return what a reader must know beside the numbers, a sentence each."""
        notes = []
        if self.protocol is not None:
            notes.append(f"Input {self.protocol.size_text()}, {self.protocol.text()}.")
        left_out = [name for name, value in self.iou.items() if math.isnan(value)]
        if left_out:
            notes.append(
                f"Neither in the truth nor predicted, so without IoU and out of the means: "
                f"{', '.join(left_out)}."
            )
        zero = [name for name in self.absent if name not in left_out]
        if zero:
            notes.append(f"Not in the truth but predicted, so 0 in the means: {', '.join(zero)}.")
        return notes

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scores:
        """Rebuild from `to_dict`; only the matrix is read, everything else follows from it.

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
    """Return the class names of a named subset; of all classes for None or the set's own name.

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


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One scored checkpoint of one run: the scores and what they are of.

    Attributes:
        scores: the counts.
        name: the system; runs that differ in the seed only share it.
        seed: seed of the training, None if unknown (a model file without its run).
        step: updates that the scored weights have seen, None if unknown.
        checkpoint: how they were chosen: ``last``, ``oracle`` = best on target labels, or ``file``
            = unknown.
        dataset: name of the data set.
        split: its split.
        size: (H, W) that the network saw, None for each image's own.
        ensemble: how the classifiers were joined.
        path: the file.
    """

    scores: Scores
    name: str
    seed: int | None
    step: int | None
    checkpoint: str
    dataset: str
    split: str
    size: tuple[int, int] | None
    ensemble: str
    path: Path

    @property
    def protocol(self) -> Protocol:
        """How images were shown and logits up-sampled; files of old say no more than the size."""
        return self.scores.protocol or Protocol(size=self.size)


def write_evaluation(
    path: Path,
    scores: Scores,
    *,
    name: str,
    seed: int | None,
    step: int | None,
    checkpoint: str,
    dataset: str,
    split: str,
    size: tuple[int, int] | None,
    ensemble: str,
) -> Evaluation:
    """Write ``evaluation.json`` whole or not at all; the arguments are those of `Evaluation`."""
    about = {
        "name": name,
        "seed": seed,
        "step": step,
        "checkpoint": checkpoint,
        "dataset": dataset,
        "split": split,
        "size": size,
        "ensemble": ensemble,
    }
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({**about, **scores.to_dict()}, file, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return read_evaluation(path)


def read_evaluation(path: str | Path) -> Evaluation:
    """Read ``evaluation.json``, given itself or its run folder.

    Raises:
        RunError: missing, not JSON, or not an evaluation; names the file.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE
    if not path.is_file():
        raise RunError(
            f"no evaluation at {path}: the run is unfinished, or it has no data.validation. Score "
            f"it with `clan evaluate {path.parent} --dataset DATASET --out {path}`"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not valid JSON ({error}); evaluate the run again") from error
    try:
        size = data["size"]
        return Evaluation(
            scores=Scores.from_dict(data),
            name=str(data["name"]),
            seed=None if data["seed"] is None else int(data["seed"]),
            step=None if data["step"] is None else int(data["step"]),
            checkpoint=str(data["checkpoint"]),
            dataset=str(data["dataset"]),
            split=str(data["split"]),
            size=None if size is None else (int(size[0]), int(size[1])),
            ensemble=str(data["ensemble"]),
            path=path,
        )
    except KeyError as error:
        raise RunError(f"{path} has no {error}; expected a file of `clan evaluate`") from error
    except (TypeError, ValueError, IndexError, ClanError) as error:
        raise RunError(f"{path} is not an evaluation: {error}") from error


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _protocol_dict(protocol: Protocol) -> dict[str, Any]:
    return {"name": protocol.name, **protocol.model_dump(mode="json")}


def _protocol(data: Mapping[str, Any]) -> Protocol:
    try:
        # the name follows from the rest
        return Protocol(**{key: value for key, value in data.items() if key != "name"})
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"the protocol {data!r} cannot be read: {error}") from error


def _nullable(value: float) -> float | None:
    return None if math.isnan(value) else value
