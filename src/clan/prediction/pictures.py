"""Pictures of predictions: overlays, legends, panels side by side, sheets of comparisons.

Pictures are uint8 (H, W, 3) RGB arrays in and out; label maps are uint8 (H, W) class indices with
255 = ignore. A panel may be either: a label map is shown in the colours of its class set.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clan.core.errors import DataError
from clan.core.files import write_whole
from clan.data.classes import IGNORE, ClassSet

Picture = NDArray[np.uint8]

PAPER = (255, 255, 255)
INK = (33, 37, 41)
OUTLINE = (173, 181, 189)
NOT_LABELLED = "not labelled"
BAND = 256
"""Rows that an overlay is made of at a time."""


def overlay(image: Picture, label: Picture, classes: ClassSet, alpha: float = 0.5) -> Picture:
    """Blend the label's colours over an image of the same size; ignored pixels stay as they are.

    Args:
        image: uint8 (H, W, 3) RGB.
        label: uint8 (H, W).
        classes: gives the colours.
        alpha: weight of the colours, 0..1.
    """
    if image.shape != (*label.shape, 3):
        raise DataError(
            f"an overlay needs an image (H, W, 3) and a label (H, W) of one size; got "
            f"{image.shape} and {label.shape}"
        )
    if not 0 <= alpha <= 1:
        raise DataError(f"the overlay's alpha is {alpha}; expected a weight in 0..1")
    blend = np.empty_like(image)
    table = classes.colorize(np.arange(256, dtype=np.uint8)[None]).reshape(256, 1, 3)
    # OpenCV's loops take a tenth of NumPy's time; a band of rows at a time, for large pictures
    for top in range(0, len(image), BAND):
        rows = slice(top, top + BAND)
        colors = cv2.applyColorMap(label[rows], table)
        mixed = cv2.addWeighted(image[rows], 1 - alpha, colors, alpha, 0)
        blend[rows] = np.where((label[rows] == IGNORE)[..., None], image[rows], mixed)
    return blend


def legend(
    classes: ClassSet,
    width: int,
    names: Sequence[str] | None = None,
    *,
    font_size: int = 16,
    ignored: bool = False,
) -> Picture:
    """Draw colour chips with class names, centred, in as many lines as ``width`` asks for.

    Args:
        classes: gives names and colours.
        width: of the picture, in pixels.
        names: the classes to show; None for all.
        font_size: in pixels.
        ignored: explain the colour of pixels without a label, too.
    """
    names = classes.names if names is None else names
    entries = [(name, classes.colors[classes.index(name)]) for name in names]
    if ignored:
        entries.append((NOT_LABELLED, _ignore_color(classes)))
    chip = (round(font_size * 1.5), font_size)
    space, gap = round(font_size * 0.4), round(font_size * 1.3)
    room = width - 2 * gap
    texts = [_shortened(name, room - chip[0] - space, font_size) for name, _ in entries]
    widths = [chip[0] + space + _text_width(text, font_size) for text in texts]
    lines = _wrap(widths, gap, room)
    step = round(font_size * 1.7)
    picture = Image.new("RGB", (width, step * len(lines) + round(font_size * 0.6)), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        x = (width - sum(widths[i] for i in line) - gap * (len(line) - 1)) // 2
        y = round(font_size * 0.3) + number * step + step // 2
        for i in line:
            top = y - chip[1] // 2
            box = (x, top, x + chip[0] - 1, top + chip[1] - 1)
            draw.rounded_rectangle(box, font_size // 5, fill=entries[i][1], outline=OUTLINE)
            at = (x + chip[0] + space, y)
            draw.text(at, texts[i], INK, _font(font_size, texts[i].isascii()), anchor="lm")
            x += widths[i] + gap
    return np.asarray(picture)


def strip(
    panels: Sequence[tuple[str, Picture]],
    classes: ClassSet | None = None,
    *,
    panel_width: int | None = None,
) -> Picture:
    """Place panels side by side under their titles.

    Args:
        panels: (title, picture or label map), all of one shape (height : width).
        classes: colours of the label maps and, with them, a legend underneath; needed where a
            panel is a label map.
        panel_width: width of each panel, in pixels; None for the first panel's own.
    """
    if not panels:
        raise DataError("a strip of pictures needs at least one panel")
    titles, pictures = zip(*panels, strict=True)
    return comparison_sheet(
        [pictures], titles, classes, panel_width=panel_width or pictures[0].shape[1]
    )


def comparison_sheet(
    rows: Sequence[Sequence[Picture]],
    titles: Sequence[str],
    classes: ClassSet | None = None,
    *,
    panel_width: int = 400,
) -> Picture:
    """Draw a sheet: a row per scene, a titled column per system, a legend of what is present.

    Args:
        rows: for each scene one panel per title, for example the image, the predictions of three
            systems and the truth; all panels of a row have one shape (height : width).
        titles: head of each column.
        classes: colours of the label maps; needed where a panel is one.
        panel_width: width of each panel, in pixels.
    """
    if not rows or any(len(row) != len(titles) for row in rows):
        raise DataError(
            f"a sheet with {len(titles)} titles needs rows of as many panels; got rows of "
            f"{[len(row) for row in rows]}"
        )
    gap = max(4, round(panel_width * 0.015))
    font_size = max(12, round(panel_width * 0.052))
    font_size = min(font_size, *(_fitting_size(title, panel_width, font_size) for title in titles))
    head = round(font_size * 1.9)
    width = gap + len(titles) * (panel_width + gap)
    heights = [_row_height(row, panel_width) for row in rows]
    sheet = Image.new("RGB", (width, head + sum(heights) + gap * len(rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        middle = gap + column * (panel_width + gap) + panel_width // 2
        text = _shortened(title, panel_width, font_size)
        font = _font(font_size, text.isascii())
        draw.text((middle, head // 2 + 1), text, INK, font, anchor="mm")
    y = head
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            x = gap + column * (panel_width + gap)
            sheet.paste(_scaled(panel, classes, (panel_width, height)), (x, y))
        y += height + gap
    labels = [panel for row in rows for panel in row if panel.ndim == 2]
    if classes is None or not labels:
        return np.asarray(sheet)
    key = legend(
        classes,
        width,
        present(labels, classes),
        font_size=max(11, round(font_size * 0.85)),
        ignored=any((label == IGNORE).any() for label in labels),
    )
    return np.concatenate([np.asarray(sheet), key])


def present(labels: Iterable[Picture], classes: ClassSet) -> tuple[str, ...]:
    """Return the names of the classes that occur in label maps, in the class set's order."""
    found = set[int]().union(*(np.unique(label).tolist() for label in labels))
    return tuple(name for index, name in enumerate(classes.names) if index in found)


