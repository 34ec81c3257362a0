"""Segmentation losses on labelled pixels (Eq. 3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clan.data.classes import IGNORE


def segmentation_loss(
    logits: Tensor, label: Tensor, focal_gamma: float = 0.0, clamp: float = 0.0
) -> Tensor:
    """Cross-entropy over the labelled pixels (Eq. 3), optionally focal.

    Args:
        logits: (N, C, H, W), any scores whose softmax is the prediction.
        label: (N, H, W) uint8 or int64 class indices; 255 is ignored.
        focal_gamma: weight each pixel by (1 - p_true)^gamma (Lin et al. 2017); 0 is Eq. 3, 2 is
            CLAN's published code.
        clamp: where the true class has a lower probability, take this one, so that the pixel gives
            no gradient; 1e-9 is CLAN's published code.

    Returns:
        The mean over labelled pixels; 0 if there is none.
    """
    loss = F.cross_entropy(logits.float(), label.long(), ignore_index=IGNORE, reduction="none")
    if clamp:
        loss = loss.clamp(max=-math.log(clamp))
    if focal_gamma:
        loss = (1 - torch.exp(-loss)) ** focal_gamma * loss
    # not reduction="mean": a crop without one labelled pixel would give nan
    return loss.sum() / (label != IGNORE).sum().clamp(min=1)


def weighted_loss(logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy weighted per pixel, as DACS and DAFormer learn from labels of their teachers.

    Args:
        logits: (N, C, H, W).
        label: (N, H, W) uint8 or int64 class indices; 255 is ignored.
        weight: (N, H, W) in 0..1.

    Returns:
        The sum over labelled pixels divided by the count of *all* pixels, as published: where less
        is labelled, less is learnt.
    """
    loss = F.cross_entropy(logits.float(), label.long(), ignore_index=IGNORE, reduction="none")
    return (weight * loss).mean()
