"""What a network says about one image: its labels, and what stands behind them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clan.core.errors import ConfigError
from clan.data.classes import ClassSet
from clan.prediction.pictures import legend, overlay, present

BAND = 256
"""Rows that are up-sampled at a time: a picture has few of them in memory as floats."""


class Prediction(np.ndarray[Any, np.dtype[np.uint8]]):
    """The labels of one image, uint8 (H, W), and what stands behind them.

    It is an array of class indices like any other. What is computed from it, such as
    ``prediction == 3`` or a part of it, is a plain array.

    Attributes:
        image: the image, uint8 (H, W, 3) RGB.
        classes: what the labels mean.
    """

    image: NDArray[np.uint8]
    classes: ClassSet
    _look: Callable[[], Tensor]
    _seen: Tensor | None
    _disagree: Callable[[], NDArray[np.float32]] | None
    _corners: bool

    @classmethod
    def of(
        cls,
        labels: NDArray[np.uint8],
        image: NDArray[np.uint8],
        classes: ClassSet,
        look: Callable[[], Tensor],
        seen: Tensor | None = None,
        disagree: Callable[[], NDArray[np.float32]] | None = None,
        *,
        align_corners: bool = False,
    ) -> Prediction:
        """Make one.

        Args:
            labels: uint8 (H, W).
            image: uint8 (H, W, 3) RGB.
            classes: what the labels mean.
            look: runs the network on the image: logits (1, C, h, w) float32 of the ensemble,
                before the up-sampling to (H, W).
            seen: what ``look`` gives, where it is at hand.
            disagree: computes the alignment map; None where there is one classifier.
            align_corners: convention of the up-sampling of logits to (H, W).
        """
        self = labels.view(cls)
        self.image, self.classes = image, classes
        self._look, self._seen, self._disagree = look, seen, disagree
        self._corners = align_corners
        return self

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **rest: Any) -> Any:
        if "out" in rest:
            rest["out"] = tuple(_plain(each) for each in rest["out"])
        return getattr(ufunc, method)(*map(_plain, inputs), **rest)

    def __getitem__(self, key: Any) -> Any:
        return self.labels[key]

    def __reduce__(self) -> Any:
        # what stands behind the labels can be as large as a network: labels alone are copied
        return self.labels.__reduce__()

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Class indices, uint8 (H, W)."""
        return self.view(np.ndarray)

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The ensemble prediction p, float32 (C, H, W), which sums to 1 over classes."""
        logits = F.interpolate(
            self._logits, size=self.shape, mode="bilinear", align_corners=self._corners
        )
        return np.asarray(logits.softmax(dim=1)[0].cpu().numpy(), np.float32)

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        """The entropy of p over that of a uniform one, float32 (H, W) in 0..1."""
        return self._by_pixel(_entropy)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The largest of p's probabilities, float32 (H, W) in 1/C..1."""
        return self._by_pixel(lambda log_p: log_p.amax(dim=1).exp())

    @property
    def disagreement(self) -> NDArray[np.float32]:
        """The alignment map M = 1 - cos(p1, p2) of the two classifiers, float32 (H, W) in 0..1.

        Raises:
            ConfigError: the network has one classifier.
        """
        if self._disagree is None:
            raise ConfigError(
                "the disagreement is that of two classifiers, and this network has one; "
                "`uncertainty` needs one alone"
            )
        return self._disagree()

    @property
    def two_classifiers(self) -> bool:
        """Whether there is a disagreement."""
        return self._disagree is not None

    @property
    def shares(self) -> dict[str, float]:
        """How much of the image each class covers, 0..1, in the class set's order."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes))
        return {
            name: int(count) / self.size
            for name, count in zip(self.classes.names, counts, strict=False)
        }

    def overlay(self, alpha: float = 0.5, key: bool = True) -> NDArray[np.uint8]:
        """Return the classes' colours over the image, uint8 RGB.

        Args:
            alpha: weight of the colours, 0..1.
            key: with a legend of the classes that occur, underneath.
        """
        picture = overlay(self.image, self.labels, self.classes, alpha)
        if not key:
            return picture
        names = present([self.labels], self.classes)
        return np.concatenate([picture, key_of(self.classes, picture.shape[1], names)])

    def _repr_png_(self) -> bytes:
        """Show the overlay in a notebook."""
        buffer = io.BytesIO()
        Image.fromarray(self.overlay()).save(buffer, format="PNG")
        return buffer.getvalue()

    @property
    def _logits(self) -> Tensor:
        if self._seen is None:
            self._seen = self._look()
        return self._seen

    def _by_pixel(self, of: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
        """Return what ``of`` makes of log p (1, C, h, w), up-sampled, a band of rows at a time."""
        height, width = self.shape
        found = np.empty((height, width), np.float32)
        for top in range(0, height, BAND):
            rows = min(BAND, height - top)
            logits = upsampled_rows(self._logits, (height, width), top, rows, self._corners)
            found[top : top + rows] = of(logits.log_softmax(dim=1))[0].cpu().numpy()
        return found


def key_of(classes: ClassSet, width: int, names: Sequence[str]) -> NDArray[np.uint8]:
    """Return the legend (h, width, 3) uint8 RGB that stands under an overlay of that width."""
    return legend(classes, width, names, font_size=min(32, max(11, width // 50)))


def upsampled_rows(
    logits: Tensor, size: tuple[int, int], top: int, rows: int, align_corners: bool = False
) -> Tensor:
    """Return some rows of logits (1, C, h, w) up-sampled bilinearly to ``size`` (H, W)."""
    h, height = logits.shape[2], size[0]
    if h == height:
        wanted = logits[:, :, top : top + rows]
    else:
        at = torch.arange(top, top + rows, device=logits.device, dtype=torch.float32)
        if align_corners:
            at = at * ((h - 1) / max(1, height - 1))
        else:
            at = ((at + 0.5) * (h / height) - 0.5).clamp(0, h - 1)
        above = at.floor().long()
        below = (above + 1).clamp(max=h - 1)
        part = (at - above).to(logits.dtype)[:, None]
        wanted = logits[:, :, above] * (1 - part) + logits[:, :, below] * part
    if logits.shape[3] == size[1]:
        return wanted
    return F.interpolate(wanted, size=(rows, size[1]), mode="bilinear", align_corners=align_corners)


def _entropy(log_p: Tensor) -> Tensor:
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    return (entropy / math.log(max(2, log_p.shape[1]))).clamp(0, 1)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Prediction) else value
