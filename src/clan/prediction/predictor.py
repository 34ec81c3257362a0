"""Prediction on the user's own images, one at a time or whole folders."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clan.core.errors import ConfigError, DataError, RunError, nearest
from clan.data import listing
from clan.data.classes import ClassSet
from clan.data.images import SUFFIXES, pixels_of, read_image, write_label
from clan.models.segmenter import Segmenter
from clan.prediction.pictures import legend, overlay, present, write_picture
from clan.scoring.inference import evaluating, joint_logits, pick_device, upsampled_argmax
from clan.scoring.protocol import protocol_of
from clan.scoring.submission import check_folder, label_id_file, label_id_palette, label_id_table
from clan.weights.model_files import load_segmenter

FORMATS = ("overlay", "cityscapes")
"""What `predict_files` writes: palette labels and overlays, or PNGs of official label ids."""

ImageLike = str | Path | Image.Image | NDArray[np.uint8]


def load(path: str | Path, device: str = "auto") -> Predictor:
    """Load a model for prediction.

    Args:
        path: ``model.safetensors``, or the folder of a finished run.
        device: where the network runs; ``auto`` takes a GPU where there is one.

    Returns:
        A predictor: ``predict`` gives class indices, ``probabilities`` the ensemble's softmax.

    Raises:
        WeightsError: no model there, or not one of ours.
        ConfigError: an unknown device, or ``cuda`` without one.

    Example:
        model = clan.load("runs/clan")
        label = model.predict("photo.jpg")  # uint8 (H, W), indices into model.classes
    """
    return Predictor(load_segmenter(path), device)


class Predictor:
    """A segmenter that takes images of any size and answers at their own size.

    The network sees an image, and its logits are up-sampled, by the protocol that it was scored by,
    which its file names; in float32, as in scoring.
    """

    def __init__(self, segmenter: Segmenter, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.segmenter = segmenter.to(self.device)
        self.protocol = protocol_of(segmenter)

    @property
    def classes(self) -> ClassSet:
        """What the values of a predicted label mean."""
        return self.segmenter.classes

    def predict(self, image: ImageLike) -> NDArray[np.uint8]:
        """Return class indices uint8 (H, W).

        Args:
            image: a file, a Pillow image, or a uint8 (H, W, 3) RGB array.

        Raises:
            DataError: an unreadable file or an array of another form.
        """
        pixels = _pixels(image)
        with evaluating(self.segmenter):
            corners = self.protocol.align_corners
            label = upsampled_argmax(self._logits(pixels), pixels.shape[:2], corners)
        return np.asarray(label[0].cpu().numpy(), np.uint8)

    def probabilities(self, image: ImageLike) -> NDArray[np.float32]:
        """Return the ensemble prediction p, float32 (C, H, W), which sums to 1 over classes."""
        pixels = _pixels(image)
        with evaluating(self.segmenter):
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


LONGEST_NAME = 255
"""Bytes of a file's name that common file systems take."""


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
    jobs, failures = _nameable(_jobs(images, out, style))
    total = len(jobs) + len(failures)
    written: list[Path] = []
    # one image is read ahead and one is written behind while the network works on a third
    with ThreadPoolExecutor(max_workers=2) as pool:
        reading = pool.submit(_try_read, jobs[0].image) if jobs else None
        writing: Future[None] | None = None
        for done, job in enumerate(jobs, start=1):
            assert reading is not None, "there is a job"
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
            f"{len(failures)} of {total} images were left out; the other {len(written)} "
            f"are in {out}:\n" + "\n".join(f"  {failure}" for failure in failures)
        )
    return written


