"""The mean teacher (Tarvainen and Valpola 2017): a moving average of G that labels the target."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from clan.models.batchnorm import POLICY, Mode, Statistics, set_statistics
from clan.models.segmenter import Segmenter

TeacherUpdate = Literal["parameters", "buffers"]
"""parameters: updated before G's step, parameters only; the teacher's batch norm uses its own batch
(published codes of DACS and DAFormer). buffers: updated after G's step; the running statistics are
copied from G and used by the teacher."""


class Teacher(nn.Module):
    """A copy of G whose weights are an exponential moving average of G's.

    Args:
        segmenter: G.
        decay: alpha of theta' = alpha theta' + (1 - alpha) theta; at step i it is at most
            1 - 1 / (i + 1), so that the teacher starts as a copy of G.
        update: which convention.
        batch_norm: G's mode; with frozen, the teacher's batch norm is frozen too.
    """

    def __init__(
        self, segmenter: Segmenter, decay: float, update: TeacherUpdate, batch_norm: Mode
    ) -> None:
        super().__init__()
        self.network = Segmenter(segmenter.options, segmenter.classes)
        self.network.load_state_dict(segmenter.state_dict())
        self.network.requires_grad_(False).eval()
        self.decay, self.update = decay, update
        own_batch = update == "parameters" and POLICY[batch_norm]["target"].own_batch
        self._statistics = Statistics(own_batch=own_batch, updates_running=False)

    @torch.no_grad()
    def follow(self, segmenter: Segmenter, step: int) -> None:
        """Update the moving average by G's weights; ``step`` counts from 0."""
        weight = 1 - min(1 - 1 / (step + 1), self.decay)
        own: list[Tensor] = list(self.network.parameters())
        learnt: list[Tensor] = list(segmenter.parameters())
        torch._foreach_lerp_(own, learnt, weight)
        if self.update == "buffers":
            for kept, new in zip(self.network.buffers(), segmenter.buffers(), strict=True):
                kept.copy_(new)

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """Return the ensemble prediction p (N, C, H, W) float32 of plain images (N, 3, H, W)."""
        set_statistics(self.network, self._statistics)
        logits: tuple[Tensor, ...] = self.network(image)
        return self.network.ensemble(logits).float().softmax(dim=1)
