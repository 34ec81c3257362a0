"""A trained network at work on images of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from clan.data.views import resize_image
from clan.losses.alignment import alignment_map
from clan.models.segmenter import Segmenter
from clan.prediction.prediction import Prediction
from clan.prediction.tiles import check_tile, tiled_labels
from clan.scoring.inference import evaluating, joint_logits, pick_device, upsampled_argmax
<<<<<<< HEAD
from clan.scoring.protocol import Protocol, choose_protocol
=======
from clan.scoring.protocol import protocol_of
from clan.scoring.submission import check_folder, label_id_file, label_id_palette, label_id_table
>>>>>>> main
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
    """A segmenter that takes images of any size and answers at their own size.

    The network sees an image, and its logits are up-sampled, by the protocol that it was scored by,
    which its file names; in float32, as in scoring.
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
<<<<<<< HEAD
        self.protocol = choose_protocol(size=segmenter.evaluation_size, flip=flip, scales=scales)
=======
        self.protocol = protocol_of(segmenter)
>>>>>>> main

    @property
    def classes(self) -> ClassSet:
        """What the values of a predicted label mean."""
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
<<<<<<< HEAD
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
        own = self.protocol.model_copy(update={"size": None})
        labels = tiled_labels(
            lambda part: self.logits(part, own), pixels, check_tile(tile), progress
        )
        return Prediction.of(labels, pixels, self.classes, partial(self.logits, pixels, own))
=======
        pixels = _pixels(image)
        with evaluating(self.segmenter):
            corners = self.protocol.align_corners
            label = upsampled_argmax(self._logits(pixels), pixels.shape[:2], corners)
        return np.asarray(label[0].cpu().numpy(), np.uint8)
>>>>>>> main

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
<<<<<<< HEAD
            image = _tensor(pixels)
            return joint_logits(self.segmenter, image, protocol or self.protocol, self.device)

    def _prediction(self, pixels: NDArray[np.uint8], keep: bool) -> Prediction:
        logits = self.logits(pixels)
        labels = upsampled_argmax(logits, (pixels.shape[0], pixels.shape[1]))
        two = len(getattr(self.segmenter, "classifiers", ())) == 2
        return Prediction.of(
            np.asarray(labels[0].cpu().numpy(), np.uint8),
            pixels,
            self.classes,
            partial(self.logits, pixels),
            logits if keep else None,
            partial(self._disagreement, pixels) if two else None,
=======
            logits = F.interpolate(
                self._logits(pixels),
                size=pixels.shape[:2],
                mode="bilinear",
                align_corners=self.protocol.align_corners,
            )
            return np.asarray(logits.softmax(dim=1)[0].cpu().numpy(), np.float32)

    def _logits(self, pixels: NDArray[np.uint8]) -> Tensor:
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
        return joint_logits(self.segmenter, image, self.protocol, self.device)


@dataclass(frozen=True)
class _Job:
    image: Path
    label: Path
    overlay: Path | None
    """None: the label alone, as official Cityscapes ids."""


def predict(
    model: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    overwrite: bool = False,
    device: str = "auto",
    alpha: float = 0.5,
    style: str = "overlay",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Segment images into a folder: for each a label PNG and a picture of it.

    Args:
        model: a run folder or a ``model.safetensors``.
        images: a file, a folder or a glob pattern, or several of them.
        out: the folder for the results.
        overwrite: write into a folder that holds something already.
        device: ``auto``, ``cpu`` or ``cuda``.
        alpha: weight of the colours over the image, 0..1.
        style: ``overlay``: palette labels and overlays; ``cityscapes``: PNGs of official label
            ids, as the Cityscapes server takes them.
        progress: called after each image with (done, total).

    Returns:
        The labels written, in the order of the images.

    Raises:
        WeightsError: no model there, or not one of ours.
        DataError, RunError, ConfigError: as `clan.prediction.predictor.predict_files`.

    Example:
        clan.predict("runs/clan", "photos", "predictions")
        label = clan.load("runs/clan").predict("photo.jpg")  # one image, nothing written
    """
    asked = [images] if isinstance(images, str | Path) else images
    return predict_files(
        load(model, device),
        asked,
        Path(out),
        overwrite=overwrite,
        alpha=alpha,
        style=style,
        progress=progress,
    )


def predict_files(
    predictor: Predictor,
    images: Sequence[str | Path],
    out: Path,
    *,
    overwrite: bool = False,
    alpha: float = 0.5,
    style: str = "overlay",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Predict many images and write, for each, a label and a picture of it.

    ``<stem>_label.png`` is a palette PNG whose indices are the classes, at the image's own size;
    ``<stem>_overlay.jpg`` shows the colours over the image, with a legend underneath. Sub-folders
    of a given folder (or below the fixed part of a pattern) are kept. An image that cannot be read
    does not stop the others.

    In the ``cityscapes`` style it is one PNG of official label ids per image instead,
    ``<city>_<sequence>_<frame>_labelIds.png`` in ``out`` itself: what the server and its evaluation
    script take.

    Args:
        predictor: the model.
        images: files, folders (searched recursively) and glob patterns (``**`` = any depth).
        out: folder for the results, created where needed.
        overwrite: write into a folder that holds something already.
        alpha: weight of the colours in the overlay, 0..1.
        style: ``overlay`` or ``cityscapes``.
        progress: called after each image with (done, total).

    Returns:
        The labels written, in the order of the images.

    Raises:
        DataError: nothing found, results that would have one name, images that are not named as
            those of Cityscapes in its style (nothing is written then), or images that could not
            be read (all others are done); it lists them.
        RunError: ``out`` is a file, or holds something and ``overwrite`` is not set.
        ConfigError: an unknown style, or classes that Cityscapes does not have in its style.
    """
    if style not in FORMATS:
        raise ConfigError(f"unknown format {style!r}{nearest(style, FORMATS)}")
    if style == "cityscapes":
        label_id_table(predictor.classes)  # classes that have no id are refused before work begins
    check_folder(out, overwrite)
    jobs = _jobs(images, out, style)
    failures: list[str] = []
    written: list[Path] = []
    # one image is read ahead and one is written behind while the network works on a third
    with ThreadPoolExecutor(max_workers=2) as pool:
        reading = pool.submit(_try_read, jobs[0].image)
        writing: Future[None] | None = None
        for done, job in enumerate(jobs, start=1):
            pixels = reading.result()
            if done < len(jobs):
                reading = pool.submit(_try_read, jobs[done].image)
            if isinstance(pixels, DataError):
                failures.append(str(pixels))
            else:
                label = predictor.predict(pixels)
                if writing is not None:
                    writing.result()
                writing = pool.submit(_write, job, pixels, label, predictor.classes, alpha)
                written.append(job.label)
            if progress is not None:
                progress(done, len(jobs))
        if writing is not None:
            writing.result()
    if failures:
        raise DataError(
            f"{len(failures)} of {len(jobs)} images could not be read; the other {len(written)} "
            f"are in {out}:\n" + "\n".join(f"  {failure}" for failure in failures)
>>>>>>> main
        )

    def _disagreement(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the alignment map of the image as it is shown once, float32 (H, W)."""
        own = pixels.shape[0], pixels.shape[1]
        shown = resize_image(pixels, input_size(self.protocol.size, own))
        with evaluating(self.segmenter):
            first, second = self.segmenter(_tensor(shown).to(self.device))
            m = alignment_map(first.softmax(dim=1), second.softmax(dim=1))
            full = F.interpolate(m, size=own, mode="bilinear")
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
