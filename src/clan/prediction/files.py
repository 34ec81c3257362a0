"""Prediction of files and folders: what is found, and the results that are written."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError, RunError
from clan.data import listing
from clan.data.images import SUFFIXES, read_image
from clan.prediction.large import write_large
from clan.prediction.outputs import Outputs, label_file, write_classes, write_outputs
from clan.prediction.predictor import Predictor, load
from clan.prediction.tiles import check_tile
from clan.scoring.failures import Failures
from clan.scoring.submission import check_folder, label_id_file


@dataclass(frozen=True)
class _Job:
    image: Path
    target: Path
    """The results' path without ``_label.png`` and the like; in the style of Cityscapes, whole."""
    label: Path


def predict(
    model: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    overwrite: bool = False,
    device: str = "auto",
    alpha: float = 0.5,
    style: str = "overlay",
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    probabilities: str | None = None,
    uncertainty: bool = False,
    summary: bool = False,
    tile: int | None = None,
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
        flip: average the probabilities of each image and its mirror image.
        scales: average them over these factors of the input size.
        probabilities: ``npz``: also write them as one float16 array (C, H, W) per image; ``png``:
            as a 16-bit PNG per class, 65535 = 1.
        uncertainty: also write the entropy and, of two classifiers, their disagreement as grey
            PNGs, 255 = 1.
        summary: also write a JSON file per image: shares of classes, mean confidence.
        tile: see large pictures window by window at their own resolution, this many pixels a side.
        progress: called after each image with (done, total); with ``tile``, after each window.

    Returns:
        The labels written, in the order of the images.

    Raises:
        WeightsError: no model there, or not one of ours.
        DataError, RunError, ConfigError: as `clan.prediction.files.predict_files`.

    Example:
        clan.predict("runs/clan", "photos", "predictions")
        label = clan.load("runs/clan").predict("photo.jpg")  # one image, nothing written
    """
    asked = [images] if isinstance(images, str | Path) else images
    return predict_files(
        load(model, device, flip=flip, scales=scales),
        asked,
        Path(out),
        overwrite=overwrite,
        alpha=alpha,
        style=style,
        probabilities=probabilities,
        uncertainty=uncertainty,
        summary=summary,
        tile=tile,
        progress=progress,
    )


def predict_files(
    predictor: Predictor,
    images: Sequence[str | Path],
    out: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **outputs: Any,
) -> list[Path]:
    """Predict many images and write, for each, a label and a picture of it.

    ``<stem>_label.png`` is a palette PNG whose indices are the classes, at the image's own size;
    ``<stem>_overlay.jpg`` shows the colours over the image, with a legend underneath. Sub-folders
    of a given folder (or below the fixed part of a pattern) are kept. ``classes.json`` says what
    the indices mean. An image that cannot be read, or one whose results cannot be written, does not
    stop the others.

    In the ``cityscapes`` style it is one PNG of official label ids per image instead,
    ``<city>_<sequence>_<frame>_labelIds.png`` in ``out`` itself: what the server and its evaluation
    script take.

    Args:
        predictor: the model.
        images: files, folders (searched recursively) and glob patterns (``**`` = any depth).
        out: folder for the results, created where needed.
        overwrite: write into a folder that holds something already.
        progress: called after each image with (done, total); with ``tile``, after each window.
        outputs: fields of `clan.prediction.outputs.Outputs`: what is written.

    Returns:
        The labels written, in the order of the images.

    Raises:
        DataError: nothing found, results that would have one name, images that are not named as
            those of Cityscapes in its style (nothing is written then), or images that could not
            be read or whose results could not be written (all others are done); it lists them.
        RunError: ``out`` is a file, or holds something and ``overwrite`` is not set; or the disk
            takes nothing more, which ends the work.
        ConfigError: an unknown style, outputs that exclude each other, or classes that Cityscapes
            does not have in its style.
    """
    wanted = Outputs(**outputs)
    wanted.check(predictor.classes)
    if wanted.tile is not None:
        check_tile(wanted.tile)
    check_folder(out, overwrite)
    jobs = _jobs(images, out, wanted.style)
    if wanted.style != "cityscapes":
        write_classes(out, predictor.classes)
    failures = Failures(len(jobs), then="predict the others")
    run = _one_by_one if wanted.tile is not None else _overlapped
    run(predictor, jobs, wanted, progress, failures)
    if error := failures.error(out):
        raise error
    return [job.label for job in jobs]


Progress = Callable[[int, int], None] | None


def _read(path: Path) -> NDArray[np.uint8] | DataError:
    """Return an image's pixels, or what is wrong with it."""
    try:
        return read_image(path)
    except DataError as error:
        return error


def _overlapped(
    predictor: Predictor, jobs: list[_Job], wanted: Outputs, progress: Progress, failures: Failures
) -> None:
    """Do the jobs: one image is read ahead and one is written behind the network's work."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        reading = pool.submit(_read, jobs[0].image)
        writing: Future[None] | None = None
        for done, job in enumerate(jobs, start=1):
            pixels = reading.result()
            if done < len(jobs):
                reading = pool.submit(_read, jobs[done].image)
            if isinstance(pixels, DataError):
                failures.note(pixels)
            else:
                found = predictor.predict(pixels)
                if writing is not None:
                    writing.result()
                write = partial(write_outputs, job.target, found, wanted, job.image)
                writing = pool.submit(failures.write, job.image, write)
            if progress is not None:
                progress(done, len(jobs))
        if writing is not None:
            writing.result()


def _one_by_one(
    predictor: Predictor, jobs: list[_Job], wanted: Outputs, progress: Progress, failures: Failures
) -> None:
    """Do the jobs with one picture in memory at a time, window by window."""
    for job in jobs:
        write = partial(write_large, predictor, job.image, job.target, wanted, progress)
        failures.write(job.image, write)


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


def left_out(images: Sequence[str | Path]) -> list[str]:
    """Return, for each folder that holds more than images, what was left out of it, in words."""
    folders = [Path(given) for given in images if Path(given).is_dir()]
    told = [(folder, listing.find_images(folder)[1].text()) for folder in folders]
    return [f"{folder}: {text}" for folder, text in told if text]


def _jobs(images: Sequence[str | Path], out: Path, style: str) -> list[_Job]:
    for given in map(Path, images):
        if given.is_dir() and given.resolve().is_relative_to(out.resolve()):
            raise RunError(f"results in {out} would mix with the images in {given}; choose another")
    jobs: dict[Path, _Job] = {}
    clashes = []
    for file, relative in find_images(images, exclude=out):
        if style == "cityscapes":
            target = label = out / label_id_file(file)
        else:
            target = out / relative.parent / relative.stem
            label = label_file(target, style)
        if label in jobs:
            clashes.append(f"  {jobs[label].image} and {file} -> {label}")
        jobs.setdefault(label, _Job(file, target, label))
    if clashes:
        raise DataError(
            "these images would write the same result; predict them into different folders:\n"
            + "\n".join(clashes)
        )
    return list(jobs.values())


def _is_image(path: Path, exclude: Path | None) -> bool:
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    return exclude is None or not path.resolve().is_relative_to(exclude)


def _fixed_part(pattern: Path) -> Path:
    """Return the folder in front of the first part with a wildcard."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])
