"""Whether an exported file does what its network does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clan.core.errors import RunError
from clan.data.images import read_image
from clan.data.sizes import input_size
from clan.data.views import resize_image
from clan.models.segmenter import Segmenter
from clan.prediction.files import find_images
from clan.scoring.inference import joint_logits, upsampled_argmax
from clan.scoring.protocol import protocol_of

Runner = Callable[[Tensor], tuple[Tensor, Tensor]]
"""An exported file at work: images (N, 3, H, W) uint8 to logits and labels."""
TOLERANCE = 1e-3
"""Greatest difference of logits, as a share of the largest logit, that rounding explains."""
USUAL = (256, 512)
"""(H, W) that a network without an evaluation size is compared at."""


@dataclass(frozen=True)
class Agreement:
    """How far an exported file and its network agree."""

    sizes: tuple[tuple[int, int], ...]
    """(H, W) of the images compared."""
    photographs: int
    """How many photographs they were made of; 0: smoothed noise."""
    logits: float
    """Greatest difference of two logits."""
    largest: float
    """The largest logit, to judge that difference by."""
    pixels: int
    """How many labels were compared."""
    differing: int
    """How many of them differ: where two classes have the same logit but for rounding."""

    def text(self) -> str:
        """Return it as a sentence."""
        sizes = ", ".join(f"{height}x{width}" for height, width in self.sizes)
        seen = f"{self.photographs} photographs" if self.photographs else "smoothed noise"
        labels = "all equal" if not self.differing else f"{self.differing:,} differ"
        return (
            f"compared with the network on {seen} at {sizes}: greatest difference of logits "
            f"{self.logits:.2g} (largest logit {self.largest:.3g}), of {self.pixels:,} labels "
            f"{labels}"
        )


def compare(
    segmenter: Segmenter,
    run: Runner,
    sizes: Sequence[tuple[int, int]],
    images: Sequence[str | Path] = (),
) -> Agreement:
    """Run network and file on the same images: the first size alone, the others two at a time.

    Raises:
        RunError: they differ by more than rounding.
        DataError: images that cannot be read.
    """
    pictures = [read_image(file) for file, _ in find_images(images)[:3]] if images else []
    source = cycle(pictures) if pictures else None
    protocol = protocol_of(segmenter).model_copy(update={"size": None})
    difference = largest = 0.0
    pixels = differing = 0
    for number, size in enumerate(sizes):
        batch = torch.stack(
            [
                _noise(size, number) if source is None else _shown(next(source), size)
                for _ in range(1 if number == 0 else 2)
            ]
        )
        # as `clan predict` does it, in another way than the file's
        expected = joint_logits(segmenter, batch, protocol, torch.device("cpu"))
        wanted = upsampled_argmax(expected, size, protocol.align_corners)
        logits, labels = run(batch)
        difference = max(difference, float((logits - expected).abs().max()))
        largest = max(largest, float(expected.abs().max()))
        pixels += labels.numel()
        differing += int((labels != wanted).sum())
    found = Agreement(tuple(sizes), len(pictures), difference, largest, pixels, differing)
    if not difference <= TOLERANCE * largest:
        raise RunError(f"the exported file does not do what the network does; {found.text()}")
    return found


def onnx_runner(content: bytes) -> Runner:
    """Return onnxruntime at work on a model, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> tuple[Tensor, Tensor]:
        logits, labels = session.run(["logits", "labels"], {"image": image.numpy()})
        return torch.from_numpy(logits), torch.from_numpy(labels)

    return run


def sizes_to_try(segmenter: Segmenter) -> tuple[tuple[int, int], ...]:
    """Return three sizes (H, W): the evaluation size, one with odd sides, one of another shape."""
    size = protocol_of(segmenter).size
    height, width = USUAL if size is None else input_size(size, USUAL)
    return (height, width), (height * 3 // 4 | 1, width * 3 // 4 | 1), (height // 2 | 1, width)


def _shown(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    return torch.from_numpy(resize_image(pixels, size)).permute(2, 0, 1).contiguous()


def _noise(size: tuple[int, int], seed: int) -> Tensor:
    """Return a smooth random picture (3, H, W) uint8 that has all colours."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 9, 16, generator=generator)
    smooth = F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
    return (smooth[0].clamp(0, 1) * 255).to(torch.uint8)
