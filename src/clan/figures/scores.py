"""Scores of compared systems: a line per system with a circle per seed and a bar at the mean."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING

from clan.figures.style import (
    FAINT,
    PAGE,
    PAPER,
    grid_lines,
    legend_above,
    new_figure,
    paper_style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE = 0.19
"""Height of a system's line, in inches."""
ORACLE = "oracle"
KINDS = {
    "AT": ("#0072b2", "adversarial"),
    "ST": ("#cc79a7", "self-training"),
    "AT+ST": ("#d55e00", "adversarial + self-training"),
    "": ("#6c757d", "neither"),
    ORACLE: ("#009e73", "target labels"),
}
"""Colour and label of each family of methods; single systems would need too many colours."""
OTHER = "#999933"
"""Colour of other families."""


def draw_scores(
    scored: Mapping[str, Mapping[int, float]],
    families: Mapping[str, str],
    baseline: str | None = None,
    oracle: str | None = None,
) -> Figure:
    """Draw each seed's mIoU; systems are sorted by their means, the best on top.

    Args:
        scored: mIoU in percent of each system by seed, at least one.
        families: family of each system; those in `KINDS` have a label.
        baseline: the system whose mean is drawn as a vertical line.
        oracle: the system that is trained on target labels.
    """
    from matplotlib.lines import Line2D

    means = {name: statistics.fmean(by_seed.values()) for name, by_seed in scored.items()}
    ordered = sorted(means, key=lambda name: means[name])
    kinds = {name: ORACLE if name == oracle else families[name] for name in ordered}
    with paper_style():
        figure = new_figure(PAGE, LINE * (len(ordered) + 4))
        axes = figure.add_subplot()
        if baseline in means:
            axes.axvline(means[baseline], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        for y, name in enumerate(ordered):
            color, values = _look(kinds[name])[0], list(scored[name].values())
            axes.plot([min(values), max(values)], [y, y], color=color, linewidth=0.8)
            # not filled, so that overlapping seeds stay visible
            axes.plot(values, [y] * len(values), "o", mfc=PAPER, mec=color, mew=0.8, ms=4)
            axes.plot([means[name]] * 2, [y - 0.36, y + 0.36], color=color, linewidth=2)
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            axes.annotate(
                f"{means[name]:.1f}{spread}",
                (1, y),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
        axes.set_yticks(range(len(ordered)), ordered)
        for label, name in zip(axes.get_yticklabels(), ordered, strict=True):
            label.set_fontweight("bold" if name == baseline else "normal")
        axes.set_ylim(-0.7, len(ordered) - 0.3)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("mIoU in percent: seeds (circles), mean (bar)")
        grid_lines(axes, "x")
        shown = sorted(set(kinds.values()), key=lambda kind: (*KINDS, kind).index(kind))
        handles = [Line2D([], [], color=_look(kind)[0], linewidth=2) for kind in shown]
        labels = [_look(kind)[1] for kind in shown]
        if baseline in means:
            handles.append(Line2D([], [], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3))))
            labels.append(f"mean of {baseline}")
        legend_above(figure, handles, labels)
    return figure


def _look(kind: str) -> tuple[str, str]:
    return KINDS.get(kind, (OTHER, kind))
