"""Training views of images: size, scale, crop, mirror, jitter.

The random numbers of an image depend only on (seed, stream, step, slot), through a counter-based
generator (Philox), not on workers, processes or earlier numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from clan.core.errors import DataError
from clan.core.options import Options
from clan.data.classes import IGNORE
from clan.data.sizes import InputSize, input_size

PADDING = (124, 116, 104)
"""RGB of the area where a crop is larger than its image: the ImageNet mean."""

# what the numbers of a stream are drawn for
_AUGMENTATION, _ORDER, _IMAGE_SCALE, _CLASS, _STRONG, _REPLACEMENT = range(6)


class ViewOptions(Options):
    """Size, crop and augmentation of a domain's images in training."""

    size: InputSize | None = None
    """(H, W) that the whole image is resized to first, or one number: its short side, its shape
    kept; not given: as stored."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Least and largest random factor on that size, drawn uniformly."""
    crop: tuple[int, int] | None = None
    """(H, W) cut at a random place after scaling; a smaller image is padded at the bottom and on
    the right, the image with the ImageNet mean colour, the label with ignore."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a mirrored image (left and right exchanged)."""
    image_scales: tuple[tuple[float, float], ...] = ()
    """Pairs (factor, chance) of a random factor on the image alone: its label keeps the size above
    and the prediction is up-sampled to it (published code of CLAN). One draw for a whole batch."""
    jitter: float = Field(0.0, ge=0, lt=1)
    """Strength j of colour jitter: brightness, contrast and saturation are each multiplied by a
    factor from 1-j to 1+j, drawn uniformly; 0: off."""

    strong: float = Field(0.0, ge=0, le=1)
    """Strength of a random camera: white balance, gamma, blur and noise, against overfitting to a
    simulator's look; 1 is strong, 0: off."""
    fourier: float | None = Field(None, ge=0, le=0.5)
    """Of the source: beta of Fourier style (FDA). Low frequencies, up to beta times the shorter
    side, take the amplitudes of a target image; 0 takes its mean colour only; not given: off."""

    @field_validator("crop")
    @classmethod
    def _positive(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        """Refuse an empty image."""
        if value is not None and min(value) < 1:
            raise ValueError(f"height and width must be at least 1, found {value}")
        return value

    def cuts(self) -> str:
        """Return in words how the crop removes parts of images; empty if it never does."""
        if self.crop is None:
            return ""
        if self.size is None or isinstance(self.size, int):
            return f"crops images of any size or shape to {list(self.crop)}"
        largest = [round(self.scale[1] * edge) for edge in self.size]
        if all(edge <= kept for edge, kept in zip(largest, self.crop, strict=True)):
            return ""
        return f"crops {largest} to {list(self.crop)}"

    def least_side(self, stored: tuple[int, int] | None = None) -> int | None:
        """Return the least height or width that a view may have; None if stored sizes decide it.

        Args:
            stored: (H, W) of an image as it is stored.
        """
        if self.crop is not None:
            return min(self.crop)
        if self.size is None and stored is None:
            return None
        short = self.size if self.size is not None else min(stored or ())
        return round(self.scale[0] * (short if isinstance(short, int) else min(short)))

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        """Check the range of the scale."""
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"scale: expected 0 < least <= largest, found {self.scale}")
        return self

    @model_validator(mode="after")
    def _chances(self) -> Self:
        """Check the factors on the image alone."""
        if not self.image_scales:
            return self
        if self.crop is not None or self.scale != (1.0, 1.0):
            raise ValueError("image_scales are for whole images: leave crop and scale out")
        total = sum(chance for _, chance in self.image_scales)
        if min(min(pair) for pair in self.image_scales) <= 0 or abs(total - 1) > 1e-6:
            raise ValueError(
                "image_scales: expected pairs [factor, chance], all above 0, with chances that sum "
                f"to 1; found {[list(pair) for pair in self.image_scales]}"
            )
        return self


