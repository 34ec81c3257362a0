"""Each class's share of an image, and a loss that keeps it between bounds."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def class_shares(label: Tensor, classes: int) -> Tensor:
    """Return each class's share of an image's labelled pixels, (N, classes) float32.

    Args:
        label: (N, H, W) uint8 or int64 class indices; 255 is ignored.
        classes: how many there are.
    """
    index = label.flatten(1).long().clamp(max=classes)
    # integers: float32 counts no further than 2^24
    counts = torch.zeros(len(label), classes + 1, dtype=torch.int64, device=label.device)
    counts.scatter_add_(1, index, torch.ones_like(index))
    counts = counts[:, :classes]
    return counts.float() / counts.sum(dim=1, keepdim=True).clamp(min=1).float()


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
    """Keep the size of each class that is present in an image between bounds.

    The size is the mean s of the class's probability; its violation is [log lower - log s]+ +
    [log s - log upper]+, so that small classes count as much as large ones.

    Args:
        p: softmax maps (N, C, H, W).
        lower: (C,) bounds from `size_bounds`; a class whose bound is 0 is free.
        upper: likewise.
        presence: an image contains a class if its share of arg-max pixels is at least
            ``presence * lower``.

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


def cell_shares(
    label: Tensor,
    classes: int,
    grid: tuple[int, int],
    places: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return each class's share of each grid cell's pixels (Cross-city, Chen et al. 2017).

    Args:
        label: (N, H, W) uint8 or int64 class indices; ignored pixels belong to no class.
        classes: how many there are.
        grid: (h, w), cells per side.
        places: the row (H,) int64 and the column (W,) of the grid in which the label's pixels lie;
            None: the cells tile the label.

    Returns:
        (N, classes, h, w) float32 in 0..1.
    """
    index = torch.arange(classes, device=label.device).view(1, -1, 1, 1)
    of_class = (label.unsqueeze(1) == index).float()
    if places is None:
        return F.adaptive_avg_pool2d(of_class, grid)
    rows, columns = (
        F.one_hot(place.to(label.device), cells).float()
        for place, cells in zip(places, grid, strict=True)
    )
    pixels = rows.sum(dim=0)[:, None] * columns.sum(dim=0)
    return torch.einsum("nchw,hi,wj->ncij", of_class, rows, columns) / pixels.clamp(min=1)
