"""AdaBN (Li et al. 2016): source-only training, with the target's batch-norm statistics.

The network learns from the source alone. Target images pass through it without a loss, and their
batch statistics enter the running statistics, which evaluation uses: the target's alone
(``batch_norm: target``), or a mixture of both domains (``batch_norm: both``), as in the published
adversarial codes with an adversarial weight of zero.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clan.data.loading import Batch
from clan.methods.contract import MethodOptions, Progress
from clan.methods.source_only import SourceOnly


class AdaBN(SourceOnly):
    """source_only plus a gradient-free target pass."""

    class Options(MethodOptions):
        """Options of adabn."""

        name: Literal["adabn"] = "adabn"
        """The method."""
        batch_norm: Literal["target", "both"] = "target"
        """Statistics that evaluation uses: the target's, or a mixture of both domains."""

    uses_target = True
    needs_batch_norm = True

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Learn from the source batch, then run the target batch for its statistics."""
        scalars = super().step(source, target, progress)
        with torch.no_grad():
            for _, batch, _ in self.micro_batches(source, target):
                self.forward_batch("target", batch)
        return scalars
