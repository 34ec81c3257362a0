"""Fourier style transfer: the target's low-frequency amplitudes, the source's phase (FDA).

Yang and Soatto 2020, "FDA: Fourier Domain Adaptation for Semantic Segmentation".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fourier_style(source: Tensor, target: Tensor, beta: float) -> Tensor:
    """Give source images the amplitudes of target images at low frequencies, channel by channel.

    Frequencies (u, v), counted from -H/2 to H/2 and from -W/2 to W/2, are low where both are at
    most floor(beta * min(H, W)) in absolute value: the centred window of the published NumPy code.
    With beta = 0 only the mean colour changes.

    Args:
        source: (N, 3, H, W) uint8 RGB.
        target: (M, 3, h, w) uint8 RGB; image n of the source takes the style of n modulo M. It is
            resized to the source's size.
        beta: share of the shorter side, 0 to 0.5; the paper has 0.01, 0.05 and 0.09.

    Returns:
        (N, 3, H, W) uint8; the published code does not round.
    """
    size = source.shape[-2:]
    style = target[torch.arange(len(source), device=target.device) % len(target)].float()
    if style.shape[-2:] != size:
        style = F.interpolate(style, size=size, mode="bilinear", antialias=True)
    # half precision loses the phase
    content = torch.fft.rfft2(source.float())
    low = low_frequencies(size, beta, source.device)
    amplitude = torch.where(low, torch.fft.rfft2(style).abs(), content.abs())
    mixed = torch.fft.irfft2(torch.polar(amplitude, content.angle()), s=size)
    rounded: Tensor = mixed.round().clamp(0, 255).to(torch.uint8)
    return rounded


def low_frequencies(size: torch.Size, beta: float, device: torch.device) -> Tensor:
    """Return which frequencies of a real transform are low, (H, W // 2 + 1) bool."""
    height, width = size
    reach = int(beta * min(height, width))
    rows = (torch.fft.fftfreq(height, 1 / height, device=device).abs() <= reach).unsqueeze(1)
    columns = torch.fft.rfftfreq(width, 1 / width, device=device) <= reach
    low: Tensor = rows & columns
    return low
