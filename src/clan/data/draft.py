"""A draft description of a data set, written from the values of its labels."""

from __future__ import annotations

import colorsys
import json
import os
from collections.abc import Iterator
from pathlib import Path

from clan.core.errors import DataError
from clan.core.files import write_whole
from clan.data import listing
from clan.data.classes import IGNORE
from clan.data.images import SUFFIXES
from clan.data.label_maps import color_text
from clan.data.values import LabelValues

_TRIED = 3  # labels that must have an image in a folder for it to be chosen


def write_draft(values: LabelValues, out: Path, images: Path | None = None) -> str:
    """Write a description with one class per value, for the user to rename.

    Args:
        values: values of the labels.
        out: the file to write; must not exist.
        images: folder of the images; None searches beside the labels.

    Returns:
        A message on the next steps.

    Raises:
        DataError: the file exists or cannot be written, the labels have one value only, or the
            image folder has no image with a label's name.
    """
    if out.exists():
        raise DataError(f"{out} exists already; name another file, or remove it")
    if len(values.pixels) < 2:
        raise DataError(
            f"{values.folder}: every pixel of every label has one value; there is nothing to tell "
            "apart. Labels of a single class need a second one, such as `background`"
        )
    folder = _images(values, images)
    write_whole(out, "\n".join(_lines(values, folder, out)) + "\n", DataError)
    rename = f"{out} is written: give its classes names, or map values to 'ignore'"
    if folder is None:
        return f"{rename}; say where the images are (`images:`). Then: clan data check {out}"
    return f"{rename}. Then: clan data check {out}"


def _lines(values: LabelValues, images: Path | None, out: Path) -> Iterator[str]:
    root = Path(os.path.commonpath([values.folder.resolve(), (images or values.folder).resolve()]))
    labels = _pattern(values.folder, root, ".png", values)
    pictures = f"{json.dumps('images/*.png')}  # where are the images?"
    if images is not None:
        pictures = json.dumps(_pattern(images, root, _endings(images), values))
    yield f"name: {json.dumps(values.folder.resolve().parent.name or 'mine')}"
    yield f"root: {json.dumps(os.path.relpath(root, out.resolve().parent))}"
    yield "classes:"
    yield "  name: mine"
    yield "  classes:"
    ignored = _ignored(values)
    named = [value for value in values.pixels if value != ignored]
    for place, value in enumerate(named):
        color = _color(values, value, place, len(named))
        yield f"    {_name(values, value)}: [{', '.join(map(str, color))}]"
    yield "splits:"
    yield "  train:"
    yield f"    images: {pictures}"
    yield f"    labels: {json.dumps(labels)}"
    yield "labels:"
    yield f"  encoding: {values.encoding_text()}"
    yield "  map:"
    for value in values.pixels:
        key = f'"{color_text(value)}"' if values.colors else str(value)
        name = "ignore" if value == ignored else _name(values, value)
        files = f"{values.images[value]} of {len(values.files)} files"
        yield f"    {key}: {name}  # {values.share(value):.2%} of pixels, {files}"


def _ignored(values: LabelValues) -> int | None:
    """Return the likely ignore value, 255 or the colour black; None of only two values."""
    likely = 0 if values.colors else IGNORE
    return likely if likely in values.pixels and len(values.pixels) > 2 else None


def _name(values: LabelValues, value: int) -> str:
    return f"color_{value:06x}" if values.colors else f"value_{value}"


def _color(values: LabelValues, value: int, place: int, of: int) -> tuple[int, ...]:
    """Return the colour of a class: the label's, the palette's, or one of evenly spread hues."""
    packed = value if values.colors else values.palette.get(value)
    own = [values.palette.get(other) for other in values.pixels]
    if packed is None or (not values.colors and own.count(packed) > 1):
        shade = colorsys.hsv_to_rgb(place / of, 0.65, 0.9 if place % 2 else 0.6)
        return tuple(round(255 * part) for part in shade)
    return packed >> 16, packed >> 8 & 255, packed & 255


def _pattern(folder: Path, root: Path, ending: str, values: LabelValues) -> str:
    """Return a glob pattern of a folder's files below the root; nested if the labels are."""
    below = folder.resolve().relative_to(root).as_posix()
    nested = "**/" if any("/" in name for name in values.files) else ""
    return ("" if below == "." else f"{below}/") + f"{nested}*{ending}"


def _endings(folder: Path) -> str:
    found, _ = listing.find_images(folder)
    endings = sorted({os.path.splitext(path)[1] for path in found.values()})
    return endings[0] if len(endings) == 1 else "{" + ",".join(endings) + "}"


def _images(values: LabelValues, given: Path | None) -> Path | None:
    """Return the folder whose images have the labels' names; None if none is found nearby."""
    wanted = [os.path.splitext(name)[0] for name in values.files]
    if given is not None:
        if not given.is_dir():
            raise DataError(f"{given} is no folder of images")
        if not set(wanted) & _names(given):
            raise DataError(
                f"{given} has no image with a label's name, such as {min(wanted)!r}; write the "
                "patterns by hand if the names differ in a fixed part (rgb_001 and seg_001)"
            )
        return given
    own = values.folder.resolve()
    # finds frames/ beside masks/, and images/train/ beside labels/train/; searches nowhere else
    near = [*_folders(own.parent), *(path / own.name for path in _folders(own.parent.parent))]
    for folder in near:
        if folder != own and all(_has(folder, name) for name in wanted[:_TRIED]):
            return folder
    return None


def _has(folder: Path, name: str) -> bool:
    """Return whether a folder has an image of a name, with any image suffix."""
    endings = (e for ending in sorted(SUFFIXES) for e in (ending, ending.upper()))
    return any(os.path.isfile(folder / f"{name}{ending}") for ending in endings)


def _folders(above: Path) -> list[Path]:
    try:
        return sorted(p for p in above.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return []


def _names(folder: Path) -> set[str]:
    try:
        return {key[0] for key in listing.find_images(folder)[0]}
    except DataError:
        return set()
