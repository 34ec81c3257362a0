"""The confusion matrix, counted on the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clan.core.errors import DataError
from clan.data.classes import IGNORE


class Confusion:
    """Counts (truth, prediction) pairs on the device; only `matrix` copies them to the host.

    Counting is exact (int64) and its memory does not depend on the number of images.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.classes = C = classes
        # two more rows: for ignored pixels, and for labels that are no class
        self.counts = torch.zeros((C + 2) * C, dtype=torch.int64, device=device)
        # label value -> start of its row; int32, as converting an image to int64 takes a quarter
        # of a second on a CPU
        self._row = torch.full((256,), (C + 1) * C, dtype=torch.int32, device=device)
        self._row[:C] = torch.arange(C, dtype=torch.int32, device=device) * C
        self._row[IGNORE] = C * C

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count a prediction and a label of equal shape, of any integer type; 255 = ignored."""
        if label.dtype != torch.uint8:
            # values outside uint8 become 254, which is no class of any set
            label = torch.where((label < 0) | (label > 255), 254, label)
        pair = (self._row[label.int()] + prediction).flatten()
        if pair.is_cuda:
            # bincount would wait for the device, to read its largest value
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
