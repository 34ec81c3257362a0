"""A loss and a sink of another package, on the public names alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import clan


class Smoothed(clan.PixelLoss):
    """Cross-entropy with label smoothing."""

    class Options(clan.LossOptions):
        """Options of smoothed."""

        smoothing: float = Field(0.1, ge=0, lt=1)
        """Share of the label that is spread over all classes."""

    options: Options

    def __call__(self, logits: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(
            logits.float(),
            label.long(),
            ignore_index=255,
            reduction="none",
            label_smoothing=self.options.smoothing,
        )


class Lines:
    """Writes the names of a run's numbers into a file of its folder."""

    def begin(self, run: Any, config: clan.Config, step: int) -> None:
        self.file = (run.path / "names.txt").open("a")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        print(step, *values, file=self.file)

    def close(self) -> None:
        self.file.close()
