"""Writing the town to disk: the source in GTA5's layout, the target in Cityscapes'."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clan.core.errors import DataError
from clan.core.files import flush_folder, write_whole
from clan.data.classes import CITYSCAPES, CITYSCAPES_IDS
from clan.data.names import TOWN_RECORD
from clan.town.look import SOURCE, TARGET, Look
from clan.town.render import draw_frame

VERSION = 2
"""Version of the generator; other versions draw other images from the same seed."""
RECORD = TOWN_RECORD
"""File with the recipe of a town; written last."""
CITY = "farbenau"
"""Name of the target's city."""
_SMALLEST = 16
_CHUNK = 4
"""Frames that a process draws between two progress reports."""


@dataclass(frozen=True)
class Recipe:
    """Parameters of a town; the same recipe gives the same bytes."""

    generator: int
    seed: int
    height: int
    width: int
    source: int
    target: int
    val: int

    def __post_init__(self) -> None:
        if min(self.height, self.width) < _SMALLEST:
            raise DataError(
                f"a town of {self.height}x{self.width} (H, W) pixels; expected at least "
                f"{_SMALLEST} each way"
            )
        for name, count in (("source", self.source), ("target", self.target), ("val", self.val)):
            if count < 0:
                raise DataError(f"{count} {name} images for the town; expected 0 or more")
        if not 0 <= self.seed < 2**64:
            raise DataError(f"seed {self.seed} for the town; expected 0..2^64-1")


class Part(NamedTuple):
    """One folder of frames."""

    look: Look
    stream: int
    """The part's number in the random key."""
    image: str
    """Path of an image in the town; a format string for its number."""
    label: str
    first: int
    """Number of the first file."""
    palette: bool
    """Whether labels are palette PNGs; otherwise grey ones."""


class Frame(NamedTuple):
    """One frame to draw: a part of the town, and its number there."""

    part: str
    number: int


def _city(split: str, stream: int) -> Part:
    stem = f"{split}/{CITY}/{CITY}_{{:06d}}_000019"
    image = f"target/leftImg8bit/{stem}_leftImg8bit.png"
    label = f"target/gtFine/{stem}_gtFine_labelIds.png"
    return Part(TARGET, stream, image, label, first=0, palette=False)


_PARTS = {
    "source": Part(SOURCE, 1, "source/images/{:05d}.png", "source/labels/{:05d}.png", 1, True),
    "target": _city("train", 2),
    "val": _city("val", 3),
}


