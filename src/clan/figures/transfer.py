"""Gains and losses of adaptation per class: IoU minus the baseline's (negative transfer)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clan.comparison.compare import compare
from clan.core.errors import RunError
from clan.figures.kinds import FigureOptions
from clan.figures.style import (
    INK,
    PAGE,
    class_axis,
    grid_lines,
    legend_above,
    new_figure,
    paper_style,
    system_colors,
    system_label,
    system_order,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_transfer(runs: Sequence[Path], options: FigureOptions) -> Figure:
    """Draw each class's change of IoU from the baseline to each adapted system, in points.

    Bars below zero are negative transfer. Means are over the seeds that both have; the oracle is
    left out. The baseline's IoU is printed below each class.

    Raises:
        RunError: no run of the baseline, no other run, or runs that were not scored alike.
    """
    comparison = compare(runs, baseline=options.baseline)
    rows = {row.name: row for row in comparison.rows}
    if options.baseline not in rows:
        raise RunError(
            f"no run is named {options.baseline!r} (the baseline); the runs are "
            f"{', '.join(rows)}. Name another with --baseline"
        )
    names = [n for n in system_order(rows) if n not in (options.baseline, comparison.oracle)]
    if not names:
        raise RunError(f"there is no run but {options.baseline}: name others to compare with it")
    base = rows[options.baseline].iou
    colors = system_colors(names)
    with paper_style():
        figure = new_figure(PAGE, 2.5)
        axes = figure.subplots()
        width = 0.8 / len(names)
        places = np.arange(len(base))
        for number, name in enumerate(names):
            change = rows[name].change
            assert change is not None, "there is a baseline"
            shift = -0.4 + width * (number + 0.5)
            axes.bar(places + shift, change, width, color=colors[name], label=system_label(name))
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlabel(f"class and its IoU in % with {system_label(options.baseline)}", fontsize=7)
        heads = [
            f"{name} {'-' if np.isnan(iou) else f'{iou:.0f}'}"
            for name, iou in zip(comparison.classes, base, strict=True)
        ]
        class_axis(axes, heads, np.flatnonzero(np.isnan(base)).tolist())
        axes.set_ylabel(f"IoU minus {system_label(options.baseline)}'s\nin points")
        grid_lines(axes)
        handles, labels = axes.get_legend_handles_labels()
        legend_above(figure, handles, labels)
    return figure
