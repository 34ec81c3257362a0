"""The losses, as pure functions of tensors; each cites its equation in the CLAN paper.

All of them compute in float32 whatever the precision around them: cosines and logarithms of small
probabilities do not survive half precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clan.data.labels import IGNORE

Distance = Literal["cosine", "l1", "js"]


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


def adversarial_loss(domain_logits: Tensor, label: float, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of D against one domain label, weighted per pixel (Eq. 5).

    With ``weight = lambda_local * M + epsilon`` it is the self-adaptive term; without, TAN's.

    Args:
        domain_logits: D's output (N, 1, H, W), before the sigmoid.
        label: 0 for source, 1 for target.
        weight: (N, 1, H, W) or None for 1 everywhere.
    """
    logits = domain_logits.float()
    # softplus(-x) = -log(sigmoid(x)): no tensor of labels has to be made
    loss = F.softplus(-logits if label else logits)
    return (loss if weight is None else weight * loss).mean()


def classifier_discrepancy(p1: Tensor, p2: Tensor) -> Tensor:
    """Mean absolute difference of two softmax maps (MCD, Saito et al. 2018, per pixel).

    Args:
        p1: softmax of C1, (N, C, H, W).
        p2: softmax of C2, likewise.

    Returns:
        The mean over pixels and classes, in [0, 2 / C]: 0 where the classifiers agree everywhere.
    """
    return (p1.float() - p2.float()).abs().mean()


def information_map(p: Tensor) -> Tensor:
    """Weighted self-information -p log p / log C (ADVENT, Vu et al. 2019).

    Args:
        p: softmax maps (N, C, H, W), C at least 2.

    Returns:
        (N, C, H, W) float32; its sum over the classes is the pixel's entropy, from 0 (certain) to
        1 (all classes alike).
    """
    p = p.float()
    # the clamp bounds the slope, which at p = 0 would be infinite
    return -p * p.clamp(min=1e-30).log() / math.log(p.shape[1])


def entropy_loss(p: Tensor) -> Tensor:
    """Mean normalised entropy of softmax maps (N, C, H, W) over pixels (ADVENT), 0..1."""
    return information_map(p).sum(dim=1).mean()


def confusion_loss(domain_logits: Tensor) -> Tensor:
    """Half the binary cross-entropy against either domain (FCNs in the wild, Hoffman et al. 2016).

    Least, log 2, where D cannot tell; any shape, before the sigmoid.
    """
    return (adversarial_loss(domain_logits, 0.0) + adversarial_loss(domain_logits, 1.0)) / 2


def class_shares(label: Tensor, classes: int) -> Tensor:
    """Return each class's share of an image's labelled pixels, (N, classes) float32.

    Args:
        label: (N, H, W) uint8 or int64 class indices; 255 is ignored.
        classes: how many there are.
    """
    index = label.flatten(1).long().clamp(max=classes)
    counts = torch.zeros(len(label), classes + 1, device=label.device)
    counts.scatter_add_(1, index, torch.ones_like(index, dtype=counts.dtype))
    counts = counts[:, :classes]
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)


def size_bounds(shares: Tensor, low: float = 0.1, high: float = 0.9) -> tuple[Tensor, Tensor]:
    """Return percentiles of each class's size over the images that have it, twice (C,).

    Args:
        shares: (K, C) shares of K images; 0 where an image lacks a class.
        low: the lower percentile, 0 to 1.
        high: the upper one.

    Returns:
        Lower and upper bounds, in 0..1; 0 and 1 for a class that no image has.
    """
    sizes = torch.where(shares > 0, shares, torch.nan)
    lower, upper = (torch.nanquantile(sizes, q, dim=0) for q in (low, high))
    return lower.nan_to_num(0.0), upper.nan_to_num(1.0)


def size_constraint_loss(p: Tensor, lower: Tensor, upper: Tensor, presence: float) -> Tensor:
    """Hold the size of each class that an image seems to have between bounds.

    The size is the mean s of the class's probability; its violation is [log lower - log s]+ +
    [log s - log upper]+, so that small classes count as much as large ones.

    Args:
        p: softmax maps (N, C, H, W).
        lower: (C,) bounds from `size_bounds`; a class whose bound is 0 is free.
        upper: likewise.
        presence: an image has a class if it wins at least this share of ``lower`` of the pixels.

    Returns:
        The mean over images of the mean violation over the classes present.
    """
    p = p.float()
    size = p.mean(dim=(2, 3)).clamp(min=1e-8).log()
    lowest, highest = (bound.clamp(min=1e-8).log() for bound in (lower, upper))
    violation = F.relu(lowest - size) + F.relu(size - highest)
    won = class_shares(p.argmax(dim=1), p.shape[1])
    present = ((won >= presence * lower) & (won > 0) & (lower > 0)).float()
    return ((present * violation).sum(dim=1) / present.sum(dim=1).clamp(min=1)).mean()


def cell_shares(label: Tensor, classes: int, grid: tuple[int, int]) -> Tensor:
    """Return each class's share of each grid cell's pixels (Cross-city, Chen et al. 2017).

    Args:
        label: (N, H, W) uint8 or int64 class indices; ignored pixels belong to no class.
        classes: how many there are.
        grid: (h, w), cells per side.

    Returns:
        (N, classes, h, w) float32 in 0..1.
    """
    index = torch.arange(classes, device=label.device).view(1, -1, 1, 1)
    return F.adaptive_avg_pool2d((label.unsqueeze(1) == index).float(), grid)


def _entropy(p: Tensor) -> Tensor:
    """Entropy in bits over the class dimension; 0 log 0 = 0."""
    nats: Tensor = torch.special.xlogy(p, p).sum(dim=1)
    return -nats / math.log(2)
