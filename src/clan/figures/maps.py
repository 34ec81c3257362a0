"""Alignment maps and D's output as images, and their means per class as bars."""

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
M_VALUES = "alignment map M (high = poorly aligned)"
D_VALUES = "D's probability of the target"


@dataclass(frozen=True)
class Column:
    """One column of the figure: its title, its maps (n, H, W) and the name of their values."""

    title: str
    pictures: NDArray[Any]
    values: str = ""


def draw_maps(runs: Sequence[Path], options: FigureOptions) -> Figure:
    """Draw target images with M before and after adaptation, and D's output if there is a D.

    Columns: the image; M of the network before; M of each run; then the same for D's probability
    of the target. Maps of a kind share a scale, up to the 99th percentile of the shown values.

    Raises:
        RunError: runs without this analysis, or with different images, options or first networks.
    """
    results = read_alike(runs, "maps", ("target", "options", "before"))
    count = min(options.images, len(results[0].arrays["image"]))
    columns = _columns(results)
    height, width = columns[0].pictures.shape[1:3]
    scales = {
        values: _scale(values, [c.pictures[:count] for c in columns if c.values == values])
        for values in dict.fromkeys(c.values for c in columns if c.values)
    }
    with paper_style():
        cell = PAGE / len(columns)
        figure = new_figure(PAGE, cell * height / width * count + 0.75)
        ratios = [cell * height / width] * count + [0.07]
        spec = figure.add_gridspec(count + 1, len(columns), height_ratios=ratios)
        shown: dict[str, Any] = {}
        for place, column in enumerate(columns):
            for row in range(count):
                axes = figure.add_subplot(spec[row, place])
                axes.set_axis_off()
                if row == 0:
                    axes.set_title(column.title, fontsize=7)
                picture = column.pictures[row]
                if column.values:
                    picture = picture.astype(np.float32)
                shown[column.values] = axes.imshow(picture, **scales.get(column.values, {}))
        for values in scales:
            places = [i for i, column in enumerate(columns) if column.values == values]
            bar = figure.add_subplot(spec[count, places[0] : places[-1] + 1])
            used = np.concatenate([columns[i].pictures[:count] for i in places])
            low, high = scales[values]["vmin"], scales[values]["vmax"]
            ends = max(low, float(used.min())), min(high, float(used.max()))
            _colorbar(
                figure, shown[values], bar, values, ends if ends[0] < ends[1] else (low, high)
            )
    return figure


def draw_classes(runs: Sequence[Path], options: FigureOptions | None = None) -> Figure:
    """Draw the mean of M per class, before adaptation and for each system; D's mean below, if any.

    Bars are means over seeds. Classes that are in no image are marked "absent".
    """
    results = read_alike(runs, "maps", ("target", "options", "before"))
    with_d = [r for r in results if "d_after" in r.about["means"]]
    with paper_style():
        figure = new_figure(PAGE, 3.9 if with_d else 2.2)
        grid = figure.subplots(2 if with_d else 1, 1, sharex=True, squeeze=False)[:, 0]
        _bars(grid[0], results, "m", "mean of M")
        if with_d:
            _bars(grid[1], with_d, "d", "mean of D's\nprobability of target", 0.5)
        handles, labels = grid[0].get_legend_handles_labels()
        legend_above(figure, handles, labels)
    return figure


def _columns(results: Sequence[Result]) -> list[Column]:
    first, before = results[0], _before(results[0])
    m, d = M_VALUES, D_VALUES
    columns = [
        Column("target image", first.arrays["image"]),
        Column(f"M, {before}", first.arrays["m_before"], m),
    ]
    columns += [Column(f"M, {system_label(r.name)}", r.arrays["m_after"], m) for r in results]
    with_d = [r for r in results if "d_after" in r.arrays]
    for r in with_d:
        if len(with_d) == 1:
            columns.append(Column(f"D, {before}", r.arrays["d_before"], d))
        columns.append(Column(f"D, {system_label(r.name)}", r.arrays["d_after"], d))
    return columns


def _before(result: Result) -> str:
    before = str(result.about["before"])
    return "before training" if before == "step 0" else system_label(before)


def _before_color(result: Result) -> str:
    before = str(result.about["before"])
    return system_colors([before])[before] if before != "step 0" else SYSTEM_COLORS["pretrained"]


def _scale(values: str, pictures: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Return colour map and range: of M from 0, of D symmetric about 0.5."""
    found = np.concatenate(pictures).astype(np.float32)
    if values == M_VALUES:
        return {"cmap": M_COLORS, "vmin": 0, "vmax": max(0.05, float(np.percentile(found, 99)))}
    reach = max(0.02, float(np.percentile(np.abs(found - 0.5), 99)))
    return {"cmap": D_COLORS, "vmin": 0.5 - reach, "vmax": 0.5 + reach}


def _colorbar(
    figure: Figure, shown: Any, place: Axes, values: str, ends: tuple[float, float]
) -> None:
    """Draw a colour bar of the part of the scale that occurs."""
    bar = figure.colorbar(shown, cax=place, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.set_label(values, fontsize=7)
    bar.ax.tick_params(labelsize=6, length=2)
    bar.ax.locator_params(nbins=5)
    bar.ax.set_xlim(*ends)


def _bars(
    axes: Axes, results: Sequence[Result], which: str, title: str, origin: float = 0.0
) -> None:
    """Draw a group of bars per class, up and down from ``origin``: before, then the systems."""
    systems = by_system([r.name for r in results])
    colors = system_colors(systems)
    after = {
        name: np.stack([matrix(results[i].about["means"][f"{which}_after"]) for i in indices])
        for name, indices in systems.items()
    }
    before = matrix(results[0].about["means"][f"{which}_before"])
    # D's mean before adaptation is drawn only for a single D: each D gives another one
    with_before = which == "m" or len(systems) == 1
    width = 0.8 / (len(after) + with_before)
    places = np.arange(len(before))
    if with_before:
        axes.bar(
            places - 0.4 + width / 2,
            before - origin,
            width,
            bottom=origin,
            color=_before_color(results[0]),
            label=_before(results[0]),
        )
    for number, (name, values) in enumerate(after.items(), start=int(with_before)):
        axes.bar(
            places - 0.4 + width * (number + 0.5),
            values.mean(axis=0) - origin,
            width,
            bottom=origin,
            color=colors[name],
            label=seeds_label(name, len(values)),
        )
    absent = np.flatnonzero(np.isnan(before)).tolist()
    class_axis(axes, results[0].classes.names, absent, origin)
    if origin:
        axes.axhline(origin, color=FAINT, linewidth=0.6)
        axes.spines["bottom"].set_visible(False)
    axes.set_ylabel(title)
    grid_lines(axes)
