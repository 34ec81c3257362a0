"""A linear discriminant of features, fitted to soft labels (Fisher 1936), as pure functions.

Each class is a Gaussian in the space of features, all with one covariance S:

    log p(c | x) = x . S^-1 mu_c - mu_c . S^-1 mu_c / 2 + log pi_c + constant

Means, covariance and shares follow from sums over pixels, which may be added over images and
processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 8
"""Pixels of the image, per side, to a cell of the grid on which features are read."""
SHRINKAGE = 0.1
"""Share of the covariance's diagonal in S: features of neighbouring cells are no independent
samples."""
LEAST = -50.0
"""Least log p(c | x): a Gaussian's tail says nothing of how wrong a class is."""


class Sums(NamedTuple):
    """Sums over pixels, weighted by soft labels; float64."""

    pixels: Tensor
    """(C,)."""
    first: Tensor
    """Of features, (C, D)."""
    second: Tensor
    """Of their products, over all classes, (D, D)."""


class Discriminant(NamedTuple):
    """log p(c | x) = softmax of x . weight_c + bias_c."""

    weight: Tensor
    """(C, D) float32."""
    bias: Tensor
    """(C,) float32; -inf for a class without pixels."""


def cells(maps: Sequence[Tensor], image: Tensor) -> Tensor:
    """Bring an encoder's maps to one grid and stack them.

    Args:
        maps: (N, channels[i], h_i, w_i).
        image: (N, 3, H, W), what they are of.

    Returns:
        (N, D, ceil(H / 8), ceil(W / 8)) float32; D is the sum of the channels.
    """
    height, width = image.shape[-2:]
    grid = (-(-height // CELL), -(-width // CELL))
    brought = [_brought(each.float(), grid) for each in maps]
    return torch.cat(brought, dim=1)


def _brought(features: Tensor, grid: tuple[int, int]) -> Tensor:
    if features.shape[-1] >= grid[-1]:
        return F.adaptive_avg_pool2d(features, grid)
    return F.interpolate(features, size=grid, mode="bilinear", align_corners=False)


def sums(features: Tensor, labels: Tensor) -> Sums:
    """Sum over the pixels of a batch.

    Args:
        features: (N, D, h, w).
        labels: soft labels (N, C, h, w), at least 0.
    """
    # double, so that it does not matter how images are divided among batches and processes
    x = features.double().flatten(2).transpose(1, 2).flatten(0, 1)
    q = labels.double().flatten(2).transpose(1, 2).flatten(0, 1)
    weighted = x * q.sum(dim=1, keepdim=True)
    return Sums(q.sum(dim=0), q.T @ x, weighted.T @ x)


def fit(total: Sums) -> Discriminant:
    """Return the discriminant of these sums; a class without pixels gets no bias but -inf."""
    count = total.pixels.clamp(min=1e-12)
    mean = total.first / count.unsqueeze(1)
    within = total.second - (total.pixels.unsqueeze(1) * mean).T @ mean
    within = within / total.pixels.sum().clamp(min=1e-12)
    diagonal = within.diagonal()
    # a feature that never changes tells nothing, and has no inverse
    floor = 1e-6 * diagonal.mean().clamp(min=1e-12)
    shrunk = (1 - SHRINKAGE) * within + torch.diag(SHRINKAGE * diagonal + floor)
    weight = torch.linalg.solve(shrunk, mean.T).T
    bias = (total.pixels / total.pixels.sum()).log() - (mean * weight).sum(dim=1) / 2
    return Discriminant(weight.float(), bias.float())


def log_posterior(found: Discriminant, features: Tensor) -> Tensor:
    """Return log p(c | x), at least -50, (N, C, h, w) float32, of features (N, D, h, w)."""
    z = torch.einsum("cd,ndhw->nchw", found.weight, features)
    z = z + found.bias.view(1, -1, 1, 1)
    return z.log_softmax(dim=1).clamp(min=LEAST)
