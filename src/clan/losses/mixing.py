"""Strong views of target images for self-training: pasted source classes, colour changes, blur.

Pure functions of tensors and of given random numbers. None of them waits for the device.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from clan.data.classes import IGNORE

BLUR_RADIUS = 4
"""Radius of the kernel in pixels: more than three standard deviations of the widest blur."""
BLUR_SIGMA = (0.15, 1.15)
"""Range of the blur's standard deviation in pixels, as in DACS."""
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey value (ITU-R BT.601)."""


class Draw(Protocol):
    """Gives uniform random numbers from 0 to 1."""

    def __call__(self, *shape: int, images: int, device: torch.device) -> Tensor:
        """Return float32 of ``shape``; ``images`` is the dimension that counts the images."""


def any_draw(*shape: int, images: int, device: torch.device) -> Tensor:
    """Draw from torch's own generator; a `Draw`."""
    return torch.rand(*shape, device=device)


class SlotDraw:
    """A `Draw` whose numbers do not depend on how images are divided among processes.

    All processes draw the numbers of all images from generators with the same seed, and each keeps
    those of its own images. So an image's numbers depend on the seed and its slot alone.

    Args:
        seed: seed of the update, the same in all processes.
        rank: rank of this process.
        processes: number of processes.
    """

    def __init__(self, seed: int, rank: int, processes: int) -> None:
        self._seed, self._rank, self._processes = seed, rank, processes
        self._generator: torch.Generator | None = None

    def __call__(self, *shape: int, images: int, device: torch.device) -> Tensor:
        """Return the next numbers of this process's images."""
        if self._generator is None:
            self._generator = torch.Generator(device).manual_seed(self._seed)
        own, whole = shape[images], list(shape)
        whole[images] = own * self._processes
        drawn = torch.rand(whole, generator=self._generator, device=device)
        return drawn.narrow(images, own * self._rank, own)


def values_shown(label: Tensor) -> Tensor:
    """Tell which values, 0 to 255, occur in each label (N, H, W) uint8: (N, 256) bool."""
    shown = torch.zeros(len(label), IGNORE + 1, dtype=torch.bool, device=label.device)
    return shown.scatter_(1, label.flatten(1).long(), True)


def class_mask(
    label: Tensor,
    classes: int,
    draw: Draw = any_draw,
    shown: Tensor | None = None,
    ignored: bool = False,
) -> Tensor:
    """Choose half of the classes of each label at random, rounded up (ClassMix, Olsson 2021).

    Args:
        label: (N, H, W) uint8 class indices, 255 = ignore.
        classes: C.
        draw: gives the random numbers.
        shown: (N, 256) bool, or (1, 256) for all labels: the values to choose from, such as those
            of the whole batch (DAFormer's code); None: each label's own.
        ignored: treat pixels without a label as one more class; else they are never chosen.

    Returns:
        (N, H, W) bool: the pixels of the chosen classes.
    """
    index = label.flatten(1).long()
    present = values_shown(label) if shown is None else shown.expand(len(label), -1)
    last = present[:, IGNORE:] if ignored else present[:, :0]
    present = torch.cat([present[:, :classes], last], dim=1)
    chances = draw(*present.shape, images=0, device=label.device)
    order = torch.where(present, chances, 2.0).argsort(dim=1)
    order = torch.where(order == classes, IGNORE, order)
    half = (present.sum(dim=1, keepdim=True) + 1) // 2
    chosen = torch.zeros(len(label), IGNORE + 1, dtype=torch.bool, device=label.device)
    chosen.scatter_(1, order, torch.arange(order.shape[1], device=label.device) < half)
    return chosen.gather(1, index).view(label.shape)


