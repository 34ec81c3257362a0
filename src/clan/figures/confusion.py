"""The confusion matrix as a figure."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import RunError, nearest
from clan.core.files import write_whole
from clan.data.classes import ClassSet
from clan.scoring.metrics import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

SUFFIXES = (".png", ".pdf", ".svg")

INK, FAINT, EMPTY = "#212529", "#6c757d", "#eceff1"


def draw_confusion(scores: Scores, path: Path, title: str) -> None:
    """Draw the confusion matrix with normalised rows, in percent of each true class's pixels.

    Rows are the truth, columns the prediction; the diagonal is the recall. A square beside each
    name has the class's colour. A class without a pixel in the truth has a grey row. Shares below
    half a percent are left blank.

    Args:
        scores: the counts.
        path: .png, .pdf or .svg.
        title: the first line; classes, images, mIoU and the protocol are printed below it.

    Raises:
        RunError: nothing was counted, another suffix, or a path that cannot be written.
    """
    # imported here, as it is slow to import and a plain evaluation does not need it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_path(path)
    if not scores.confusion.any():
        raise RunError(f"cannot draw {path}: no labelled pixel was counted")
    classes = scores.classes
    C = len(classes)
    longest = max(map(len, classes.names)) * 0.075
    side = max(3.2, 0.46 * C)
    figure = Figure(figsize=(side + longest + 1.9, side + longest + 1.5), dpi=150)
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor("white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    axes = figure.add_subplot()
    shares = row_shares(scores.confusion)
    image = _cells(axes, shares)
    _labels(axes, classes)
    colorbar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, aspect=40)
    colorbar.outline.set_visible(False)
    colorbar.set_label("% of the true class", color=FAINT)
    colorbar.ax.tick_params(colors=FAINT, length=0)
    figure.suptitle(title, x=0.5, color=INK, fontsize=14, fontweight="bold")
    axes.set_title(
        subtitle(scores),
        color=FAINT,
        fontsize=10,
        pad=8,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower()[1:])
    write_whole(path, buffer.getvalue())


def subtitle(scores: Scores) -> str:
    """Return the number of classes and images, the mIoU and the protocol in words."""
    over = f"{len(scores.classes)} classes, {scores.images} images, mIoU {100 * scores.miou():.1f}"
    if scores.protocol is None:
        return over
    return f"{over}\ninput {scores.protocol.size_text()}, {scores.protocol.text()}"


def check_path(path: Path) -> None:
    """Refuse a path that `draw_confusion` cannot write, before anything is computed.

    Raises:
        RunError: another suffix than those of `SUFFIXES`.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise RunError(
            f"cannot draw {path}: unknown suffix {path.suffix!r}{nearest(path.suffix, SUFFIXES)}"
        )


def row_shares(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (C, C) percent of each row's sum; nan in the rows of classes without a pixel."""
    total = confusion.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(100 * confusion / total, np.float64)


def _cells(axes: Axes, shares: NDArray[np.float64]) -> AxesImage:
    from matplotlib import colormaps

    colors = colormaps["Blues"].with_extremes(bad=EMPTY)
    image = axes.imshow(np.ma.masked_invalid(shares), cmap=colors, vmin=0, vmax=100)
    C = len(shares)
    # white lines between the cells
    axes.set_xticks(np.arange(C + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(C + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(shares):
        if np.isnan(value):
            if column == row:
                axes.text(column, row, "-", ha="center", va="center", color=FAINT, fontsize=9)
        elif value >= 0.5:
            axes.text(
                column,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                color="white" if value > 55 else INK,
                fontsize=9,
                fontweight="bold" if row == column else "normal",
            )
    return image


def _labels(axes: Axes, classes: ClassSet) -> None:
    from matplotlib.transforms import ScaledTranslation

    C = len(classes)
    axes.set_xticks(range(C), classes.names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(C), classes.names)
    axes.tick_params(which="major", pad=17, labelsize=10, colors=INK)
    axes.set_xlabel("predicted", color=FAINT, fontsize=11)
    axes.set_ylabel("truth", color=FAINT, fontsize=11)
    figure = axes.get_figure(root=True)
    assert figure is not None
    # squares of the classes' colours between cells and names, nine points from the edge for any
    # size of a cell
    inch = figure.dpi_scale_trans
    left = axes.transData + ScaledTranslation(-9 / 72, 0, inch)
    below = axes.transData + ScaledTranslation(0, -9 / 72, inch)
    for index, color in enumerate(classes.colors):
        face = tuple(value / 255 for value in color)
        for x, y, place in ((-0.5, index, left), (index, C - 0.5, below)):
            axes.plot(
                x,
                y,
                marker="s",
                markersize=9,
                markerfacecolor=face,
                markeredgecolor="#adb5bd",
                markeredgewidth=0.5,
                clip_on=False,
                transform=place,
                scalex=False,
                scaley=False,
            )