def make_town(
    out: str | Path,
    *,
    source: int = 400,
    target: int = 400,
    val: int = 100,
    size: tuple[int, int] = (128, 256),
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Draw the built-in data set: game-like street scenes and camera-like ones, with labels.

    ``out/source`` has GTA5's layout, ``out/target`` Cityscapes' (train and val). Every frame is a
    function of the seed, its split and its number, whatever the number of workers. A town drawn
    from the same numbers is not drawn again.

    Args:
        out: the folder.
        source: images of the source.
        target: training images of the target.
        val: validation images of the target.
        size: (H, W) of the images.
        seed: another seed draws another town.
        workers: processes; None for one per core.
        progress: called with the number of images drawn since its last call.

    Returns:
        The folder.

    Raises:
        DataError: ``out`` holds anything else, or sizes and counts are out of range.

    Example:
        data = clan.make_town("data/town", source=40, target=40, val=10)
    """
    out = Path(out)
    recipe = Recipe(VERSION, seed, *size, source, target, val)
    if workers is not None and workers < 1:
        raise DataError(f"{workers} workers for drawing the town; expected 1 or more")
    if _is_there(out, recipe):
        return out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise DataError(f"{out}: the folder cannot be made there ({error.strerror})") from error
    try:
        _write(draft, recipe, workers or os.cpu_count() or 1, progress)
        if out.exists():
            out.rmdir()
        draft.rename(out)
        flush_folder(out.parent)
    except OSError as error:
        raise DataError(f"{out}: the town cannot be written ({error})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def _is_there(out: Path, recipe: Recipe) -> bool:
    """Return whether the folder holds this town; DataError if it holds anything else."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise DataError(f"{out}: a file; the town needs a folder of its own")
    if not any(out.iterdir()):
        return False
    record = out / RECORD
    if not record.is_file():
        raise DataError(
            f"{out}: the folder is not empty and holds no town ({RECORD} is missing); "
            "choose another folder or empty this one"
        )
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{record}: cannot be read ({error}); delete {out} and retry") from error
    if found != asdict(recipe):
        raise DataError(
            f"{out}: another town is there, drawn from {found}, not from {asdict(recipe)}; "
            "choose another folder or delete this one"
        )
    for part, count in _counts(recipe):
        for pattern in (part.image, part.label):
            folder = (out / pattern).parent
            there = sum(1 for _ in folder.glob("*.png"))
            if there != count:
                raise DataError(
                    f"{folder}: {there} files, the town has {count}; delete {out} and draw it again"
                )
    return True


def _counts(recipe: Recipe) -> list[tuple[Part, int]]:
    return [(part, getattr(recipe, name)) for name, part in _PARTS.items()]


def _write(
    draft: Path, recipe: Recipe, workers: int, progress: Callable[[int], None] | None
) -> None:
    for part in _PARTS.values():
        for pattern in (part.image, part.label):
            (draft / pattern).parent.mkdir(parents=True)
    for drawn in _draw_all(draft, recipe, workers):
        if progress is not None:
            progress(drawn)
    write_whole(draft / "README.txt", _readme(recipe), DataError)
    write_whole(draft / RECORD, json.dumps(asdict(recipe), indent=2) + "\n", DataError)
    # Only its owner can read a temporary folder; everybody may read the town.
    draft.chmod(0o755)


def _draw_all(draft: Path, recipe: Recipe, workers: int) -> Iterator[int]:
    """Draw all frames; yield the number drawn since the last yield."""
    frames = [Frame(name, i) for name in _PARTS for i in range(getattr(recipe, name))]
    chunks = [frames[i : i + _CHUNK] for i in range(0, len(frames), _CHUNK)]
    draw = partial(_draw_chunk, draft, recipe)
    if workers == 1 or len(chunks) <= 1:
        yield from map(draw, chunks)
        return
    try:
        with ProcessPoolExecutor(min(workers, len(chunks)), initializer=_one_thread) as pool:
            yield from pool.map(draw, chunks)
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that draws the town ended early ({error}); was there too little memory? "
            "Draw with fewer workers"
        ) from error


def _one_thread() -> None:
    """Keep OpenCV's threads from competing with the other processes."""
    cv2.setNumThreads(0)


def _draw_chunk(draft: Path, recipe: Recipe, chunk: list[Frame]) -> int:
    for frame in chunk:
        part = _PARTS[frame.part]
        key = (recipe.seed, (part.stream << 40) + frame.number)
        image, label = draw_frame(part.look, key, (recipe.height, recipe.width))
        name = part.first + frame.number
        _write_image(draft / part.image.format(name), image)
        palette = _palette() if part.palette else None
        _write_label(draft / part.label.format(name), label, palette)
    return len(chunk)


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    # Fast compression: noise hardly compresses anyway.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise DataError(f"{path}: OpenCV cannot encode the image as PNG")
    write_whole(path, data.tobytes(), DataError)


def _write_label(path: Path, label: NDArray[np.uint8], palette: list[int] | None) -> None:
    picture = Image.fromarray(label)
    if palette is not None:
        picture.putpalette(palette)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_whole(path, buffer.getvalue(), DataError)


@cache
def _palette() -> list[int]:
    """Return the palette of GTA5's labels: Cityscapes' colours by labelId."""
    colors = [(0, 0, 0)] * 256
    for raw, name in CITYSCAPES_IDS.items():
        if name != "ignore":
            colors[raw] = CITYSCAPES.colors[CITYSCAPES.index(name)]
    return [value for color in colors for value in color]


def _readme(recipe: Recipe) -> str:
    return f"""The town: street scenes drawn by a program, in two domains.

source/  as from a game, {recipe.source} images; laid out as GTA5
         images/00001.png, labels/00001.png (palette PNG, pixel = Cityscapes labelId)
target/  as from a camera, {recipe.target} images for train and {recipe.val} for val; laid out as
         Cityscapes (leftImg8bit/ and gtFine/, pixel = labelId)

Image size {recipe.width}x{recipe.height} (width x height), seed {recipe.seed}, generator version \
{recipe.generator}.
Drawn by `clan data make town`; {RECORD} holds these numbers for programs. 18 of Cityscapes' 19
classes occur (there is no train); in the target the bonnet of the ego vehicle is labelled 1,
which is ignored. The labels of the target's train split are for measuring only.
"""
