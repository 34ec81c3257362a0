"""Segmentation losses per pixel (Eq. 3), their table by name, and their weighted mean."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from clan.core.errors import ConfigError, nearest
from clan.core.options import Options
from clan.core.plugins import Plugins
from clan.data.classes import IGNORE

Weight = Annotated[float, Field(ge=0)]


class LossOptions(Options):
    """Options shared by all segmentation losses."""

    name: str = "cross_entropy"
    """The loss."""
    class_weights: Literal["none", "balanced"] | dict[str, Weight] = "none"
    """Weight of each class's pixels. none: 1; balanced: larger for classes that are rare in the
    source's labels (counted once, before the first step); or weights by name, such as {pole: 2}, 1
    for classes not named."""
    mean_over: Literal["labelled", "all"] = "labelled"
    """Divisor of the sum over labelled pixels. labelled: the sum of their class weights; all: the
    number of all pixels (published code of DAFormer)."""


class PixelLoss(ABC):
    """A segmentation loss of single pixels; `mean_loss` takes their mean.

    Args:
        options: of this loss, as ``Options`` declares them.
    """

    Options: ClassVar[type[LossOptions]] = LossOptions

    def __init__(self, options: LossOptions) -> None:
        self.options = options

    @abstractmethod
    def __call__(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the loss of each pixel, (N, H, W) float32, with any finite value where ignored.

        Args:
            logits: (N, C, H, W), any scores whose softmax is the prediction.
            label: (N, H, W) uint8 or int64 class indices; 255 is ignored.
        """


