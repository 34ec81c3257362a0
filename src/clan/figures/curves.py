"""Learning curves: target mIoU, losses and D's accuracy over the steps; mean and range of seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clan.core.errors import RunError
from clan.figures.kinds import FigureOptions
from clan.figures.series import Record, logged, over_seeds, scalar, smoothed
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
"""Most points of a line; more logged values are averaged, which reduces noise."""


@dataclass(frozen=True)
class Panel:
    """One part of the figure: its title and its scalars, of which the second is dashed."""

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

Lines = Mapping[tuple[str, str], Sequence[Mapping[int, float]]]
"""(system, scalar) -> step -> value, for each seed."""


def draw_curves(runs: Sequence[Path], options: FigureOptions | None = None) -> Figure:
    """Draw the logged values of runs; panels without a value in any run are left out.

    Lines are means over the seeds of a system; bands span the lowest to the highest seed.

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
            (system, key): [_seed(logs[i], key, panel.factor) for i in indices]
            for system, indices in systems.items()
            for key in panel.keys
        }
        lines = {k: [seed for seed in each if seed] for k, each in lines.items()}
        if any(lines.values()):
            drawn.append((panel, lines))
    if not drawn:
        raise RunError(f"{runs[0]}: metrics.jsonl has no value to draw yet")
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


def _seed(records: Sequence[Record], key: str, factor: float) -> dict[int, float]:
    """Return step -> value of one run; logged values are smoothed, evaluations are not."""
    table = logged(records, scalar(key, factor))
    series = over_seeds([table])
    if key == "miou" or series is None:
        return table
    steps, mean, _, _ = smoothed(series, POINTS)
    return dict(zip(steps.astype(int).tolist(), mean.tolist(), strict=True))


def _panel(axes: Axes, panel: Panel, lines: Lines, colors: Mapping[str, str]) -> None:
    axes.set_title(panel.title)
    for (system, key), seeds in lines.items():
        series = over_seeds(seeds)
        if series is None:
            continue
        x, mean, low, high = series
        dashed = len(panel.keys) > 1 and key == panel.keys[1]
        marker = "o" if len(x) <= 15 else ""
        style = "--" if dashed else "-"
        axes.plot(x, mean, style, color=colors[system], marker=marker, markersize=2.5)
        if len(seeds) > 1:
            axes.fill_between(x, low, high, color=colors[system], alpha=0.15, linewidth=0)
    # the accuracy panel has no room for a legend; the others say which line is dashed
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
