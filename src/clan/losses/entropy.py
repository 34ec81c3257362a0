"""Entropy of predictions as a map and as a loss (ADVENT)."""

from __future__ import annotations

import math

from torch import Tensor


def information_map(p: Tensor) -> Tensor:
    """Weighted self-information -p log p / log C (ADVENT, Vu et al. 2019).

    Args:
        p: softmax maps (N, C, H, W).

    Returns:
        (N, C, H, W) float32; its sum over the classes is the pixel's entropy, from 0 (certain) to
        1 (all classes alike); 0 where there is but one class.
    """
    p = p.float()
    # the clamp bounds the gradient, which would be infinite at p = 0
    return -p * p.clamp(min=1e-30).log() / math.log(max(2, p.shape[1]))


def entropy_loss(p: Tensor) -> Tensor:
    """Mean normalised entropy of softmax maps (N, C, H, W) over pixels (ADVENT), 0..1."""
    return information_map(p).sum(dim=1).mean()


def robust_entropy_loss(p: Tensor, eta: float) -> Tensor:
    """Mean of (H^2 + 1e-8)^eta over pixels, H the normalised entropy (FDA, Yang and Soatto 2020).

    With eta above 1/2, uncertain pixels have larger gradients than certain ones, unlike with H.

    Args:
        p: softmax maps (N, C, H, W).
        eta: exponent; the published code has 2.
    """
    entropy = information_map(p).sum(dim=1)
    return ((entropy**2 + 1e-8) ** eta).mean()
