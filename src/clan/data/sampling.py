"""Which images a training draws: each once an epoch, or by the classes that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from clan.core.errors import ClanError, DataError
from clan.data.datasets import Dataset
from clan.data.views import class_generator, random_order


def sample_index(seed: int, stream: int, position: int, length: int) -> int:
    """Return which of ``length`` images stands at ``position`` = step * batch_size + slot.

    Each run of ``length`` positions is an epoch: a permutation of its own, with every image once.
    """
    if length < 1 or position < 0:
        raise DataError(f"no image at position {position} of a data set of {length} images")
    epoch, place = divmod(position, length)
    return int(_order(seed, stream, epoch, length)[place])


@lru_cache(maxsize=8)
def _order(seed: int, stream: int, epoch: int, length: int) -> NDArray[np.int64]:
    return random_order(seed, stream, epoch, length)


@dataclass(frozen=True, eq=False)
class ClassDraw:
    """Draws a class, then one of the images that show it (rare-class sampling, Hoyer et al. 2022).

    Attributes:
        chances: (C,) probability of each class, 0 for those that no image shows.
        holders: for each class the indices of the images that show it, ascending.
    """

    chances: NDArray[np.float64]
    holders: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, counts: NDArray[np.int64], temperature: float) -> ClassDraw:
        """Make the draw of a data set.

        Args:
            counts: (N, C) pixels of each class in each image.
            temperature: T > 0. A class that has the share f of all labelled pixels is drawn with a
                probability proportional to exp((1 - f) / T): the lower T, the more the rare ones.

        Raises:
            DataError: no image has a labelled pixel.
        """
        pixels = counts.sum(axis=0)
        if not pixels.any():
            raise DataError("source images cannot be drawn by class: none has a labelled pixel")
        shown, shares = pixels > 0, pixels / pixels.sum()
        # the greatest exponent is 0: a low temperature must not overflow
        above = np.maximum(shares - shares[shown].min(), 0)
        chances = np.where(shown, np.exp(-above / temperature), 0.0)
        return cls(
            chances / chances.sum(),
            tuple(np.flatnonzero(column) for column in counts.T),
        )

    def __call__(self, seed: int, step: int, slot: int, stream: int) -> tuple[int, int]:
        """Return the class and the index of the image of a slot, a function of its place alone."""
        which, where = class_generator(seed, step, slot, stream).random(2)
        index = int(np.searchsorted(np.cumsum(self.chances), which, side="right"))
        # rounding can leave the sum a hair below 1
        index = min(index, int(np.flatnonzero(self.chances)[-1]))
        return index, self.another(index, where)

    def another(self, shown: int, where: float) -> int:
        """Return an image that shows a class, chosen by a number in [0, 1)."""
        images = self.holders[shown]
        return int(images[int(where * len(images))])


UNREAD = -1
"""In all counts of a label that could not be read."""


class LabelCounts(TorchDataset[NDArray[np.int64] | ClanError]):
    """The pixels (C,) of each class in each label of some items.

    With ``skip``, `UNREAD` instead of an error for a label that cannot be read.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int], skip: bool = False) -> None:
        self.dataset, self.indices, self.skip = dataset, indices, skip

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> NDArray[np.int64] | ClanError:
        try:
            label = self.dataset.read_label(self.indices[place])
        except ClanError as error:
            if self.skip and isinstance(error, DataError):
                return np.full(len(self.dataset.classes), UNREAD, np.int64)
            return error
        return np.bincount(label.ravel(), minlength=256)[: len(self.dataset.classes)]
