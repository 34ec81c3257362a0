"""State of an adversary over a training: the curves that docs/reading-the-curves.md explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clan.core.errors import RunError
from clan.figures.kinds import FigureOptions
from clan.figures.series import logged, scalar
from clan.figures.style import (
    FAINT,
    PAGE,
    RULE,
    grid_lines,
    legend_above,
    new_figure,
    paper_style,
    system_colors,
    system_label,
)
from clan.runs.folder import RunFolder
from clan.runs.health import WINS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = Mapping[str, Any]
DASHES = ("-", "--")
"""Line styles of source and target in a panel that shows both."""


def draw_health(runs: Sequence[Path], options: FigureOptions | None = None) -> Figure:
    """Draw D's accuracy and mean logits per domain, its loss, and its share of G's gradient.

    Runs of one name have one colour. Solid lines are the source's, dashed ones the target's.

    Args:
        runs: run folders, finished or not; those without an adversary are left out.

    Raises:
        RunError: none of the runs has an adversary, or no run at a path.
    """
    lines: list[tuple[str, list[Line]]] = []
    for run in map(RunFolder.open, runs):
        logged: list[Line] = [line for line in run.read_metrics() if "d_accuracy" in line]
        if logged:
            lines.append((run.config.name, logged))
    if not lines:
        raise RunError("none of the runs logs an adversary (d_accuracy): nothing to draw")
    colors = system_colors(name for name, _ in lines)
    with paper_style():
        figure = new_figure(PAGE, 3.6)
        panels = np.asarray(figure.subplots(2, 2, sharex=True)).ravel()
        handles: dict[str, Any] = {}
        for name, found in lines:
            drawn = _draw_run(panels, found, colors[name])
            handles.setdefault(system_label(name), drawn)
        _finish(panels)
        legend_above(figure, list(handles.values()), list(handles))
    return figure


def _draw_run(panels: Any, found: Sequence[Line], color: str) -> Any:
    accuracy, logits, loss, share = panels
    for domain, dash in zip(("source", "target"), DASHES, strict=True):
        _curve(accuracy, found, f"d_accuracy_{domain}", color, dash)
        _curve(logits, found, f"d_logit_{domain}", color, dash)
    means = [
        {"step": line["step"], "loss": (line["loss_d_source"] + line["loss_d_target"]) / 2}
        for line in found
        if "loss_d_source" in line and "loss_d_target" in line
    ]
    _curve(share, found, "adv_share", color, "-")
    return _curve(loss, means, "loss", color, "-")


def _curve(axes: Axes, found: Sequence[Line], name: str, color: str, dash: str) -> Any:
    values = logged(found, scalar(name))
    return axes.plot(list(values), list(values.values()), dash, color=color, lw=1)[0]


def _finish(panels: Any) -> None:
    """Label the panels, and mark chance level and problems."""
    accuracy, logits, loss, share = panels
    accuracy.set_ylabel("D accuracy")
    accuracy.set_ylim(-0.03, 1.03)
    accuracy.axhspan(WINS, 1.03, color=RULE, lw=0)
    accuracy.axhline(0.5, color=FAINT, lw=0.6, ls=":")
    for domain, dash in zip(("source", "target"), DASHES, strict=True):
        logits.plot([], [], dash, color=FAINT, lw=1, label=f"on the {domain}")
    logits.legend(loc="best")
    logits.set_ylabel("D's mean logit")
    logits.axhline(0, color=FAINT, lw=0.6, ls=":")
    loss.set_ylabel("D's loss")
    loss.axhline(np.log(2), color=FAINT, lw=0.6, ls=":")
    share.set_ylabel("adversary's share")
    share.set_ylim(bottom=0)
    for axes in panels:
        grid_lines(axes)
    for axes in (loss, share):
        axes.set_xlabel("step")
