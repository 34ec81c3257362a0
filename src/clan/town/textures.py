"""Tileable noise for the textures of surfaces and clouds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

TILE = 512
"""Side of a noise tile in pixels; a power of two."""


@lru_cache(maxsize=4)
def noise_tile(roughness: float) -> NDArray[np.float32]:
    """Return a seamless (TILE, TILE) noise tile of mean 0 and standard deviation 1.

    Its amplitude spectrum falls as 1 / frequency^roughness: 0 = white, 1.5 = clouds.
    """
    rng = Generator(Philox(key=round(roughness * 100) + 1))
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE)))
    fy = np.fft.fftfreq(TILE)[:, None] * TILE
    fx = np.fft.rfftfreq(TILE)[None, :] * TILE
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    tile = np.fft.irfft2(spectrum / frequency**roughness, s=(TILE, TILE))
    return np.asarray((tile - tile.mean()) / tile.std(), dtype=np.float32)


def sample(
    tile: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the tile's value at each (u, v), measured in pixels of the tile, wrapped around."""
    rows = np.floor(v).astype(np.intp) & (TILE - 1)
    columns = np.floor(u).astype(np.intp) & (TILE - 1)
    value: NDArray[np.float32] = tile.ravel()[rows * TILE + columns]
    return value