def spread(length: int, count: int) -> list[int]:
    """Return ``count`` indices spread evenly over ``length`` images; all where there are fewer."""
    return sorted({int(i) for i in np.linspace(0, length - 1, min(count, length))})


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture in the format of the path's suffix (``.png``, ``.jpg``).

    Raises:
        DataError: an unknown suffix, or a path that cannot be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise DataError(
            f"cannot write {path}: unknown file extension: {path.suffix}; expected a .png or .jpg "
            "path"
        )
    buffer = io.BytesIO()
    try:
        Image.fromarray(picture).save(buffer, format=kind, quality=92)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot write {path}: {error}; expected a .png or .jpg path") from error
    write_whole(path, buffer.getvalue(), DataError)


def _scaled(panel: Picture, classes: ClassSet | None, size: tuple[int, int]) -> Image.Image:
    if panel.ndim == 3:
        return Image.fromarray(panel).resize(size, Image.Resampling.LANCZOS)
    if classes is None:
        raise DataError("a panel is a label map (H, W); give the class set that colours it")
    picture = Image.fromarray(classes.colorize(panel))
    # enlarge by whole pixels first: borders then stay sharp, with no colour between classes wider
    # than a pixel of the sheet
    factor = 1 + max(size[0] // picture.width, size[1] // picture.height)
    large = picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )
    return large.resize(size, Image.Resampling.BOX)


def _row_height(row: Sequence[Picture], width: int) -> int:
    ratios: list[float] = [panel.shape[0] / panel.shape[1] for panel in row]
    if max(ratios) > 1.02 * min(ratios):
        shapes = ", ".join(f"{panel.shape[0]}x{panel.shape[1]}" for panel in row)
        raise DataError(f"the panels of a row differ in their shape: {shapes}")
    return round(width * ratios[0])


def _wrap(widths: Sequence[int], gap: int, room: int) -> list[list[int]]:
    """Group indices into the fewest lines that fit into ``room``, of about equal length."""
    if not widths:
        return [[]]
    total = sum(widths) + gap * (len(widths) - 1)
    lines = max(1, -(-total // max(room, 1)))
    while True:
        target = min(room, total // lines + max(widths) // 2)
        wrapped: list[list[int]] = [[]]
        used = 0
        for index, width in enumerate(widths):
            if wrapped[-1] and used + gap + width > target:
                wrapped.append([])
            used = width if not wrapped[-1] else used + gap + width
            wrapped[-1].append(index)
        if len(wrapped) <= lines or lines >= len(widths):
            return wrapped
        lines += 1


@lru_cache
def _font(size: int, ascii_only: bool = True) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font, or DejaVu for text beyond ASCII, where one is installed."""
    if not ascii_only:
        package = find_spec("matplotlib")
        folder = (
            Path(package.origin).parent / "mpl-data/fonts/ttf"
            if package and package.origin
            else Path()
        )
        for name in (str(folder / "DejaVuSans.ttf"), "DejaVuSans.ttf"):
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)


def _text_width(text: str, size: int) -> int:
    width: float = float(_font(size, text.isascii()).getlength(text))
    return round(width)


def _shortened(text: str, width: int, size: int) -> str:
    """Cut the text's end, marked with dots, until it fits into ``width``."""
    if _text_width(text, size) <= width:
        return text
    while text and _text_width(text + "...", size) > width:
        text = text[:-1].rstrip()
    return text + "..."


def _fitting_size(text: str, width: int, size: int) -> int:
    """Return the largest font size up to ``size`` at which the text fits; a third less at least."""
    return max(size * 2 // 3, min(size, size * width // max(1, _text_width(text, size))))


def _ignore_color(classes: ClassSet) -> tuple[int, int, int]:
    red, green, blue = classes.colorize(np.array([[IGNORE]], np.uint8))[0, 0].tolist()
    return red, green, blue
