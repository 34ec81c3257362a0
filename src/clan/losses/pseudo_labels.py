"""Class-balanced pseudo-labels and the losses on them, as pure functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clan.data.classes import IGNORE

BINS, REACH = 2048, 16.0
"""Confidences are counted in bins of their log-odds: 2048 bins of width 1/64 from -16 to 16. They
are narrow near 0 and near 1, where the confidences of a trained network lie. Log-odds of 16 are
about the greatest that float32 can tell from a probability of 1."""

RARE = 1e-3
"""Least share in a ratio of shares; smaller ones are raised to it, so that the ratio is bounded."""


def confidence_counts(confidence: Tensor, classes: int) -> Tensor:
    """Count, for each class, the confidences of the pixels where it is the arg max.

    Args:
        confidence: (N, C, H, W) in 0..1, such as softmax maps.
        classes: C.

    Returns:
        (C, BINS) int64; counts of several images or processes may be added.
    """
    best, winner = confidence.float().max(dim=1)
    place = winner * BINS + _bin(best)
    counts = torch.zeros(classes * BINS, dtype=torch.int64, device=confidence.device)
    counts.scatter_add_(0, place.flatten(), torch.ones_like(place.flatten()))
    return counts.view(classes, BINS)


def confidence_thresholds(counts: Tensor, portion: float) -> Tensor:
    """Return per class the confidence k_c that a given share of its arg-max pixels reaches.

    Args:
        counts: (C, BINS) from `confidence_counts`.
        portion: the share, 0 to 1.

    Returns:
        (C,) float32: the lower edge of the highest bin such that this bin and those above hold at
        least the share; 1 for a class without arg-max pixels.
    """
    above = counts.flip(1).cumsum(dim=1).flip(1)
    enough = above >= portion * above[:, :1].double()
    # the highest bin with enough pixels in and above it
    index = (enough * torch.arange(BINS, device=counts.device)).amax(dim=1)
    edge = torch.sigmoid(index.double() * (2 * REACH / BINS) - REACH).float()
    return torch.where(above[:, 0] > 0, edge, torch.ones_like(edge))


def balanced_labels(confidence: Tensor, thresholds: Tensor) -> Tensor:
    """Label each pixel by argmax_c confidence_c / k_c where that is above 1 (CBST).

    Args:
        confidence: (N, C, H, W) in 0..1.
        thresholds: k (C,).

    Returns:
        (N, H, W) uint8 class indices, 255 where no class reaches its threshold.
    """
    ratio = confidence.float() / thresholds.clamp(min=1e-12).view(1, -1, 1, 1)
    best, label = ratio.max(dim=1)
    return torch.where(best > 1, label, IGNORE).to(torch.uint8)


def argmax_labels(confidence: Tensor, thresholds: Tensor) -> Tensor:
    """Label each pixel by argmax_c confidence_c where that is above the class's threshold.

    Unlike in `balanced_labels`, thresholds decide only whether a pixel is labelled, not by which
    class.

    Args:
        confidence: (N, C, H, W) in 0..1.
        thresholds: k (C,).

    Returns:
        (N, H, W) uint8 class indices, 255 where the arg max is not above its threshold.
    """
    best, label = confidence.float().max(dim=1)
    return torch.where(best > thresholds[label], label, IGNORE).to(torch.uint8)


def argmax_shares(confidence: Tensor) -> Tensor:
    """Return the share of the pixels where each class is the arg max, (C,), of (N, C, H, W)."""
    classes = confidence.shape[1]
    winner = confidence.argmax(dim=1).flatten()
    won = torch.zeros(classes, dtype=torch.int64, device=confidence.device)
    won.scatter_add_(0, winner, torch.ones_like(winner))
    return won.float() / winner.numel()


def align_shares(confidence: Tensor, wanted: Tensor, found: Tensor, power: float) -> Tensor:
    """Move class shares towards wanted ones (distribution alignment; ReMixMatch, Berthelot 2020).

    Args:
        confidence: q (N, C, H, W) in 0..1.
        wanted: (C,) shares of the pixels.
        found: (C,) present shares.
        power: the exponent, 0 to 1; 0 changes nothing.

    Returns:
        q_c * (wanted_c / found_c)^power, scaled so that the sum over classes stays the same.
        Shares below `RARE` are raised to it.
    """
    ratio = (wanted.clamp(min=RARE) / found.clamp(min=RARE)) ** power
    scaled = confidence.float() * ratio.view(1, -1, 1, 1)
    total = confidence.float().sum(dim=1, keepdim=True)
    return scaled * (total / scaled.sum(dim=1, keepdim=True).clamp(min=1e-12))


def soft_labels(p: Tensor, thresholds: Tensor, temperature: float) -> Tensor:
    """Return s_c proportional to (p_c / k_c)^(1 / temperature) (CRST, entropy of labels).

    Args:
        p: softmax maps (N, C, H, W).
        thresholds: k (C,).
        temperature: above 0; the nearer to 0, the closer the labels are to those of
            `balanced_labels`.
    """
    ratio = p.float().clamp(min=1e-12) / thresholds.clamp(min=1e-12).view(1, -1, 1, 1)
    return (ratio.log() / temperature).softmax(dim=1)


def soft_cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    """Return -sum_c s_c log p_c of each pixel, (N, H, W) float32 (CRST, lrent).

    Args:
        logits: (N, C, H, W), any scores whose softmax is the prediction.
        soft: s (N, C, H, W), distributions over the classes.
    """
    return -(soft * logits.float().log_softmax(dim=1)).sum(dim=1)


def uniform_divergence(logits: Tensor) -> Tensor:
    """Return -1/C sum_c log p_c of each pixel, (N, H, W) float32 (CRST, mrkld).

    It is the divergence of the prediction from the uniform distribution, up to a constant.
    """
    return -logits.float().log_softmax(dim=1).mean(dim=1)


def class_diversity(p: Tensor) -> Tensor:
    """Return the entropy of an image's class shares: 0 for one class, 1 for equal shares.

    It falls when self-training collapses to a few classes. No label is needed.

    Args:
        p: (N, C, H, W), at least 0, such as softmax maps.

    Returns:
        The mean over images.
    """
    mix = p.float().mean(dim=(2, 3))
    mix = (mix / mix.sum(dim=1, keepdim=True).clamp(min=1e-12)).clamp(min=1e-12)
    return -(mix * mix.log()).sum(dim=1).mean() / math.log(max(2, mix.shape[1]))


def _bin(confidence: Tensor) -> Tensor:
    """Return the bin of each confidence by its log-odds, int64 in 0..BINS - 1."""
    # rounding may make a product slightly larger than 1, which has no log-odds
    confidence = confidence.clamp(max=1.0)
    odds = torch.log(confidence) - torch.log1p(-confidence)
    place = ((odds.clamp(-REACH, REACH) + REACH) * (BINS / (2 * REACH))).long()
    return place.clamp(max=BINS - 1)
