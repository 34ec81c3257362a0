"""Centres of classes in feature space, as streaming means, and distances between them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pooling = Literal["pixel", "image"]
Distance = Literal["euclidean", "cosine", "spread"]


class Centres:
    """Mean feature of each class over any number of images; its memory does not depend on it.

    Args:
        classes: C.
        pooling: ``pixel``: the mean over all pixels of a class, whatever image they are in;
            ``image``: the mean of the images' own class means, each image that has the class
            counting once.
    """

    def __init__(self, classes: int, pooling: Pooling = "pixel") -> None:
        self.classes, self.pooling = classes, pooling
        self._sums: Tensor | None = None
        self._squares = self._weights = torch.zeros(classes, dtype=torch.float64)
        self.images = np.zeros(classes, np.int64)
        """(C,) images that have each class."""

    def add(self, features: Tensor, counts: Tensor) -> None:
        """Count one image: features (F, h, w) and pixels (C, h, w) of each class in each cell."""
        counts = counts.flatten(1).double()
        features = features.flatten(1).double()
        sums = counts @ features.T
        squares = counts @ (features**2).sum(dim=0)
        weights = counts.sum(dim=1)
        present = weights > 0
        if self.pooling == "image":
            each = weights.clamp(min=torch.finfo(torch.float64).tiny)
            sums, squares, weights = sums / each[:, None], squares / each, present.double()
        if self._sums is None:
            self._sums = torch.zeros_like(sums)
            self._squares, self._weights = torch.zeros_like(squares), torch.zeros_like(weights)
        self._sums += sums
        self._squares += squares
        self._weights += weights
        self.images += present.cpu().numpy()

    @property
    def means(self) -> NDArray[np.float64]:
        """(C, F) centres; nan for classes that no image had."""
        if self._sums is None:
            return np.full((self.classes, 1), np.nan)
        means = self._sums / self._weights[:, None]
        return np.asarray(means.cpu().numpy(), np.float64)

    @property
    def spread(self) -> NDArray[np.float64]:
        """(C,) root mean square distance of the features from their centre; nan if absent."""
        variance = (self._squares / self._weights).cpu().numpy() - (self.means**2).sum(axis=1)
        return np.asarray(np.sqrt(variance.clip(min=0)), np.float64)


def centre_distances(a: Centres, b: Centres, kind: Distance) -> NDArray[np.float64]:
    """Return the distance of each class's centres in two domains, (C,), nan where one is absent.

    Args:
        a: of one domain.
        b: of the other, with the same classes and features.
        kind: ``euclidean``; ``cosine``: 1 - cos, blind to the features' length; ``spread``: the
            euclidean in units of the class's own spread, the root mean square over both domains.
            Features that merely grow or shrink change the first, not the second and third.
    """
    first, second = a.means, b.means
    if kind == "cosine":
        norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = (first * second).sum(axis=1) / norms
        # equal centres give exactly 0, not the last digit of a rounded cosine
        equal = (first == second).all(axis=1)
        return np.where(equal, 0.0, np.clip(1 - cosine, 0, 2))
    distance = np.asarray(np.linalg.norm(first - second, axis=1), np.float64)
    if kind == "euclidean":
        return distance
    spread = np.sqrt((a.spread**2 + b.spread**2) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(distance == 0, 0.0, distance / spread)
