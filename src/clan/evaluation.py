"""Scoring a segmenter: label maps at full resolution, counted in one confusion matrix."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning.fabric import Fabric, is_wrapped
from numpy.typing import NDArray
from torch import Tensor

from clan.config import Config, load_config
from clan.confusion_plot import check_path, draw_confusion
from clan.data.datasets import Dataset, Item, open_dataset
from clan.data.labels import IGNORE
from clan.domains import open_domain
from clan.errors import ConfigError, DataError, RunError
from clan.inference import evaluating, pick_device, predict_split, upsampled_argmax
from clan.models.segmenter import Segmenter
from clan.models.weights import load_segmenter
from clan.protocol import Protocol, choose_protocol
from clan.scores import Evaluation, Scores, read_evaluation, subset_names, write_evaluation
from clan.submission import Submission, label_id_file

__all__ = [
    "Confusion",
    "Evaluation",
    "Protocol",
    "Scores",
    "evaluate_model",
    "evaluating",
    "pick_device",
    "read_evaluation",
    "score",
    "subset_names",
    "upsampled_argmax",
    "write_evaluation",
]


class Confusion:
    """Counts (truth, prediction) pairs on the device; nothing reaches the host before `matrix`.

    Counting is exact (int64) and its memory does not depend on the number of images.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.classes = C = classes
        # two rows more: the truth is ignored, the truth is no class
        self.counts = torch.zeros((C + 2) * C, dtype=torch.int64, device=device)
        # raw truth -> where its row begins; int32, as a quarter of a second per image goes into
        # the conversion to int64 on a CPU
        self._row = torch.full((256,), (C + 1) * C, dtype=torch.int32, device=device)
        self._row[:C] = torch.arange(C, dtype=torch.int32, device=device) * C
        self._row[IGNORE] = C * C

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count two maps of class indices of equal shape, any integer type, 255 = ignored truth."""
        if label.dtype != torch.uint8:
            # 254 is no class of any set: what a uint8 label cannot hold is counted as outside
            label = torch.where((label < 0) | (label > 255), 254, label)
        pair = (self._row[label.int()] + prediction).flatten()
        if pair.is_cuda:
            # a bincount on CUDA waits for its largest value
            pair = pair.long()
            self.counts.scatter_add_(0, pair, torch.ones_like(pair))
        else:
            self.counts += pair.bincount(minlength=len(self.counts))

    def matrix(self) -> NDArray[np.int64]:
        """Return (C, C) int64 counts, rows = truth.

        Raises:
            DataError: labels held values that are neither a class nor 255.
        """
        rows = self.counts.cpu().numpy().reshape(self.classes + 2, self.classes)
        if outside := int(rows[-1].sum()):
            raise DataError(
                f"{outside} label pixels are neither a class index 0..{self.classes - 1} nor "
                f"{IGNORE}; check the label map of the data set"
            )
        matrix: NDArray[np.int64] = rows[:-2].copy()
        return matrix


def score(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    size: tuple[int, int] | None = None,
    fabric: Fabric | None = None,
    workers: int = 0,
    align_corners: bool = False,
    protocol: Protocol | None = None,
    submission: Submission | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score the ensemble prediction on every image of a labelled split.

    Each image is resized to ``size``, the ensemble's logits are up-sampled bilinearly to the full
    resolution of its label, and the arg max is counted there. One image is held at a time and its
    logits are up-sampled class by class: memory does not grow with images or classes.

    Args:
        segmenter: on its device, plain or set up by Fabric; its modes are left as found.
        dataset: a split with labels, of the segmenter's class set.
        size: (H, W) that the network sees, None for each image's own size.
        fabric: shares the images among its processes, sums their counts (so that all processes
            return the same scores) and gives the precision; None: this process, full precision.
        workers: processes that read images.
        align_corners: convention of the last up-sampling; the published codes align corners.
        protocol: in place of ``size`` and ``align_corners``; flip and multi-scale testing too.
        submission: also write each prediction there, for the Cityscapes server.
        progress: called after each image with (done, total) of this process.

    Raises:
        DataError: no image, no labels, or labels outside the class set.
        RunError: the segmenter has other classes, or its logits are not finite.
        ConfigError: a size beside a protocol.
    """
    if protocol is not None and (size is not None or align_corners):
        raise ConfigError("a protocol has its own size and align_corners; give one or the other")
    protocol = protocol or Protocol(size=size, align_corners=align_corners)
    # without Fabric's wrapper: its processes have different numbers of images, and a distributed
    # forward waits for all of them
    network = cast(Segmenter, segmenter.module) if is_wrapped(segmenter) else segmenter
    _check_pair(network, dataset)
    start = time.perf_counter()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    confusion = Confusion(len(dataset.classes), device)

    def consume(item: Item, prediction: Tensor, label: Tensor | None) -> None:
        assert label is not None
        confusion.update(prediction, label)
        if submission is not None:
            submission.write(item.image, prediction[0].cpu().numpy())

    images = predict_split(
        network, dataset, protocol, consume, fabric=fabric, workers=workers, progress=progress
    )
    if fabric is not None and fabric.world_size > 1:
        fabric.all_reduce(confusion.counts, reduce_op="sum")
    seconds = time.perf_counter() - start
    return Scores(dataset.classes, confusion.matrix(), images, seconds, protocol)


