"""Masked images: blocks of the target that the network must infer from their context (MIC).

Hoyer et al. 2023, "MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def block_mask(drawn: Tensor, size: torch.Size, ratio: float) -> Tensor:
    """Choose which blocks of images stay visible.

    Args:
        drawn: (N, h, w) uniform numbers in 0..1, one for each block.
        size: (H, W) of the images.
        ratio: share of the blocks to be masked; a block stays where its number is above it.

    Returns:
        (N, 1, H, W) bool, True = visible; the grid is enlarged by nearest neighbours.
    """
    visible = (drawn > ratio).float().unsqueeze(1)
    return F.interpolate(visible, size=size, mode="nearest").bool()


def block_grid(size: torch.Size, block: int) -> tuple[int, int]:
    """Return how many blocks of ``block`` pixels an image of ``size`` (H, W) has, at least one.

    Halves are rounded to even, as the published code does.
    """
    return max(1, round(size[0] / block)), max(1, round(size[1] / block))


def masked(image: Tensor, visible: Tensor, mean: Tensor) -> Tensor:
    """Set masked pixels to the mean colour, which normalisation maps to 0.

    Args:
        image: (N, 3, H, W) uint8 RGB.
        visible: (N, 1, H, W) bool.
        mean: (1, 3, 1, 1) of the network's normalisation, RGB in 0..255.

    Returns:
        (N, 3, H, W) float32 in 0..255.
    """
    return torch.where(visible, image.to(mean.dtype), mean)