def paste(
    mask: Tensor, source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Replace the masked pixels of target images and labels by those of the source.

    Args:
        mask: (N, H, W) bool.
        source: images (N, 3, H, W) uint8 and labels (N, H, W) uint8.
        target: likewise.
    """
    image = torch.where(mask.unsqueeze(1), source[0], target[0])
    return image, torch.where(mask, source[1], target[1])


def at_size(image: Tensor, label: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Resize images (N, 3, h, w) uint8 and labels (N, h', w') uint8 to ``size`` (H, W)."""
    if image.shape[-2:] != size:
        resized = F.interpolate(image.float(), size=size, mode="bilinear", antialias=True)
        image = _as_bytes(resized)
    if label.shape[-2:] != size:
        nearest = F.interpolate(label.unsqueeze(1).float(), size=size, mode="nearest-exact")
        label = nearest.squeeze(1).to(label.dtype)
    return image, label


def strong_view(
    image: Tensor,
    jitter: float,
    blur_chance: float,
    draw: Draw = any_draw,
    jitter_chance: float = 1.0,
    hue: bool = False,
) -> Tensor:
    """Change brightness, contrast and saturation of each image, then blur some of them.

    Args:
        image: (N, 3, H, W) uint8 RGB.
        jitter: j; each of the three is multiplied by its own factor from 1 - j to 1 + j.
        blur_chance: probability of a Gaussian blur with random standard deviation in `BLUR_SIGMA`.
        draw: gives the random numbers.
        jitter_chance: probability that an image's colours are changed.
        hue: also rotate the colours about the grey axis, by at most j of a full turn.

    Returns:
        (N, 3, H, W) uint8.
    """
    count, device = len(image), image.device
    factors = 1 + jitter * (2 * draw(3, count, 1, 1, 1, images=1, device=device) - 1)
    if hue or jitter_chance < 1:
        turn, drawn = draw(2, count, 1, 1, 1, images=1, device=device)
        changed = drawn < jitter_chance
        factors = torch.where(changed, factors, 1.0)
    brightness, contrast, saturation = factors
    x = image.float() * brightness
    mean = _grey(x).mean(dim=(2, 3), keepdim=True)
    x = (x - mean) * contrast + mean
    x = torch.lerp(_grey(x).expand_as(x), x, saturation)
    if hue:
        x = _rotate_hue(x, torch.where(changed, 2 * math.pi * jitter * (2 * turn - 1), 0.0))
    return _as_bytes(_blur(x, blur_chance, draw))


def _rotate_hue(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate colours (N, 3, H, W) about the grey axis by an angle (N, 1, 1, 1) in radians."""
    mean = x.mean(dim=1, keepdim=True)
    deviation = x - mean
    # Rodrigues' formula for the axis (1, 1, 1) / sqrt 3; the deviation is orthogonal to it
    across = (deviation.roll(1, dims=1) - deviation.roll(-1, dims=1)) / math.sqrt(3)
    return mean + angle.cos() * deviation + angle.sin() * across


def _grey(x: Tensor) -> Tensor:
    # made on the device: a tensor of a Python list is copied there, and waits for it
    weights = torch.stack([x.new_full((1, 1), weight) for weight in GREY])
    return (x * weights).sum(dim=1, keepdim=True)


def _blur(x: Tensor, chance: float, draw: Draw = any_draw) -> Tensor:
    """Blur each image with its own standard deviation, or leave it (a kernel with one weight)."""
    N, C, height, width = x.shape
    low, high = BLUR_SIGMA
    drawn, sigma = draw(2, N, 1, images=1, device=x.device)
    if chance == 0 or min(height, width) <= BLUR_RADIUS:
        return x
    sigma = low + (high - low) * sigma
    offset = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=x.device)
    kernel = (-0.5 * (offset / sigma) ** 2).exp()
    kernel = torch.where(drawn < chance, kernel / kernel.sum(dim=1, keepdim=True), offset == 0)
    weight = kernel.repeat_interleave(C, dim=0).view(N * C, 1, 1, -1)
    rows = x.reshape(1, N * C, height, width)
    rows = F.conv2d(F.pad(rows, (BLUR_RADIUS,) * 2 + (0, 0), "reflect"), weight, groups=N * C)
    down = weight.transpose(2, 3)
    both = F.conv2d(F.pad(rows, (0, 0) + (BLUR_RADIUS,) * 2, "reflect"), down, groups=N * C)
    return both.view(x.shape)


def _as_bytes(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).to(torch.uint8)
