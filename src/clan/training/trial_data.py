"""Generated data of the shapes that a configuration's data will have, for updates on trial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor

from clan.config.tree import Config
from clan.core.errors import ConfigError
from clan.data.loading import Batch
from clan.data.sizes import input_size
from clan.data.views import ViewOptions, scaled_size
from clan.methods import METHODS, Reading

Shape = tuple[int, int, int]
PASSED = 2
"""Images of each domain that a pass over the whole data set meets here."""


class TrialData:
    """Generated data for training and its stages: random images, and a class for every pixel.

    Args:
        config: of the training.
        fabric: gives device and processes.
        classes: how many there are.

    Raises:
        ConfigError: a view whose size only the data tell.
    """

    folder = Path()
    """Of a stage; nothing is written here."""
    target_images = PASSED

    def __init__(self, config: Config, fabric: Fabric, classes: int) -> None:
        self._fabric, self._classes = fabric, classes
        self._views = {"source": config.data.source_view}
        if METHODS[config.method.name].uses_target:
            self._views["target"] = config.data.target_view
        images = config.data.batch_size // fabric.world_size
        self.shapes: dict[str, Shape] = {
            name: (images, *_size(name, view)) for name, view in self._views.items()
        }
        """(N, H, W) of each domain's images, the largest that its view makes."""
        self._whole = config.data.evaluation_size

    def batches(self, reading: Reading) -> tuple[Batch, Batch]:
        """Return a source and a target batch as a stage reads them, on the device.

        The target's is empty if the method does not use it; where it has labels, all pixels have
        one, which is what costs most.
        """
        labelled = {"source": True, "target": reading.target_labels}
        source, *target = (
            self._batch(self.shapes[name], view, labelled[name])
            for name, view in self._views.items()
        )
        return source, target[0] if target else Batch()

    def source(self, most: int | None = None) -> Iterator[Batch]:
        """Yield source images with labels, as `clan.methods.stages.StageDomains` has it."""
        yield from self._pass("source", labelled=True)

    def target(self) -> Iterator[Batch]:
        """Yield target images, as `clan.methods.stages.StageDomains` has it."""
        yield from self._pass("target", labelled=False)

    def write_label(self, name: str, label: Tensor) -> None:
        """Let a label go."""

    def _pass(self, domain: str, labelled: bool) -> Iterator[Batch]:
        _, height, width = self.shapes[domain]
        size = input_size(self._whole, (height, width))
        for index in range(PASSED):
            batch = self._batch((1, *size), ViewOptions(), labelled)
            batch["index"] += index
            yield batch

    def _batch(self, shape: Shape, view: ViewOptions, labelled: bool) -> Batch:
        images, *size = shape
        batch = Batch(
            image=torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8),
            name=[str(index) for index in range(images)],
            index=torch.arange(images) % PASSED,
        )
        of_label = (size[0], size[1])
        if view.image_scales and isinstance(view.size, tuple):
            of_label = batch["size"] = view.size
        if labelled:
            batch["label"] = torch.randint(0, self._classes, (images, *of_label), dtype=torch.uint8)
        moved: Batch = self._fabric.to_device(batch)
        return moved


def _size(domain: str, view: ViewOptions) -> tuple[int, int]:
    """Return (H, W) of the largest images that a view makes."""
    if view.crop is not None:
        return view.crop
    if not isinstance(view.size, tuple):
        raise ConfigError(
            f"data.{domain}_view has neither a crop nor a size [H, W]: the data tell how large "
            "images come, and a dry run "
            f"looks at none. Say how large they are, as in data.{domain}_view.size=[512,1024]"
        )
    alone = max((factor for factor, _ in view.image_scales), default=1.0)
    return scaled_size(view.size, view.scale[1] * alone)