def random_generator(seed: int, step: int, slot: int, stream: int) -> np.random.Generator:
    """Return the generator of one slot of one step: the same numbers for the same arguments.

    Each of (seed, stream) has its own Philox key and each (step, slot) its own range of counters,
    so no two of them overlap. All arguments are at least 0.
    """
    return np.random.Generator(_philox(seed, stream, _AUGMENTATION, slot, step))


def class_generator(seed: int, step: int, slot: int, stream: int) -> np.random.Generator:
    """As `random_generator`, for choosing a slot's image by its classes."""
    return np.random.Generator(_philox(seed, stream, _CLASS, slot, step))


def camera_generator(seed: int, step: int, slot: int, stream: int) -> np.random.Generator:
    """As `random_generator`, for the random camera of ``strong`` views."""
    return np.random.Generator(_philox(seed, stream, _STRONG, slot, step))


def replacement_generator(seed: int, step: int, slot: int, stream: int) -> np.random.Generator:
    """As `random_generator`, for choosing images in place of those that cannot be read."""
    return np.random.Generator(_philox(seed, stream, _REPLACEMENT, slot, step))


def random_order(seed: int, stream: int, epoch: int, length: int) -> NDArray[np.int64]:
    """Return the permutation of ``range(length)`` in which an epoch takes its images, int64."""
    # Sorting raw words, unlike Generator.permutation, is the same in every version of NumPy.
    words = _philox(seed, stream, _ORDER, 0, epoch).random_raw(length)
    return np.argsort(words, kind="stable")


def _philox(seed: int, stream: int, purpose: int, slot: int, step: int) -> np.random.Philox:
    if min(seed, stream, slot, step) < 0 or max(seed, stream, slot, step) >= 2**64:
        raise DataError(
            f"random numbers need values from 0 to 2^64 - 1: seed {seed}, stream {stream}, "
            f"step {step}, slot {slot}"
        )
    # The generator itself counts in the lowest of the four words.
    counter = np.array([0, purpose, slot, step], np.uint64)
    return np.random.Philox(key=np.array([seed, stream], np.uint64), counter=counter)


def draw_image_scale(view: ViewOptions, seed: int, step: int, stream: int) -> float:
    """Return the factor on the images alone of one step, 1 without ``image_scales``."""
    if not view.image_scales:
        return 1.0
    factors, chances = zip(*view.image_scales, strict=True)
    drawn = np.random.Generator(_philox(seed, stream, _IMAGE_SCALE, 0, step)).random()
    index = int(np.searchsorted(np.cumsum(chances), drawn, side="right"))
    return float(factors[min(index, len(factors) - 1)])


def scaled_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return (H, W) times a factor, rounded down as in the published codes, at least 1."""
    # the small addend: 1280 * 1.1 is a hair above 1408 in binary, 10 * 0.7 one below 7
    return max(1, int(size[0] * factor + 1e-6)), max(1, int(size[1] * factor + 1e-6))


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to ``size`` (H, W), bilinear.

    Where a side shrinks to less than half, bilinear would skip pixels: areas are averaged.
    """
    height, width = image.shape[:2]
    if (height, width) == tuple(size):
        return image
    skips = size[0] * 2 < height or size[1] * 2 < width
    shrinks = size[0] <= height and size[1] <= width
    method = cv2.INTER_AREA if skips and shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=method), np.uint8)