def evaluate_model(
    model: str | Path,
    *,
    dataset: str | None = None,
    root: str | Path | None = None,
    split: str | None = None,
    out: Path | None = None,
    device: str = "auto",
    protocol: Protocol | None = None,
    submit: Path | None = None,
    confusion: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score a finished run or a model file.

    Args:
        model: a run folder, or a ``model.safetensors``.
        dataset: built-in name or description; None for what the run is validated on.
        root: the data set's folder; for None as the description (or the run) says.
        split: of that; None for ``val``, or for the run's own.
        out: also write the evaluation to this file, fit for `compare`.
        device: ``auto``, ``cpu`` or ``cuda``.
        protocol: how images are shown and logits up-sampled; None: as the run's configuration
            says, and for a file at the model's evaluation size, corners not aligned. Its own
            ``size`` None stands for the model's, too.
        submit: also write the predictions to this new folder, as the Cityscapes server takes
            them. The split then needs no labels: without them nothing is counted.
        confusion: also draw the confusion matrix into this file (.png, .pdf or .svg).
        progress: called after each image with (done, total).

    Raises:
        ClanError: no such model, run, data set or device; see `score`.
    """
    if confusion is not None:
        check_path(confusion)
    segmenter = load_segmenter(model).to(pick_device(device))
    path = Path(model)
    config = _config(path)
    data = _open(segmenter, config, model, dataset, root, split)
    protocol = protocol or choose_protocol(protocol_name(model))
    if protocol.size is None:
        protocol = protocol.model_copy(update={"size": segmenter.evaluation_size})
    submission = None if submit is None else _submission(submit, data, segmenter)
    workers = config.data.workers if config else 0
    if submission is not None and not data.labelled and out is None and confusion is None:
        return _submit_only(segmenter, data, protocol, submission, workers, progress)
    scores = score(
        segmenter,
        data,
        workers=workers,
        protocol=protocol,
        submission=submission,
        progress=progress,
    )
    name = config.name if config else path.stem
    if out is not None:
        write_evaluation(
            out,
            scores,
            name=name,
            seed=config.seed if config else None,
            step=config.training.steps if config else None,
            checkpoint="last" if config else "file",
            dataset=data.name,
            split=data.split,
            size=protocol.size,
            ensemble=segmenter.options.ensemble,
        )
    if confusion is not None:
        draw_confusion(scores, confusion, f"{name} on {data.name} {data.split}")
    return scores


def protocol_name(model: str | Path) -> str:
    """Return the protocol that a run is scored by: its configuration's, ``own`` for a file alone.

    Raises:
        ClanError: the run's configuration is malformed.
    """
    config = _config(Path(model))
    return "own" if config is None else config.data.evaluation_protocol


def _config(model: Path) -> Config | None:
    """Return the configuration beside a model, None if there is none."""
    file = (model if model.is_dir() else model.parent) / "config.yaml"
    return load_config(file) if file.is_file() else None


def _open(
    segmenter: Segmenter,
    config: Config | None,
    model: str | Path,
    dataset: str | None,
    root: str | Path | None,
    split: str | None,
) -> Dataset:
    if dataset is not None:
        return open_dataset(dataset, root=root, split=split or "val", classes=segmenter.classes)
    if config is None or config.data.validation is None:
        raise ConfigError(f"{model} names no validation split; name a data set (--dataset)")
    options = config.data.model_copy(update={} if root is None else {"root": str(root)})
    domain = config.data.validation
    if split is not None:
        domain = domain.model_copy(update={"split": split})
    return open_domain(domain, options, segmenter.classes)


def _submission(folder: Path, dataset: Dataset, segmenter: Segmenter) -> Submission:
    for item in dataset.items:
        label_id_file(item.image)  # a name that the server would not know is found at once
    return Submission(folder, segmenter.classes)


def _submit_only(
    segmenter: Segmenter,
    dataset: Dataset,
    protocol: Protocol,
    submission: Submission,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Scores:
    """Predict an unlabelled split, such as the test split of Cityscapes; nothing is counted."""
    start = time.perf_counter()

    def consume(item: Item, prediction: Tensor, _: Tensor | None) -> None:
        submission.write(item.image, prediction[0].cpu().numpy())

    images = predict_split(
        segmenter, dataset, protocol, consume, workers=workers, progress=progress
    )
    nothing = np.zeros((len(segmenter.classes),) * 2, np.int64)
    return Scores(segmenter.classes, nothing, images, time.perf_counter() - start, protocol)


def _check_pair(segmenter: Segmenter, dataset: Dataset) -> None:
    where = f"the {dataset.split!r} split of {dataset.name!r}"
    if len(dataset) == 0:
        raise DataError(f"{where} holds no image; there is nothing to score")
    if not dataset.labelled:
        raise DataError(
            f"{where} has no labels{dataset.sought}; scoring needs them (prediction does not)"
        )
    if segmenter.classes.names != dataset.classes.names:
        raise RunError(
            f"the network tells {', '.join(segmenter.classes.names)} apart, but {where} is "
            f"labelled with {', '.join(dataset.classes.names)}; score with the class set that the "
            "network was trained on"
        )