class CrossEntropy(PixelLoss):
    """Cross-entropy (Eq. 3)."""

    class Options(LossOptions):
        """Options of cross_entropy."""

        clamp: float = Field(0.0, ge=0, lt=1)
        """Least probability of the true class; a pixel below it has no gradient (published code of
        CLAN: 1e-9)."""

    options: Options

    def __call__(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return -log p of the true class, at most -log(clamp); 0 where ignored."""
        loss = F.cross_entropy(logits.float(), label.long(), ignore_index=IGNORE, reduction="none")
        return loss.clamp(max=-math.log(self.options.clamp)) if self.options.clamp else loss


class Focal(CrossEntropy):
    """Focal loss (Lin et al. 2017): cross-entropy times (1 - p)^gamma."""

    class Options(CrossEntropy.Options):
        """Options of focal."""

        gamma: float = Field(2.0, ge=0)
        """Exponent of (1 - p) of the true class: 0 is cross-entropy, 2 is CLAN's published code."""

    options: Options

    def __call__(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return -(1 - p)^gamma log p of the true class; 0 where ignored."""
        loss, gamma = super().__call__(logits, label), self.options.gamma
        if not gamma:
            return loss
        wrong = 1 - torch.exp(-loss)
        if gamma < 1:
            # the power's slope at 0 is infinite, that of its product with the loss is 0
            wrong = wrong.clamp(min=1e-12)
        return wrong**gamma * loss


LOSSES: dict[str, type[PixelLoss]] = {}
"""The segmentation losses by name."""


def register_loss(name: str, cls: type[PixelLoss]) -> None:
    """Let ``method.loss.name`` be ``name``.

    Call it before a configuration that names the loss is read, in every process that reads one.
    The command line finds losses by entry points: ``clan.losses``.

    Args:
        name: what configurations call it.
        cls: a subclass of `PixelLoss`; its ``Options`` are those that configurations may set.

    Raises:
        ConfigError: no name, not a subclass of `PixelLoss`, or a name that another loss has. The
            same class, defined again in a notebook, replaces itself.
    """
    if not name:
        raise ConfigError("a loss needs a name; found ''")
    if not (isinstance(cls, type) and issubclass(cls, PixelLoss)):
        raise ConfigError(f"{cls!r} cannot be registered: expected a subclass of PixelLoss")
    known = LOSSES.get(name, cls)
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            f"{cls.__qualname__} cannot be registered: the loss name {name!r} is taken by "
            f"{LOSSES[name].__qualname__}"
        )
    LOSSES[name] = cls


register_loss("cross_entropy", CrossEntropy)
register_loss("focal", Focal)

PLUGINS = Plugins("clan.losses", "loss", LOSSES, register_loss)
"""Losses of other installed packages."""


def loss_options(value: Any) -> Any:
    """Validate the options of the named loss against its own ``Options``.

    Raises:
        ValueError: an unknown name (names the nearest), or a broken package that provides it.
    """
    if not isinstance(value, Mapping):
        return value
    name = str(value.get("name", LossOptions.model_fields["name"].default))
    try:
        PLUGINS.load(name)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    if name not in LOSSES:
        known = dict.fromkeys([*LOSSES, *PLUGINS.names()])
        raise ValueError(f"unknown loss {name!r}{nearest(name, known)}")
    return LOSSES[name].Options.model_validate(value)


def mean_loss(each: Tensor, label: Tensor, count: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the weighted sum of the labelled pixels' losses, divided by a count.

    Args:
        each: (N, H, W) from a `PixelLoss`.
        label: (N, H, W) uint8 or int64 class indices; 255 is ignored.
        count: the divisor, a float32 scalar: `weight_of` these pixels, or that of a whole update
            divided by its number of parts.
        weights: (C,) of the classes; None is 1 for all.
    """
    counted = label != IGNORE
    if weights is None:
        return (each * counted).sum() / count
    index = torch.where(counted, label.long(), 0)
    return (each * weights[index] * counted).sum() / count


def label_counts(label: Tensor, classes: int, options: LossOptions) -> Tensor:
    """Count pixels for `weight_of`, in integers, so that counts of parts add up exactly.

    Args:
        label: (N, H, W) uint8 or int64 class indices; 255 is ignored.
        classes: how many there are.
        options: of the loss.

    Returns:
        int64: (1,) all pixels or the labelled ones, or (classes,) those of each class if there are
        class weights.
    """
    if options.mean_over == "all":
        return torch.full((1,), label.numel(), device=label.device)
    if options.class_weights == "none":
        return (label != IGNORE).sum().view(1)
    return class_pixels(label, classes)


def weight_of(counts: Tensor, weights: Tensor | None) -> Tensor:
    """Return the divisor of a sum of losses, a float32 scalar; 1 if nothing was counted.

    Args:
        counts: from `label_counts`, or a sum of such.
        weights: (C,) of the classes; None is 1 for all.
    """
    weighed = counts.float() if weights is None or len(counts) == 1 else counts * weights
    total = weighed.sum()
    return torch.where(total > 0, total, torch.ones_like(total))


def class_pixels(label: Tensor, classes: int) -> Tensor:
    """Count the pixels of each class, (classes,) int64; 255 is ignored."""
    index = label.flatten().long().clamp(max=classes)
    counts = torch.zeros(classes + 1, dtype=torch.int64, device=label.device)
    counts.scatter_add_(0, index, torch.ones_like(index))
    return counts[:classes]


def balanced_weights(counts: Tensor) -> Tensor:
    """Weigh classes by median frequency balancing (Eigen and Fergus 2015).

    A class's frequency is its share of the labelled pixels in the images that contain it. Its
    weight is the median frequency of all classes divided by its own.

    Args:
        counts: (N, C) int64, pixels of each class in each image.

    Returns:
        (C,) float32; 1 for a class that no image shows.
    """
    shown = counts > 0
    pixels = counts.sum(dim=0).double()
    around = (shown * counts.sum(dim=1, keepdim=True)).sum(dim=0).double()
    frequency = pixels / around.clamp(min=1)
    found = frequency[frequency > 0]
    if not len(found):
        return torch.ones(counts.shape[1])
    ratio = found.quantile(0.5) / frequency.clamp(min=1e-12)
    return torch.where(pixels > 0, ratio, torch.ones_like(ratio)).float()


def given_weights(weights: Mapping[str, float], names: tuple[str, ...]) -> Tensor:
    """Return the weights (C,) float32 of classes by their names, 1 for those not named.

    Raises:
        ConfigError: a name that is no class; names the nearest.
    """
    for name in weights:
        if name not in names:
            raise ConfigError(
                f"method.loss.class_weights: unknown class {name!r}{nearest(name, names)}"
            )
    return torch.tensor([weights.get(name, 1.0) for name in names])


def weighted_loss(each: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of weighted losses over *all* pixels, as in DACS and DAFormer.

    Images with fewer labelled pixels have smaller losses.

    Args:
        each: (N, H, W) from a `PixelLoss`.
        label: (N, H, W) uint8 or int64 class indices; 255 counts as loss 0.
        weight: (N, H, W) in 0..1.
    """
    return (weight * each * (label != IGNORE)).mean()
