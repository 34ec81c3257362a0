"""A trained network at work on images of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard, cast, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clan.core.errors import DataError
from clan.data.classes import ClassSet
from clan.data.images import pixels_of, read_image
from clan.data.sizes import input_size
from clan.data.strips import Rows
from clan.data.views import resize_image
from clan.losses.alignment import alignment_map
from clan.models.segmenter import Segmenter
from clan.prediction.prediction import Prediction
from clan.prediction.tiles import check_tile, tiled_labels, tiled_rows
from clan.scoring.inference import evaluating, joint_logits, pick_device, upsampled_argmax
from clan.scoring.protocol import Protocol, choose_protocol, protocol_of
from clan.weights.model_files import load_segmenter

ImageLike = str | Path | Image.Image | NDArray[Any] | Tensor
"""One image: a file, a Pillow image, an array (H, W, 3) or a tensor (3, H, W), RGB; of uint8, or of
floats in 0..1."""
ImagesLike = Sequence[ImageLike] | NDArray[Any] | Tensor
"""Several: a list of images, an array (N, H, W, 3), a tensor (N, 3, H, W)."""


def load(
    path: str | Path,
    device: str = "auto",
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Predictor:
    """Load a model for prediction.

    Args:
        path: ``model.safetensors``, or the folder of a finished run.
        device: where the network runs; ``auto`` takes a GPU where there is one.
        flip: average the probabilities of each image and its mirror image.
        scales: average them over these factors of the input size.

    Returns:
        A predictor: ``predict`` gives class indices, with probabilities, uncertainty and an
        overlay at hand.

    Raises:
        WeightsError: no model there, or not one of ours.
        ConfigError: an unknown device, ``cuda`` without one, or scales out of range.

    Example:
        model = clan.load("runs/clan")
        found = model.predict("photo.jpg")  # uint8 (H, W), indices into model.classes
        found.overlay(), found.probabilities, found.uncertainty
    """
    return Predictor(load_segmenter(path), device, flip=flip, scales=scales)


class Predictor:
    """A segmenter for images of any size; predictions have the image's size.

    Images are resized and logits up-sampled by the protocol that the model file names, in float32,
    as in scoring; flip and multi-scale testing may be added.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        device: str = "auto",
        *,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        self.device = pick_device(device)
        self.segmenter = segmenter.to(self.device)
        self.protocol = choose_protocol(protocol_of(segmenter), flip=flip, scales=scales)

    @property
    def classes(self) -> ClassSet:
        """The class set: the meaning of predicted values."""
        return self.segmenter.classes

    # an array or tensor is one image or several by its dimensions, which types do not tell
    @overload
    def predict(self, image: ImageLike) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, image: ImagesLike) -> list[Prediction]: ...
    def predict(self, image: ImageLike | ImagesLike) -> Prediction | list[Prediction]:
        """Return class indices uint8 (H, W), with all that stands behind them.

        Args:
            image: a file, a Pillow image, an array (H, W, 3) or a tensor (3, H, W) of RGB, uint8 or
                floats in 0..1; or several: a list of these, an array (N, H, W, 3), a tensor
                (N, 3, H, W).

        Raises:
            DataError: an unreadable file or an array of another form.
        """
        if _is_batch(image):
            # logits of many images would fill the memory: they are computed again when asked for
            return [self._prediction(pixels_from(each), keep=False) for each in image]
        return self._prediction(pixels_from(cast(ImageLike, image)), keep=True)

    def predict_tiled(
        self,
        image: ImageLike,
        tile: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> Prediction:
        """Return the labels of a large picture, seen window by window at its own resolution.

        The evaluation size plays no part: objects should be about as large in pixels as they were
        in training. Memory does not grow with the number of classes times the picture's pixels,
        unless probabilities are asked for: these run the network on the whole.

        Args:
            image: as for `predict`.
            tile: side of the windows in pixels, a multiple of 32 from 128 on.
            progress: called after each window with (done, total).

        Raises:
            DataError: as `predict`.
            ConfigError: another tile.
        """
        pixels = pixels_from(image)
        own = self._unscaled
        corners = own.align_corners
        labels = tiled_labels(
            lambda part: self.logits(part, own), pixels, check_tile(tile), progress, corners
        )
        look = partial(self.logits, pixels, own)
        return Prediction.of(labels, pixels, self.classes, look, align_corners=corners)

    def label_rows(
        self, picture: Rows, tile: int, progress: Callable[[int, int], None] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the labels that `predict_tiled` gives from top to bottom, in strips (n, W).

        Args:
            picture: gives its rows, so that it need not be in memory.
            tile: as for `predict_tiled`.
            progress: as for `predict_tiled`.

        Raises:
            DataError: the picture cannot be read.
            ConfigError: another tile.
        """
        own = self._unscaled
        return tiled_rows(
            lambda part: self.logits(part, own),
            picture,
            check_tile(tile),
            progress,
            own.align_corners,
        )

    @property
    def _unscaled(self) -> Protocol:
        """The protocol for images at their own resolution."""
        return self.protocol.model_copy(update={"size": None})

    def probabilities(self, image: ImageLike) -> NDArray[np.float32]:
        """Return the ensemble prediction p, float32 (C, H, W), which sums to 1 over classes."""
        return self._prediction(pixels_from(image), keep=True).probabilities

    def logits(self, pixels: NDArray[np.uint8], protocol: Protocol | None = None) -> Tensor:
        """Return the ensemble's logits (1, C, h, w) of an image uint8 (H, W, 3) RGB.

        Args:
            pixels: the image.
            protocol: how it is shown; None for this predictor's own.
        """
        with evaluating(self.segmenter):
            image = _tensor(pixels)
            return joint_logits(self.segmenter, image, protocol or self.protocol, self.device)

    def _prediction(self, pixels: NDArray[np.uint8], keep: bool) -> Prediction:
        logits = self.logits(pixels)
        corners = self.protocol.align_corners
        labels = upsampled_argmax(logits, (pixels.shape[0], pixels.shape[1]), corners)
        two = len(getattr(self.segmenter, "classifiers", ())) == 2
        return Prediction.of(
            np.asarray(labels[0].cpu().numpy(), np.uint8),
            pixels,
            self.classes,
            partial(self.logits, pixels),
            logits if keep else None,
            partial(self._disagreement, pixels) if two else None,
            align_corners=corners,
        )

    def _disagreement(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the alignment map of the image as it is shown once, float32 (H, W)."""
        own = pixels.shape[0], pixels.shape[1]
        shown = resize_image(pixels, input_size(self.protocol.size, own))
        with evaluating(self.segmenter):
            first, second = self.segmenter(_tensor(shown).to(self.device))
            m = alignment_map(first.softmax(dim=1), second.softmax(dim=1))
            full = F.interpolate(
                m, size=own, mode="bilinear", align_corners=self.protocol.align_corners
            )
        return np.asarray(full[0, 0].cpu().numpy(), np.float32)


def pixels_from(image: ImageLike) -> NDArray[np.uint8]:
    """Return an image as uint8 (H, W, 3) RGB.

    Raises:
        DataError: an unreadable file, or an array of another form.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return pixels_of(image)
    wanted = "uint8 (H, W, 3) RGB"
    if isinstance(image, Tensor):
        wanted = "uint8 (3, H, W) RGB"
        image = image.detach().cpu().numpy()
        if image.ndim == 3:
            image = image.transpose(1, 2, 0)
    if not isinstance(image, np.ndarray):
        raise DataError(f"an image must be a file, a Pillow image or {wanted}; found {type(image)}")
    array: NDArray[Any] = image
    found = f"{array.dtype} {array.shape}"
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise DataError(f"an image array must be {wanted}; found {found}")
    if np.issubdtype(array.dtype, np.floating):
        least, most = float(array.min()), float(array.max())
        if not (least >= 0 and most <= 1):
            raise DataError(
                f"an image array must be {wanted}; found {found} of {least:.3g}..{most:.3g}, and "
                "floats are taken in 0..1: scale them, and undo any normalisation"
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise DataError(f"an image array must be {wanted} or floats in 0..1; found {found}")
    return np.ascontiguousarray(array)


def _is_batch(image: ImageLike | ImagesLike) -> TypeGuard[ImagesLike]:
    if isinstance(image, np.ndarray | Tensor):
        return image.ndim == 4
    return isinstance(image, Sequence) and not isinstance(image, str)


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    if not pixels.flags.writeable:
        # torch warns of arrays such as Pillow gives, which nobody may write into
        pixels = pixels.copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
