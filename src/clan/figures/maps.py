"""Alignment maps and D's answers as pictures, and their means per class as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clan.analysis.results import Result, matrix, read_alike
from clan.figures.kinds import FigureOptions
from clan.figures.style import (
    FAINT,
    PAGE,
    SYSTEM_COLORS,
    by_system,
    class_axis,
    grid_lines,
    legend_above,
    new_figure,
    paper_style,
    seeds_label,
    system_colors,
    system_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

M_COLORS, D_COLORS = "magma", "RdBu_r"


@dataclass(frozen=True)
class Column:
    """One column of the pictures: its title, its maps (n, H, W) and what their values are."""

    title: str
    pictures: NDArray[Any]
    values: str = ""


def draw_maps(runs: Sequence[Path], options: FigureOptions) -> Figure:
    """Draw target images with M before and after adaptation and, where there is a D, its answers.

    Columns: the image; M of the network before; M of each run; then the same for D's probability
    of the target. All maps of M share a scale, from 0 to the 99th percentile of what is shown.

    Raises:
        RunError: not analysed, or with other images, options or networks before.
    """
    results = read_alike(runs, "maps", ("target", "options", "before"))
    count = min(options.images, len(results[0].arrays["image"]))
    columns = _columns(results)
    height, width = columns[0].pictures.shape[1:3]
    with paper_style():
        cell = PAGE / len(columns)
        figure = new_figure(PAGE, cell * height / width * count + 0.7)
        grid = figure.subplots(count, len(columns), squeeze=False)
        drawn: dict[str, tuple[Any, list[Axes]]] = {}
        top = max(0.05, _percentile(columns, count))
        for place, column in enumerate(columns):
            grid[0][place].set_title(column.title, fontsize=7)
            for row in range(count):
                axes = grid[row][place]
                shown = _show(axes, column.pictures[row], column.values, top)
                drawn.setdefault(column.values, (shown, []))[1].append(axes)
        for values, (shown, axes_list) in drawn.items():
            if values:
                bar = figure.colorbar(
                    shown, ax=axes_list, location="bottom", aspect=40, shrink=0.6, pad=0.02
                )
                bar.outline.set_visible(False)
                bar.set_label(values, fontsize=7)
                bar.ax.tick_params(labelsize=6, length=2)
    return figure


def draw_classes(runs: Sequence[Path], options: FigureOptions | None = None) -> Figure:
    """Draw the mean of M per class, before adaptation and for each system; D's below, if any.

    Bars are means over seeds. A class that no image has says so in the place of its bars.
    """
    results = read_alike(runs, "maps", ("target", "options", "before"))
    judged = [r for r in results if "d_after" in r.about["means"]]
    with paper_style():
        figure = new_figure(PAGE, 3.9 if judged else 2.2)
        grid = figure.subplots(2 if judged else 1, 1, sharex=True, squeeze=False)[:, 0]
        _bars(grid[0], results, "m", "mean of M")
        if judged:
            _bars(grid[1], judged, "d", "mean of D's\nprobability of target")
            grid[1].axhline(0.5, color=FAINT, linewidth=0.6, linestyle=":")
        handles, labels = grid[0].get_legend_handles_labels()
        legend_above(figure, handles, labels)
    return figure


def _columns(results: Sequence[Result]) -> list[Column]:
    first, before = results[0], _before(results[0])
    m, d = "alignment map M (high = poorly aligned)", "D's probability of target"
    columns = [
        Column("target image", first.arrays["image"]),
        Column(f"M, {before}", first.arrays["m_before"], m),
    ]
    columns += [Column(f"M, {system_label(r.name)}", r.arrays["m_after"], m) for r in results]
    judged = [r for r in results if "d_after" in r.arrays]
    for r in judged:
        if len(judged) == 1:
            columns.append(Column(f"D, {before}", r.arrays["d_before"], d))
        columns.append(Column(f"D, {system_label(r.name)}", r.arrays["d_after"], d))
    return columns


def _before(result: Result) -> str:
    before = str(result.about["before"])
    return "before training" if before == "step 0" else system_label(before)


def _percentile(columns: Sequence[Column], count: int) -> float:
    shown = [c.pictures[:count] for c in columns if c.values.startswith("alignment")]
    return float(np.percentile(np.concatenate(shown).astype(np.float32), 99))


def _show(axes: Axes, picture: NDArray[Any], values: str, top: float) -> Any:
    axes.set_axis_off()
    if not values:
        return axes.imshow(picture)
    picture = picture.astype(np.float32)
    if values.startswith("alignment"):
        return axes.imshow(picture, cmap=M_COLORS, vmin=0, vmax=top)
    return axes.imshow(picture, cmap=D_COLORS, vmin=0, vmax=1)


def _bars(axes: Axes, results: Sequence[Result], which: str, title: str) -> None:
    """Draw a group of bars per class: before, then the systems."""
    systems = by_system([r.name for r in results])
    colors = system_colors(systems)
    after = {
        name: np.stack([matrix(results[i].about["means"][f"{which}_after"]) for i in indices])
        for name, indices in systems.items()
    }
    before = matrix(results[0].about["means"][f"{which}_before"])
    # one D judges the network before; with several, each would give it another answer
    lone = which == "m" or len(systems) == 1
    width = 0.8 / (len(after) + lone)
    places = np.arange(len(before))
    if lone:
        axes.bar(
            places - 0.4 + width / 2,
            before,
            width,
            color=SYSTEM_COLORS["pretrained"],
            label=_before(results[0]),
        )
    for number, (name, values) in enumerate(after.items(), start=int(lone)):
        axes.bar(
            places - 0.4 + width * (number + 0.5),
            values.mean(axis=0),
            width,
            color=colors[name],
            label=seeds_label(name, len(values)),
        )
    class_axis(axes, results[0].classes.names, np.flatnonzero(np.isnan(before)).tolist())
    axes.set_ylabel(title)
    grid_lines(axes)
