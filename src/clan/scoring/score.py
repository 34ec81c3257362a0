"""Scoring a segmenter: predictions at the labels' size, counted in one confusion matrix."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from clan.core.errors import ConfigError, DataError, RunError
from clan.data.datasets import Dataset
from clan.data.items import Item
from clan.data.sizes import Size
from clan.models.segmenter import Segmenter
from clan.scoring.confusion import Confusion
from clan.scoring.inference import predict_split
from clan.scoring.metrics import Scores
from clan.scoring.protocol import Protocol
from clan.scoring.submission import Submission

if TYPE_CHECKING:
    # for its types alone: Lightning takes seconds to import
    from lightning.fabric import Fabric


def score(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    size: Size | None = None,
    fabric: Fabric | None = None,
    workers: int = 0,
    align_corners: bool = False,
    protocol: Protocol | None = None,
    submission: Submission | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score the ensemble prediction on every image of a labelled split.

    Each image is resized to ``size``, the ensemble's logits are up-sampled bilinearly to the size
    of its label, and the arg max is counted. One image is held at a time and its logits are
    up-sampled class by class, so memory does not grow with the number of images or classes.

    Args:
        segmenter: on its device, plain or set up by Fabric; its training modes are restored.
        dataset: a split with labels, of the segmenter's class set.
        size: (H, W) of the network's input, or its shorter side (the aspect ratio is kept); None
            for each image's own size.
        fabric: divides the images among its processes and sums their counts (all processes return
            the same scores); None: this process. The precision is float32.
        workers: processes that read images.
        align_corners: whether the last up-sampling aligns corners, as in the published codes.
        protocol: replaces ``size`` and ``align_corners``; adds flip and multi-scale testing.
        submission: folder to which each prediction is also written, for the Cityscapes server; its
            ``failures`` hold those that could not be written.
        progress: called after each image with (done, total) of this process.

    Returns:
        The confusion matrix and the scores computed from it.

    Raises:
        DataError: no image, no labels, or labels outside the class set.
        RunError: the segmenter has other classes, or its logits are not finite.
        ConfigError: both a size and a protocol are given.

    Example:
        model = clan.load("runs/clan")
        data = clan.open_dataset("mydata.yaml", split="val")
        print(clan.score(model.segmenter, data, size=(512, 1024)).miou())  # 0..1
    """
    if protocol is not None and (size is not None or align_corners):
        raise ConfigError("a protocol includes size and align_corners; give either it or them")
    protocol = protocol or Protocol(size=size, align_corners=align_corners)
    # without Fabric's wrapper: processes may have different numbers of images, and a distributed
    # forward would wait for all of them
    network = cast(Segmenter, getattr(segmenter, "module", segmenter))
    _check_pair(network, dataset)
    start = time.perf_counter()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    confusion = Confusion(len(dataset.classes), device)

    def consume(item: Item, prediction: Tensor, label: Tensor | None) -> None:
        assert label is not None
        confusion.update(prediction, label)
        if submission is not None:
            submission.add(item.image, prediction[0].cpu().numpy())

    images = predict_split(
        network, dataset, protocol, consume, fabric=fabric, workers=workers, progress=progress
    )
    if fabric is not None and fabric.world_size > 1:
        fabric.all_reduce(confusion.counts, reduce_op="sum")
    seconds = time.perf_counter() - start
    return Scores(dataset.classes, confusion.matrix(), images, seconds, protocol)


def predict_only(
    segmenter: Segmenter,
    dataset: Dataset,
    protocol: Protocol,
    submission: Submission,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Scores:
    """Predict an unlabelled split, such as the test split of Cityscapes; the matrix stays zero."""
    start = time.perf_counter()

    def consume(item: Item, prediction: Tensor, _: Tensor | None) -> None:
        submission.add(item.image, prediction[0].cpu().numpy())

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
            f"the network predicts {', '.join(segmenter.classes.names)}, but {where} is "
            f"labelled with {', '.join(dataset.classes.names)}; score with the class set that the "
            "network was trained on"
        )
