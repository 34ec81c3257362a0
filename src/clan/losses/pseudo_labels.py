"""Class-balanced pseudo-labels and what is learnt from them, as pure functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clan.data.classes import IGNORE

BINS, REACH = 2048, 16.0
"""Confidences are counted by their log-odds from -16 to 16, in steps of 1/64: fine near 0 and near
1, where a trained network's lie. 16 is as near to 1 as float32 tells apart."""

RARE = 1e-3
"""Share of the pixels below which a class has too few for a ratio of shares."""


def confidence_counts(confidence: Tensor, classes: int) -> Tensor:
    """Count the confidences of the pixels that each class wins.

    Args:
        confidence: (N, C, H, W) in 0..1, such as softmax maps.
        classes: C.

    Returns:
        (C, BINS) int64; sums over images, and over processes, are counts of their union.
    """
    best, winner = confidence.float().max(dim=1)
    place = winner * BINS + _bin(best)
    counts = torch.zeros(classes * BINS, dtype=torch.int64, device=confidence.device)
    counts.scatter_add_(0, place.flatten(), torch.ones_like(place.flatten()))
    return counts.view(classes, BINS)


def confidence_thresholds(counts: Tensor, portion: float) -> Tensor:
    """Return the confidence k_c that a share of the pixels won by each class reaches.

    Args:
        counts: (C, BINS) from `confidence_counts`.
        portion: the share, 0 to 1.

    Returns:
        (C,) float32: the lower edge of the highest bin above which, itself included, lies at least
        the share; 1 for a class that wins no pixel.
    """
    above = counts.flip(1).cumsum(dim=1).flip(1)
    enough = above >= portion * above[:, :1].double()
    # the last bin of those that have enough above them
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


def winner_labels(confidence: Tensor, thresholds: Tensor) -> Tensor:
    """Label each pixel by the class that wins it, where that reaches its own threshold.

    Unlike `balanced_labels`, a class with a low threshold takes no pixel from another.

    Args:
        confidence: (N, C, H, W) in 0..1.
        thresholds: k (C,).

    Returns:
        (N, H, W) uint8 class indices, 255 where the winner is not above its threshold.
    """
    best, label = confidence.float().max(dim=1)
    return torch.where(best > thresholds[label], label, IGNORE).to(torch.uint8)


def won_shares(confidence: Tensor) -> Tensor:
    """Return the share of the pixels that each class wins, (C,) float32, of (N, C, H, W)."""
    classes = confidence.shape[1]
    winner = confidence.argmax(dim=1).flatten()
    won = torch.zeros(classes, dtype=torch.int64, device=confidence.device)
    won.scatter_add_(0, winner, torch.ones_like(winner))
    return won.float() / winner.numel()


def keep_shares(confidence: Tensor, wanted: Tensor, found: Tensor, power: float) -> Tensor:
    """Lead the classes' shares back (distribution alignment; ReMixMatch, Berthelot et al. 2020).

    Args:
        confidence: q (N, C, H, W) in 0..1.
        wanted: (C,) shares of the pixels.
        found: (C,) shares that the classes have.
        power: 0 changes nothing, 1 is the whole ratio.

    Returns:
        q_c * (wanted_c / found_c)^power, scaled so that the sum over classes stays what it was.
        Shares below `RARE` count as that much, so that the rarest classes are left in peace.
    """
    ratio = (wanted.clamp(min=RARE) / found.clamp(min=RARE)) ** power
    led = confidence.float() * ratio.view(1, -1, 1, 1)
    total = confidence.float().sum(dim=1, keepdim=True)
    return led * (total / led.sum(dim=1, keepdim=True).clamp(min=1e-12))


def soft_labels(p: Tensor, thresholds: Tensor, temperature: float) -> Tensor:
    """Return s_c proportional to (p_c / k_c)^(1 / temperature) (CRST, entropy of labels).

    Args:
        p: softmax maps (N, C, H, W).
        thresholds: k (C,).
        temperature: above 0; towards 0 the labels become `balanced_labels`' classes.
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

    It is the divergence of the prediction from uniform but for a constant.
    """
    return -logits.float().log_softmax(dim=1).mean(dim=1)


def class_diversity(p: Tensor) -> Tensor:
    """Return the entropy of an image's class mix, from 0 (one class) to 1 (all alike often).

    It falls where self-training collapses: a few classes take all pixels. No label is needed.

    Args:
        p: (N, C, H, W), at least 0, such as softmax maps.

    Returns:
        The mean over images, so that parts of a batch add up to the whole.
    """
    mix = p.float().mean(dim=(2, 3))
    mix = (mix / mix.sum(dim=1, keepdim=True).clamp(min=1e-12)).clamp(min=1e-12)
    return -(mix * mix.log()).sum(dim=1).mean() / math.log(max(2, mix.shape[1]))


def _bin(confidence: Tensor) -> Tensor:
    """Return the bin of each confidence by its log-odds, int64 in 0..BINS - 1."""
    # a product or a sum of shares may round to more than 1, which has no log-odds
    confidence = confidence.clamp(max=1.0)
    odds = torch.log(confidence) - torch.log1p(-confidence)
    place = ((odds.clamp(-REACH, REACH) + REACH) * (BINS / (2 * REACH))).long()
    return place.clamp(max=BINS - 1)
