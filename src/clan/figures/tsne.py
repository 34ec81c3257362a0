"""t-SNE plots side by side (Figure 3 e to g): colours are classes, markers are domains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clan.analysis.results import Result, read_alike
from clan.core.errors import RunError
from clan.figures.kinds import FigureOptions
from clan.figures.style import (
    INK,
    PAGE,
    RULE,
    legend_above,
    new_figure,
    paper_style,
    system_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASS_COLORS = ("#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#999933")
"""Blue, orange, red and green as in the paper, then others that differ clearly."""

DOMAINS = ("source", "target")


def draw_tsne(runs: Sequence[Path], options: FigureOptions | None = None) -> Figure:
    """Draw a panel per run: source pixels as circles, target pixels as crosses.

    Raises:
        RunError: runs without this analysis, with different images or options, or more classes than
            colours.
    """
    results = read_alike(runs, "tsne")
    classes = [str(name) for name in results[0].about["shown"]]
    if len(classes) > len(CLASS_COLORS):
        raise RunError(
            f"{len(classes)} classes, and the figure has {len(CLASS_COLORS)} colours; analyse "
            "fewer classes (clan analyse tsne --classes)"
        )
    several = len({result.seed for result in results}) > 1
    columns = min(3, len(results))
    rows = -(-len(results) // columns)
    with paper_style():
        side = min(PAGE / columns, 2.6)
        figure = new_figure(side * columns, side * rows + 0.45)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(results) :]:
            axes.set_visible(False)
        for axes, result in zip(grid.flat, results, strict=False):
            _points(axes, result)
            seed = f", seed {result.seed}" if several else ""
            axes.set_title(f"{system_label(result.name)}{seed}")
        _legend(figure, classes, results)
    return figure


def _points(axes: Axes, result: Result) -> None:
    xy, label, domain = (result.arrays[name] for name in ("xy", "label", "domain"))
    for which, mark in ((0, "o"), (1, "x")):
        for place, color in enumerate(CLASS_COLORS):
            mine = (label == place) & (domain == which)
            if not mine.any():
                continue
            axes.scatter(
                xy[mine, 0],
                xy[mine, 1],
                s=7,
                marker=mark,
                linewidths=0.6,
                alpha=0.8,
                # circles are hollow; a cross has no face
                facecolors="none" if which == 0 else color,
                edgecolors=color if which == 0 else None,
            )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(RULE)


def _legend(figure: Figure, classes: Sequence[str], results: Sequence[Result]) -> None:
    from matplotlib.lines import Line2D

    gone = {name for result in results for name in result.about["absent"]}
    handles = [
        Line2D([], [], linestyle="", marker="s", color=color if name not in gone else RULE)
        for name, color in zip(classes, CLASS_COLORS, strict=False)
    ]
    labels = [f"{name} (absent)" if name in gone else name for name in classes]
    handles += [
        Line2D([], [], linestyle="", marker="o", color=INK, markerfacecolor="none"),
        Line2D([], [], linestyle="", marker="x", color=INK),
    ]
    legend_above(figure, handles, [*labels, *DOMAINS])
