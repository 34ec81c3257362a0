"""Learning curves: target mIoU, losses and D's health over the steps, mean and range over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import RunError
from clan.figures.kinds import FigureOptions
from clan.figures.style import (
    COLUMN,
    FAINT,
    PAGE,
    by_system,
    grid_lines,
    new_figure,
    paper_style,
    system_colors,
    system_legend,
)
from clan.runs.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 60
"""Logged values of a line are averaged into so many at most: what is noise is not drawn."""


@dataclass(frozen=True)
class Panel:
    """One part of the figure: its title and the scalars in it, the second one dashed."""

    title: str
    keys: tuple[str, ...]
    factor: float = 1.0
    dashed: str = ""


PANELS = (
    Panel("target mIoU in %", ("miou",), 100.0),
    Panel("segmentation loss", ("loss_seg",)),
    Panel("adversarial loss of G", ("loss_adv",)),
    Panel("loss of D", ("loss_d_source", "loss_d_target"), dashed="on target"),
    Panel("accuracy of D", ("d_accuracy_source", "d_accuracy_target"), dashed="on target"),
    Panel("alignment map, mean of M", ("alignment",)),
)

Line = tuple[NDArray[np.float64], NDArray[np.float64]]


def draw_curves(runs: Sequence[Path], options: FigureOptions | None = None) -> Figure:
    """Draw what the runs logged; panels without a value in any run are left out.

    Lines are means over the seeds of a system, bands reach from the lowest seed to the highest.

    Raises:
        RunError: nothing was logged, or ``metrics.jsonl`` is damaged.
    """
    folders = [RunFolder.open(run) for run in runs]
    names = [folder.config.name for folder in folders]
    logs = [list(folder.read_metrics()) for folder in folders]
    systems = by_system(names)
    colors = system_colors(names)
    drawn = []
    for panel in PANELS:
        lines = {
            (system, key): [_series(logs[i], key, panel.factor) for i in indices]
            for system, indices in systems.items()
            for key in panel.keys
        }
        lines = {k: [s for s in each if len(s[0])] for k, each in lines.items()}
        if any(lines.values()):
            drawn.append((panel, lines))
    if not drawn:
        raise RunError(f"{runs[0]}: metrics.jsonl holds nothing to draw yet")
    with paper_style():
        columns = min(3, len(drawn))
        rows = -(-len(drawn) // columns)
        width = PAGE if columns == 3 else COLUMN * columns
        figure = new_figure(width, 0.35 + 1.65 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(drawn) :]:
            axes.set_visible(False)
        for axes, (panel, lines) in zip(grid.flat, drawn, strict=False):
            _panel(axes, panel, lines, colors)
        for axes in grid[-1]:
            axes.set_xlabel("step")
        system_legend(figure, systems)
    return figure


def average_seeds(lines: Sequence[Line]) -> tuple[NDArray[np.float64], ...]:
    """Return steps, mean, lowest and highest over the seeds, at the steps that all of them have."""
    common = sorted(set.intersection(*(set(x.tolist()) for x, _ in lines)))
    values = np.array(
        [[dict(zip(x.tolist(), y.tolist(), strict=True))[s] for s in common] for x, y in lines]
    )
    if not common:
        return (np.empty(0),) * 4
    return np.array(common), values.mean(0), values.min(0), values.max(0)


def thinned(x: NDArray[np.float64], y: NDArray[np.float64], points: int = POINTS) -> Line:
    """Average neighbouring values until at most ``points`` are left; x is that of the last one."""
    size = -(-len(x) // points)
    if size <= 1:
        return x, y
    ends = range(0, len(x), size)
    return (
        np.array([x[i : i + size][-1] for i in ends]),
        np.array([y[i : i + size].mean() for i in ends]),
    )


def _series(records: Sequence[dict[str, float]], key: str, factor: float) -> Line:
    found = [(r["step"], r[key]) for r in records if r.get(key) is not None]
    x = np.array([step for step, _ in found], np.float64)
    y = factor * np.array([value for _, value in found], np.float64)
    # points of few evaluations stand for themselves
    return (x, y) if key == "miou" else thinned(x, y)


def _panel(
    axes: Axes, panel: Panel, lines: dict[tuple[str, str], list[Line]], colors: dict[str, str]
) -> None:
    axes.set_title(panel.title)
    for (system, key), seeds in lines.items():
        if not seeds:
            continue
        x, mean, low, high = average_seeds(seeds)
        dashed = len(panel.keys) > 1 and key == panel.keys[1]
        marker = "o" if len(x) <= 15 else ""
        style = "--" if dashed else "-"
        axes.plot(x, mean, style, color=colors[system], marker=marker, markersize=2.5)
        if len(seeds) > 1:
            axes.fill_between(x, low, high, color=colors[system], alpha=0.15, linewidth=0)
    # once is enough, where it covers no line
    if panel.dashed and not panel.title.startswith("accuracy"):
        axes.plot([], [], "-", color=FAINT, label="on source")
        axes.plot([], [], "--", color=FAINT, label=panel.dashed)
        axes.legend(loc="best")
    if panel.title.startswith("accuracy"):
        axes.set_ylim(-0.03, 1.03)
        axes.axhline(0.5, color=FAINT, linewidth=0.6, linestyle=":")
    elif panel.title.startswith(("alignment", "target")):
        axes.set_ylim(bottom=0)
    axes.margins(x=0.02)
    grid_lines(axes)
