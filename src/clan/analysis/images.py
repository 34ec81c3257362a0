"""The images of an analysis, and a network's features and predictions on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clan.config.tree import Config
from clan.core.errors import ConfigError, DataError
from clan.data.classes import IGNORE
from clan.data.datasets import Dataset
from clan.data.loading import evaluation_loader
from clan.data.sizes import Size
from clan.data.views import random_order
from clan.models.segmenter import Segmenter
from clan.scoring.inference import evaluating
from clan.training.domains import open_domain

FeatureKind = Literal["encoder", "logits", "softmax"]
Labels = Literal["truth", "pseudo"]
TargetSplit = Literal["target", "validation"]
Watch = Callable[[str, int, int], None]
"""Called with the name of the pass, the number of images done and the total."""

SOURCE_DRAW, TARGET_DRAW = 100, 101
"""Streams of random numbers, apart from those of trainings."""


@dataclass(frozen=True)
class Sample:
    """Random images of one domain.

    Attributes:
        dataset: the drawn images alone.
        size: (H, W) or short side that the network sees, None for each image's own.
        of: how many images the split has.
        stream: of this domain's random numbers.
    """

    dataset: Dataset
    size: Size | None
    of: int
    stream: int

    def describe(self) -> dict[str, object]:
        """Return what an analysis notes about its images."""
        return {
            "dataset": self.dataset.name,
            "split": self.dataset.split,
            "images": len(self.dataset),
            "of": self.of,
            "size": self.size,
        }


class Shown(NamedTuple):
    """An image as the network sees it, on the network's device."""

    image: Tensor
    """(1, 3, H, W) uint8 RGB."""
    label: Tensor | None
    """(H, W) uint8 class indices at the image's size, 255 = ignore; None without a truth."""


def moved(config: Config, root: str | Path | None) -> Config:
    """Return the configuration with another ``data.root``, for moved data; None leaves it."""
    if root is None:
        return config
    data = config.data.model_copy(update={"root": str(root)})
    return config.model_copy(update={"data": data})


def draw_domains(
    config: Config, images: int, seed: int, on: TargetSplit, labels: Labels
) -> tuple[Sample, Sample]:
    """Open source and target and draw the images of both; see `open_target` for the errors."""
    source = draw_source(config, open_source(config), images, seed)
    return source, draw_target(config, open_target(config, on, labels), images, seed)


def draw_source(config: Config, dataset: Dataset, images: int, seed: int) -> Sample:
    """Draw source images, at the size of training before crops."""
    size = config.data.source_view.size or config.data.evaluation_size
    return draw(dataset, size, images, seed, SOURCE_DRAW)


def draw_target(config: Config, dataset: Dataset, images: int, seed: int) -> Sample:
    """Draw target images, at the size of scoring."""
    size = config.data.evaluation_size or config.data.target_view.size
    return draw(dataset, size, images, seed, TARGET_DRAW)


def draw(dataset: Dataset, size: Size | None, images: int, seed: int, stream: int) -> Sample:
    """Draw ``images`` of a data set at random, all where it has fewer; the same for a seed."""
    if images < 1:
        raise ConfigError(f"an analysis needs at least one image per domain, not {images}")
    order = random_order(seed, stream, 0, len(dataset))[:images]
    items = tuple(dataset.items[i] for i in order.tolist())
    return Sample(replace(dataset, items=items), size, len(dataset), stream)


def open_source(config: Config) -> Dataset:
    """Open the run's labelled source.

    Raises:
        DataError: it cannot be opened, or has no labels.
    """
    source = open_domain(config.data.source, config.data, None)
    if not source.labelled:
        raise DataError(f"the source {source.name} (split {source.split}) has no labels")
    return source


def open_target(config: Config, split: TargetSplit, labels: Labels | None) -> Dataset:
    """Open the run's target, or its validation split.

    Args:
        config: of the run.
        split: ``target``, what was adapted to, or ``validation``, what is scored on.
        labels: ``truth`` reads labels, for the analysis alone; ``pseudo`` and None leave them.

    Raises:
        ConfigError: the run has no such split.
        DataError: it cannot be opened, or has no labels where the truth is asked for.
    """
    domain = config.data.target if split == "target" else config.data.validation
    other = "validation" if split == "target" else "target"
    if domain is None:
        raise ConfigError(f"the run has no data.{split}; try the split {other} (--on {other})")
    truth = labels == "truth"
    dataset = open_domain(domain, config.data, open_source(config).classes, labels=truth)
    if truth and not dataset.labelled:
        raise DataError(
            f"the target {dataset.name} (split {dataset.split}) has no labels: take the network's "
            f"own predictions (--labels pseudo), or the split {other} (--on {other})"
        )
    return dataset


def shown(
    sample: Sample, network: Segmenter, workers: int, watch: Callable[[int, int], None]
) -> Iterator[Shown]:
    """Yield the sample's images one at a time, within `evaluating`: memory does not depend on N."""
    device = next(network.parameters()).device
    loader = evaluation_loader(sample.dataset, size=sample.size, workers=workers)
    with evaluating(network):
        for done, batch in enumerate(loader, start=1):
            image = batch["image"].to(device, non_blocking=True)
            label = batch.get("label")
            if label is not None:
                label = resized_label(label[0].to(device), (image.shape[-2], image.shape[-1]))
            yield Shown(image, label)
            watch(done, len(loader))


def feature_map(network: Segmenter, image: Tensor, kind: FeatureKind) -> Tensor:
    """Return features (F, h, w) float32 of an image (1, 3, H, W).

    Args:
        network: in evaluation mode.
        image: uint8 RGB on the network's device.
        kind: ``encoder``: E's deepest map (of VGG16 fc7); ``logits``: of the ensemble, at the
            classifiers' own resolution; ``softmax``: of those logits.
    """
    features = network.encode(image)
    if kind == "encoder":
        return features[-1][0].float()
    logits = network.ensemble(network.classify_coarsely(features, image.shape[-2:])).float()
    return (logits if kind == "logits" else logits.softmax(dim=1))[0]


def predicted(network: Segmenter, image: Tensor) -> Tensor:
    """Return the network's own labels (H, W) uint8 for an image (1, 3, H, W)."""
    return network.ensemble(network(image)).argmax(dim=1)[0].to(torch.uint8)


def resized_label(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a label (H, W) uint8 at another size: of each new pixel, the one at its centre."""
    if (label.shape[0], label.shape[1]) == size:
        return label
    # through float32, which holds 0..255 exactly: not all devices resize bytes
    return F.interpolate(label[None, None].float(), size=size, mode="nearest-exact")[0, 0].to(
        torch.uint8
    )


def class_counts(
    label: Tensor,
    classes: int,
    grid: tuple[int, int],
    places: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return how many pixels of each class lie in each cell of a grid, (C, h, w) float32.

    A sum of features weighted by it is a sum over all labelled pixels, each with the feature of its
    cell, so that objects narrower than a cell count with their number of pixels.

    Args:
        label: (H, W) uint8, 255 = ignore.
        classes: C.
        grid: (h, w).
        places: the row (H,) and the column (W,) of the grid in which the pixels lie; None: its
            cells tile the label.
    """
    (H, W), (h, w) = label.shape, grid
    if places is None:
        places = torch.arange(H) * h // H, torch.arange(W) * w // W
    row, column = (place.to(label.device) for place in places)
    cell = row[:, None] * w + column
    known = label != IGNORE
    index = label[known].long() * (h * w) + cell[known]
    return torch.bincount(index, minlength=classes * h * w).view(classes, h, w).float()