def resize_label(label: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W) uint8 to ``size`` (H, W): each pixel takes the class at its centre."""
    if label.shape == tuple(size):
        return label
    method = cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(label, (size[1], size[0]), interpolation=method), np.uint8)


@dataclass(frozen=True)
class RareCrops:
    """Crops that are drawn towards rare classes."""

    classes: tuple[int, ...]
    """Class indices."""
    chance: float
    """Probability that a crop is centred on a pixel of such a class, if the label has one."""


def augment(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8] | None,
    view: ViewOptions,
    rng: np.random.Generator,
    image_scale: float = 1.0,
    rare: RareCrops | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return the view of an image (H, W, 3) uint8 and its label (H, W) uint8.

    The image is ``image_scale`` times as large as the label, its sides rounded down.

    The order is: size and scale in one resize, crop, mirror, jitter. All random numbers are drawn
    even if an option is off, so that, for example, jitter does not change the crops.
    """
    scale, top, left, mirror, *colors = rng.random(7)
    height, width = input_size(view.size, (image.shape[0], image.shape[1]))
    factor = view.scale[0] + scale * (view.scale[1] - view.scale[0])
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    image = resize_image(image, scaled_size(size, image_scale))
    if label is not None:
        label = resize_label(label, size)
    if view.crop is not None:
        corner = (
            int(top * (max(0, size[0] - view.crop[0]) + 1)),
            int(left * (max(0, size[1] - view.crop[1]) + 1)),
        )
        if rare is not None and label is not None:
            corner = _towards_rare(label, rare, view.crop, rng) or corner
        image = _crop(image, corner, view.crop, PADDING)
        if label is not None:
            label = _crop(label, corner, view.crop, (IGNORE,))
    if mirror < view.flip:
        image = np.asarray(cv2.flip(image, 1), np.uint8)
        if label is not None:
            label = np.asarray(cv2.flip(label, 1), np.uint8)
    if view.jitter > 0:
        brightness, contrast, saturation = (1 + view.jitter * (2 * c - 1) for c in colors)
        image = _jitter(image, brightness, contrast, saturation)
    return image, label


def _towards_rare(
    label: NDArray[np.uint8], rare: RareCrops, crop: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Return the corner of a crop around a random pixel of a random rare class, or None."""
    chance, which, where = rng.random(3)
    present = [c for c in rare.classes if (label == c).any()]
    if chance >= rare.chance or not present:
        return None
    pixels = np.flatnonzero(label == present[int(which * len(present))])
    centre = divmod(int(pixels[int(where * len(pixels))]), label.shape[1])
    top, left = (
        min(max(0, at - side // 2), max(0, length - side))
        for at, side, length in zip(centre, crop, label.shape, strict=True)
    )
    return top, left


def _crop(
    pixels: NDArray[np.uint8],
    corner: tuple[int, int],
    size: tuple[int, int],
    fill: tuple[int, ...],
) -> NDArray[np.uint8]:
    top, left = corner
    part = pixels[top : top + size[0], left : left + size[1]]
    below, beside = size[0] - part.shape[0], size[1] - part.shape[1]
    if below or beside:
        padded = cv2.copyMakeBorder(part, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=fill)
        return np.asarray(padded, np.uint8)
    return np.ascontiguousarray(part)


def _jitter(
    image: NDArray[np.uint8], brightness: float, contrast: float, saturation: float
) -> NDArray[np.uint8]:
    """Scale values, then their distance from the mean grey, then from each pixel's own grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean = brightness * float(grey.mean())
    values = (np.arange(256) * brightness - mean) * contrast + mean
    table = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    image = np.asarray(cv2.LUT(image, table), np.uint8)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    return np.asarray(mixed, np.uint8)


def random_camera(
    image: NDArray[np.uint8], strength: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) uint8 RGB as another camera might have taken it.

    Each channel gets a gain (white balance) and all a gamma, by one table; then half of the images
    are blurred and half get noise. At strength 1 a gain is within 1.35 and its inverse, gamma
    within 1.65 and its inverse, blur up to 1.5 and noise up to 12 grey levels.
    """
    *gains, bend = np.exp(strength * (2 * rng.random(4) - 1) * (0.3, 0.3, 0.3, 0.5))
    blurred, width, noisy, level = rng.random(4)
    grey = (np.arange(256) / 255) ** bend
    table = np.stack([grey * gain for gain in gains], axis=1)
    table = np.clip(np.rint(255 * table), 0, 255).astype(np.uint8)
    image = np.asarray(cv2.LUT(image, table[None]), np.uint8)
    if blurred < 0.5:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.2 + 1.3 * strength * width), np.uint8)
    if noisy < 0.5:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(12 * strength * level)
        image = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    return image