def find_images(
    images: Sequence[str | Path], exclude: Path | None = None
) -> list[tuple[Path, Path]]:
    """Return (file, path relative to what was asked for) of all images meant, each file once.

    Args:
        images: files, folders (searched recursively) and glob patterns.
        exclude: a folder whose files are left out of folders and patterns.

    Raises:
        DataError: a path that does not exist, a folder or pattern without images.
    """
    found: dict[Path, Path] = {}
    exclude = exclude and exclude.resolve()
    for given in images:
        path = Path(given)
        if path.is_file():
            pairs = [(path, Path(path.name))]
        else:
            if path.is_dir():
                base = path
                # as in every command: hidden files and folders are left out
                candidates = sorted(map(Path, listing.find_images(path)[0].values()))
            elif glob.has_magic(str(given)):
                base = _fixed_part(path)
                candidates = sorted(Path(p) for p in glob.glob(str(given), recursive=True))
            else:
                raise DataError(f"{path}: no such file or folder")
            pairs = [(p, p.relative_to(base)) for p in candidates if _is_image(p, exclude)]
            if not pairs:
                kinds = " ".join(sorted(SUFFIXES))
                raise DataError(f"{path}: no image found there ({kinds})")
        for file, relative in pairs:
            found.setdefault(file, relative)
    if not found:
        raise DataError("no image to predict; name files, folders or patterns")
    return list(found.items())


def _jobs(images: Sequence[str | Path], out: Path, style: str) -> list[_Job]:
    for given in map(Path, images):
        if given.is_dir() and given.resolve().is_relative_to(out.resolve()):
            raise RunError(f"results in {out} would mix with the images in {given}; choose another")
    jobs: dict[Path, _Job] = {}
    clashes = []
    for file, relative in find_images(images, exclude=out):
        picture: Path | None = None
        if style == "cityscapes":
            label = out / label_id_file(file)
        else:
            target = out / relative.parent / relative.stem
            label, picture = (
                target.with_name(f"{target.name}_{kind}") for kind in ("label.png", "overlay.jpg")
            )
        if label in jobs:
            clashes.append(f"  {jobs[label].image} and {file} -> {label}")
        jobs.setdefault(label, _Job(file, label, picture))
    if clashes:
        raise DataError(
            "these images would write the same result; predict them into different folders:\n"
            + "\n".join(clashes)
        )
    return list(jobs.values())


def _nameable(jobs: Sequence[_Job]) -> tuple[list[_Job], list[str]]:
    """Return the jobs whose results can be named, and what stands against the others."""
    good, failures = [], []
    for job in jobs:
        names = [path.name for path in (job.label, job.overlay) if path is not None]
        # beside its file, one is written under a name five bytes longer
        if max(len(os.fsencode(name)) for name in names) + len(".part") > LONGEST_NAME:
            failures.append(f"{job.image}: its name is too long to name results after; shorten it")
        else:
            good.append(job)
    return good, failures


def _is_image(path: Path, exclude: Path | None) -> bool:
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    return exclude is None or not path.resolve().is_relative_to(exclude)


def _fixed_part(pattern: Path) -> Path:
    """Return the folder in front of the first part with a wildcard."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _try_read(path: Path) -> NDArray[np.uint8] | DataError:
    try:
        return read_image(path)
    except DataError as error:
        return error


def _write(
    job: _Job, pixels: NDArray[np.uint8], label: NDArray[np.uint8], classes: ClassSet, alpha: float
) -> None:
    try:
        os.makedirs(job.label.parent, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {job.label.parent}: {error.strerror}") from error
    if job.overlay is None:
        write_label(job.label, label_id_table(classes)[label], label_id_palette())
        return
    write_label(job.label, label, classes.palette())
    width = pixels.shape[1]
    font_size = min(32, max(11, width // 50))
    key = legend(classes, width, present([label], classes), font_size=font_size)
    write_picture(job.overlay, np.concatenate([overlay(pixels, label, classes, alpha), key]))


def _pixels(image: ImageLike) -> NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return pixels_of(image)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
        raise DataError(f"an image array must be uint8 (H, W, 3) RGB; found {found}")
    if image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"an image array must be uint8 (H, W, 3) RGB; found shape {image.shape}")
    return np.ascontiguousarray(image)
