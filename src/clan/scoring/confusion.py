"""The confusion matrix, counted on the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clan.core.errors import DataError
from clan.data.classes import IGNORE


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
