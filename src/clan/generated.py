"""Images and labels drawn at random, in place of data sets that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from lightning.fabric import Fabric
from torch import Tensor

from clan.data.loading import Batch
from clan.data.transforms import ViewOptions, scaled_size
from clan.errors import ConfigError

IMAGES = 2
"""Of each generated domain: enough to learn something from, and quickly passed over."""


def largest_size(domain: str, view: ViewOptions) -> tuple[int, int]:
    """Return (H, W) of the largest images that a view makes.

    Raises:
        ConfigError: only the data tell.
    """
    if view.crop is not None:
        return view.crop
    if view.size is None:
        raise ConfigError(
            f"data.{domain}_view has neither size nor crop: images come as stored, and a dry run "
            f"looks at none. Say how large they are, as in data.{domain}_view.size=[512,1024]"
        )
    alone = max((factor for factor, _ in view.image_scales), default=1.0)
    return scaled_size(view.size, view.scale[1] * alone)


def generated_batch(images: int, shape: tuple[int, int], view: ViewOptions, classes: int) -> Batch:
    """Return a training batch of the largest images (N, 3, H, W) that a view makes, labelled."""
    labelled = view.size if view.image_scales and view.size is not None else shape
    batch = _whole(images, shape, labelled, classes)
    if view.image_scales:
        batch["size"] = labelled
    return batch


class GeneratedDomains:
    """Both domains as a method sees them before a stage: `clan.methods.stages.StageDomains`.

    Args:
        folder: of the stages; nothing is written there but by the method itself.
        size: (H, W) of the images.
        classes: of the labels.
        fabric: gives the device.
    """

    def __init__(self, folder: Path, size: tuple[int, int], classes: int, fabric: Fabric) -> None:
        self.folder, self._size, self._classes, self._fabric = folder, size, classes, fabric

    @property
    def target_images(self) -> int:
        """How many images the target has."""
        return IMAGES

    def source(self, most: int | None = None) -> Iterator[Batch]:
        """Yield labelled images."""
        for index in range(min(IMAGES, most or IMAGES)):
            yield self._image(index)

    def target(self) -> Iterator[Batch]:
        """Yield images without labels."""
        for index in range(IMAGES):
            batch = self._image(index)
            del batch["label"]
            yield batch

    def write_label(self, name: str, label: Tensor) -> None:
        """Forget the label: those of the batches are drawn at random too."""

    def _image(self, index: int) -> Batch:
        batch = _whole(1, self._size, self._size, self._classes)
        batch["name"], batch["index"] = [str(index)], torch.tensor([index])
        return cast(Batch, self._fabric.to_device(batch))


def _whole(images: int, shape: tuple[int, int], labelled: tuple[int, int], classes: int) -> Batch:
    return Batch(
        image=torch.randint(0, 256, (images, 3, *shape), dtype=torch.uint8),
        label=torch.randint(0, classes, (images, *labelled), dtype=torch.uint8),
        name=[str(index) for index in range(images)],
        index=torch.arange(images) % IMAGES,
    )
