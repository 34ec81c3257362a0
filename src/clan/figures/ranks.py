"""Critical-difference diagram (Demsar 2006): mean ranks; bars join insignificant differences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clan.comparison.ranks import LEVEL, RankTest, groups
from clan.figures.style import FAINT, INK, PAGE, RULE, new_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE = 0.2
"""Height of a name, in inches."""


def draw_ranks(test: RankTest) -> Figure:
    """Draw the critical-difference diagram of a test, the best on the left."""
    ordered = sorted(zip(test.mean_ranks, test.names, strict=True))
    bars = groups(test.mean_ranks, test.critical)
    half = math.ceil(len(ordered) / 2)
    height = LINE * (half + 0.5 * len(bars) + 3.2)
    with paper_style():
        figure = new_figure(PAGE, height)
        axes = figure.add_subplot()
        count = len(ordered)
        axes.set_xlim(1 - 0.32 * (count - 1), count + 0.32 * (count - 1))
        axes.set_ylim(-(half + 0.5 * len(bars) + 1.0), 2.0)
        axes.axis("off")
        axes.plot([1, count], [0, 0], color=INK, linewidth=0.8)
        for tick in range(1, count + 1):
            axes.plot([tick, tick], [0, 0.18], color=INK, linewidth=0.8)
            axes.text(tick, 0.3, str(tick), ha="center", va="bottom", color=FAINT, fontsize=7)
        shown = min(test.critical, count - 1)
        axes.plot([1, 1 + shown], [1.35, 1.35], color=FAINT, linewidth=1.2)
        told = f"critical difference at {100 * LEVEL:.0f} %: {test.critical:.1f}"
        axes.text(1, 1.5, told, ha="left", va="bottom", color=FAINT, fontsize=7)
        for number, (first, last) in enumerate(bars):
            y = -0.45 - 0.5 * number
            axes.plot([first - 0.03, last + 0.03], [y, y], color=FAINT, linewidth=3)
        below = 0.5 * len(bars)
        for place, (rank, name) in enumerate(ordered):
            left = place < half
            y = -(below + 0.8 + (place if left else count - 1 - place))
            edge = 1 - 0.02 * count if left else count + 0.02 * count
            axes.plot([rank, rank, edge], [0, y, y], color=RULE, linewidth=0.7, zorder=0)
            bold = "bold" if name == test.control else "normal"
            axes.text(
                edge - 0.05 if left else edge + 0.05,
                y,
                f"{name}  {rank:.1f}" if left else f"{rank:.1f}  {name}",
                ha="right" if left else "left",
                va="center",
                fontweight=bold,
            )
    return figure
