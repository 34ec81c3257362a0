"""Images like photographs: colours in patches with a little noise, for files of usual sizes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def photograph(size: tuple[int, int], seed: int) -> Picture:
    """Return (H, W, 3) uint8; as a PNG of 1024x2048 about 4 MB, as Cityscapes' are 2 to 3."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (8, 16, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    noise = generator.normal(0, 1.5, (*size, 3)).astype(np.float32)
    return np.asarray(np.clip(smooth + noise, 0, 255), np.uint8)


def label(size: tuple[int, int], seed: int, classes: int = 19) -> Picture:
    """Return (H, W) uint8 class indices in patches with curved borders."""
    return np.asarray(logits(size, seed, classes).argmax(0), np.uint8)


def logits(size: tuple[int, int], seed: int, classes: int = 19) -> NDArray[np.float32]:
    """Return (C, H, W) float32 whose arg max has patches of all classes."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(0, 5, (classes, 8, 16)).astype(np.float32)
    return np.stack([cv2.resize(c, size[::-1], interpolation=cv2.INTER_CUBIC) for c in coarse])


def write_photographs(folder: Path, size: tuple[int, int], count: int, suffix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03}{suffix}"), photograph(size, index))
