"""The loss on labels and pseudo-labels, as one mean over all labelled pixels of an update.

The images of an update are divided among processes and accumulated parts, and the parts' losses
are averaged. Each part divides its sum by (labelled pixels of the whole update / number of parts),
not by its own count. The average is then the mean over all labelled pixels, and an update does not
depend on how its images are divided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from clan.data.loading import Batch
from clan.losses.segmentation import (
    LOSSES,
    LossOptions,
    balanced_weights,
    given_weights,
    label_counts,
    mean_loss,
    weight_of,
)
from clan.models.batchnorm import Domain

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class LabelLoss(nn.Module):
    """A segmentation loss with class weights, averaged over the labelled pixels of an update.

    It is a module, so that balanced class weights are saved with the method's state.

    Args:
        options: of the loss.
        names: of the classes.

    Raises:
        ConfigError: weights of an unknown class.
    """

    class_weights: Tensor | None

    def __init__(self, options: LossOptions, names: tuple[str, ...]) -> None:
        super().__init__()
        self.options, self.classes = options, len(names)
        self.pixel = LOSSES[options.name](options)
        """The loss of each pixel, from logits (N, C, H, W) and label (N, H, W)."""
        weights = options.class_weights
        given = {} if isinstance(weights, str) else weights
        buffer = None if weights == "none" else given_weights(given, names)
        self.register_buffer("class_weights", buffer)
        self._counts: dict[Domain, Tensor] = {}

    def setup(self, fabric: Fabric, accumulate: int) -> None:
        """Move the weights to the device; an update has ``accumulate`` parts in each process."""
        self.fabric, self.parts = fabric, fabric.world_size * accumulate
        self.to(fabric.device)

    def balance(self, counts: Tensor) -> None:
        """Set the class weights from the pixel counts (N, C) int64 of the source's labels."""
        assert self.class_weights is not None, "only called with class_weights: balanced"
        self.class_weights.copy_(balanced_weights(counts))

    def clear(self) -> None:
        """Forget the counts: the update begins or is over."""
        self._counts = {}

    def count(self, labels: Mapping[Domain, Tensor]) -> None:
        """Count an update's labels over all processes, without waiting for the device.

        Args:
            labels: of each domain, (N, H, W): of this process's images in all parts of the update.
        """
        counts = self._weights(list(labels.values()))
        self._counts |= {d: c / self.parts for d, c in zip(labels, counts, strict=True)}

    def count_batches(self, source: Batch, target: Batch) -> None:
        """Count the labels that an update's batches have, unless they were counted."""
        batches: dict[Domain, Batch] = {"source": source, "target": target}
        labels = {domain: batch["label"] for domain, batch in batches.items() if "label" in batch}
        if labels and not self._counts:
            self.count(labels)

    def forward(self, logits: Tensor, label: Tensor, domain: Domain) -> Tensor:
        """Return the loss of (N, C, H, W) logits on labels (N, H, W), averaged by `mean`."""
        return self.mean(self.pixel(logits, label), label, domain)

    def mean(self, each: Tensor, label: Tensor, domain: Domain) -> Tensor:
        """Return this part's sum over labelled pixels, divided as the module's docstring says.

        Outside of an update, it is divided by the mean count of the processes' labels.

        Args:
            each: loss of each pixel, (N, H, W).
            label: (N, H, W) uint8 or int64 class indices; 255 is ignored.
            domain: the domain of these labels.

        Raises:
            RuntimeError: within an update, labels that were not counted.
        """
        if not self._counts:
            count = self._weights([label])[0] / self.fabric.world_size
        elif domain in self._counts:
            count = self._counts[domain]
        else:
            raise RuntimeError(
                f"the {domain}'s labels of this update were not counted, so their mean is unknown: "
                f"call label_loss.count({{{domain!r}: labels}}) with those of all parts first"
            )
        return mean_loss(each, label, count, self.class_weights)

    def _weights(self, labels: Sequence[Tensor]) -> list[Tensor]:
        """Return the divisor of each label's sum of losses, over all processes."""
        own = torch.stack([label_counts(label, self.classes, self.options) for label in labels])
        total = cast(Tensor, self.fabric.all_reduce(own, reduce_op="sum"))
        return [weight_of(counts, self.class_weights) for counts in total]
