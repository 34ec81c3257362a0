from __future__ import annotations

import numpy as np
import pytest
import torch

from clan.losses.fourier import fourier_style


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * width)
    shape = (2, 2, 3, height, width)
    both = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return both[0], both[1]


def published(source: np.ndarray, target: np.ndarray, beta: float) -> np.ndarray:
    """The centred window of amplitudes, restated in NumPy for one image (3, H, W)."""
    content, style = np.fft.fft2(source.astype(float)), np.fft.fft2(target.astype(float))
    amplitude = np.fft.fftshift(np.abs(content), axes=(-2, -1))
    other = np.fft.fftshift(np.abs(style), axes=(-2, -1))
    height, width = source.shape[1:]
    reach = int(np.floor(min(height, width) * beta))
    middle = height // 2, width // 2
    window = tuple(slice(m - reach, m + reach + 1) for m in middle)
    amplitude[(slice(None), *window)] = other[(slice(None), *window)]
    mixed = np.fft.ifftshift(amplitude, axes=(-2, -1)) * np.exp(1j * np.angle(content))
    return np.real(np.fft.ifft2(mixed))


@pytest.mark.parametrize("beta", [0.0, 0.01, 0.09, 0.3])
@pytest.mark.parametrize("size", [(32, 48), (33, 47), (40, 31)])
def test_equals_the_published_window(beta: float, size: tuple[int, int]) -> None:
    source, target = pair(*size)
    mixed = fourier_style(source, target, beta)
    for index in range(2):
        wanted = published(source[index].numpy(), target[index].numpy(), beta)
        found = mixed[index].numpy().astype(float)
        assert np.abs(found - np.clip(wanted, 0, 255)).max() <= 0.51


def test_the_mean_colour_becomes_the_targets() -> None:
    source = torch.full((1, 3, 16, 16), 50, dtype=torch.uint8)
    target = torch.full((1, 3, 8, 8), 200, dtype=torch.uint8)
    assert torch.equal(fourier_style(source, target, 0.0), torch.full_like(source, 200))


def test_of_itself_nothing_changes() -> None:
    source, _ = pair(24, 36)
    assert torch.equal(fourier_style(source, source, 0.2), source)


def test_styles_are_taken_in_turn() -> None:
    source, target = pair(16, 16)
    one = fourier_style(source, target[:1], 0.1)
    assert torch.equal(one[1], fourier_style(source[1:], target[:1], 0.1)[0])
