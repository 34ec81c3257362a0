"""Label-free scores against the true mIoU of the same checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clan.analysis.choice import LEAST_STEPS, rank_correlation
from clan.analysis.label_free import HIGHER_IS_BETTER, TITLES
from clan.analysis.results import Result, matrix, read_alike
from clan.core.errors import RunError
from clan.figures.kinds import FigureOptions
from clan.figures.style import (
    PAGE,
    by_system,
    grid_lines,
    new_figure,
    paper_style,
    system_colors,
    system_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_scores(runs: Sequence[Path], options: FigureOptions | None = None) -> Figure:
    """Draw a panel per score, a point per checkpoint, larger the later it is.

    Each panel's title has the rank correlation over all points. The axis of scores for which lower
    is better is reversed, so that a useful score rises to the right in every panel.

    Raises:
        RunError: runs without this analysis, with different settings, or without true mIoUs.
    """
    results = read_alike(runs, "label-free")
    for result in results:
        miou = result.about["miou"]
        if len(miou) < LEAST_STEPS or None in miou:
            raise RunError(
                f"{result.run} has scores of {len(miou)} checkpoints, and true mIoUs of "
                f"{sum(value is not None for value in miou)}; the figure needs {LEAST_STEPS} of "
                "both (clan evaluate --label-free --snapshots, with labelled data.validation)"
            )
    kinds = [k for k in TITLES if all(None not in r.about["scores"][k] for r in results)]
    systems = by_system([r.name for r in results])
    colors = system_colors(systems)
    with paper_style():
        figure = new_figure(PAGE, 2.1)
        grid = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axes, kind in zip(grid, kinds, strict=True):
            _panel(axes, kind, results, colors)
        grid[0].set_ylabel("true target mIoU in %")
        system_legend(figure, systems, "o")
    return figure


def _panel(axes: Axes, kind: str, results: Sequence[Result], colors: dict[str, str]) -> None:
    scores = [matrix(r.about["scores"][kind]) for r in results]
    mious = [100 * matrix(r.about["miou"]) for r in results]
    for result, x, y in zip(results, scores, mious, strict=True):
        sizes = np.linspace(5, 22, len(x))
        axes.plot(x, y, color=colors[result.name], linewidth=0.5, alpha=0.5)
        axes.scatter(x, y, s=sizes, color=colors[result.name], linewidths=0, alpha=0.85)
    sign = 1 if HIGHER_IS_BETTER[kind] else -1
    correlation = sign * rank_correlation(
        np.concatenate(scores).tolist(), np.concatenate(mious).tolist()
    )
    shown = "-" if math.isnan(correlation) else f"{correlation:+.2f}"
    axes.set_title(f"{TITLES[kind]}\nrank correlation {shown}", fontsize=7)
    axes.set_xlabel("higher is better" if sign > 0 else "lower is better", fontsize=7)
    if sign < 0:
        axes.invert_xaxis()
    axes.tick_params(axis="x", labelsize=6)
    grid_lines(axes)
