"""The discrepancy of the two classifiers' weights, and their disagreement per pixel.

Always computed in float32: cosines and logarithms of small probabilities lose their digits in half
precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Distance = Literal["cosine", "l1", "js"]


def weight_discrepancy(
    first: Iterable[Tensor], second: Iterable[Tensor], eps: float = 1e-8
) -> Tensor:
    """Cosine of the two classifiers' flattened weights (Eq. 4); 1 = the same direction.

    Args:
        first: the tensors w1 of C1.
        second: the tensors w2 of C2, in the same order and shapes.
        eps: guards the division where a norm is zero.
    """
    w1 = torch.cat([w.float().flatten() for w in first])
    w2 = torch.cat([w.float().flatten() for w in second])
    return F.cosine_similarity(w1, w2, dim=0, eps=eps)


def alignment_map(p1: Tensor, p2: Tensor, distance: Distance = "cosine") -> Tensor:
    """Disagreement M(p1, p2) of the classifiers per pixel (section 3.2): high = poorly aligned.

    Args:
        p1: softmax of C1, (N, C, H, W).
        p2: softmax of C2, likewise.
        distance: ``cosine``: 1 - cos(p1, p2), the paper's; ``l1``: half the L1 distance (total
            variation); ``js``: Jensen-Shannon divergence in bits. The paper allows "some proper
            distance metric"; all three lie in [0, 1] and are 0 where p1 = p2.

    Returns:
        (N, 1, H, W) float32 in [0, 1].
    """
    p1, p2 = p1.float(), p2.float()
    if distance == "cosine":
        # rounding can leave the cosine of equal vectors a few ulp above 1
        m = (1 - F.cosine_similarity(p1, p2, dim=1, eps=1e-8)).clamp(0, 1)
    elif distance == "l1":
        m = (p1 - p2).abs().sum(dim=1) / 2
    else:
        m = (_entropy((p1 + p2) / 2) - (_entropy(p1) + _entropy(p2)) / 2).clamp(0, 1)
    return m.unsqueeze(1)


def classifier_discrepancy(p1: Tensor, p2: Tensor) -> Tensor:
    """Mean absolute difference of two softmax maps (MCD, Saito et al. 2018, per pixel).

    Args:
        p1: softmax of C1, (N, C, H, W).
        p2: softmax of C2, likewise.

    Returns:
        The mean over pixels and classes, in [0, 2 / C]: 0 where the classifiers agree everywhere.
    """
    return (p1.float() - p2.float()).abs().mean()


def _entropy(p: Tensor) -> Tensor:
    """Entropy in bits over the class dimension; 0 log 0 = 0."""
    # the clamp bounds the slope, which at p = 0 would be infinite
    nats: Tensor = (p * p.clamp(min=1e-30).log()).sum(dim=1)
    return -nats / math.log(2)
