"""Charts as inline SVG with the page's colours, which follow its light or dark scheme."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from clan.figures import style
from clan.reporting.curves import Chart

BAR = 0.24
"""Height of a bar with its gap, in inches."""
SLOTS = 6
"""Number of colours for systems; further systems reuse them with other dashes."""
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.6), (1.4, 1.4), (6, 1.6, 1.4, 1.6))
KNOWN = ("tan", "clan", "oracle", "adabn", "mcd")
"""Systems with a fixed colour, by slot."""
NEUTRAL = SLOTS - 1
"""The slot of the baseline: grey, so that only adapted systems have a colour."""

# placeholder colours in matplotlib's output; each is replaced by a CSS variable of the page
INK, FAINT, GRID = "#000001", "#000002", "#000003"
_VARIABLES = {INK: "--ink", FAINT: "--faint", GRID: "--rule"}
_VARIABLES |= {f"#0000{16 + slot:02x}": f"--s{slot}" for slot in range(SLOTS)}
# the colours of figures for papers, which are drawn for a white page
_VARIABLES |= {style.INK: "--ink", style.FAINT: "--faint", style.RULE: "--rule"}
_VARIABLES |= {style.SYSTEM_COLORS["pretrained"]: "--before"}
_VARIABLES |= {style.PAPER: "--paper", style.SYSTEM_COLORS["source_only"]: f"--s{NEUTRAL}"}
_VARIABLES |= {style.SYSTEM_COLORS[name]: f"--s{slot}" for slot, name in enumerate(KNOWN)}

_STYLE: Any = {
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 8.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
}


def looks(names: list[str], baseline: str | None) -> dict[str, tuple[int, int]]:
    """Return (colour slot, dash) for each system.

    Known systems have the same colour in every report; the baseline is grey.
    """
    own = {name: slot for slot, name in enumerate(KNOWN) if name in names and name != baseline}
    free = [slot for slot in range(NEUTRAL) if slot not in own.values()] or [*range(NEUTRAL)]
    found = {}
    for name in names:
        if name == baseline:
            found[name] = (NEUTRAL, 1)
        elif name in own:
            found[name] = (own[name], own[name] % len(DASHES))
        else:
            round_, place = divmod(sum(n not in own and n != baseline for n in found), len(free))
            slot = free[place]
            found[name] = (slot, (slot + round_) % len(DASHES))
    return found


def draw(
    chart: Chart,
    look: Mapping[str, tuple[int, int]],
    key: str,
    size: tuple[float, float] = (3.6, 2.1),
) -> Markup:
    """Return the chart as an SVG element, as wide as its container.

    Args:
        chart: what to draw.
        look: colour slot and dash of each system.
        key: unique on the page; ids inside the SVG follow from it.
        size: width and height, in inches of 72 units; the height of bars follows from their number.
    """
    if chart.bars:
        size = (size[0], BAR * (len(chart.curves) + 1.5))
    with rc_context({**_STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        (_bars if chart.bars else _plot)(figure.add_subplot(), chart, look)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return inline(text.getvalue(), _spoken(chart))


def dash_array(dash: int) -> str:
    """Return the ``stroke-dasharray`` of a dash at a legend's size."""
    return " ".join(f"{part * 1.8:g}" for part in DASHES[dash]) or "none"


def _plot(axes: Axes, chart: Chart, look: Mapping[str, tuple[int, int]]) -> None:
    for curve in chart.curves:
        slot, dash = look[curve.system]
        color = _color(slot)
        if (curve.high > curve.low).any():
            axes.fill_between(
                curve.steps, curve.low, curve.high, color=color, alpha=0.14, linewidth=0
            )
        (line,) = axes.plot(curve.steps, curve.mean, color=color, linewidth=1.6)
        if DASHES[dash]:
            line.set_dashes(DASHES[dash])
        if chart.dots:
            axes.plot(curve.steps, curve.mean, "o", color=color, markersize=3.2)
    if chart.reference is not None:
        axes.axhline(chart.reference, color=FAINT, linewidth=0.8, dashes=(1, 2))
    axes.set_xlim(0, 1.02 * max(curve.steps[-1] for curve in chart.curves))
    low, high = chart.bounds
    axes.set_ylim(bottom=low, top=high if high is None else high * 1.02)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    # 20k for 20000
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _thousands(value)))


def _bars(axes: Axes, chart: Chart, look: Mapping[str, tuple[int, int]]) -> None:
    """Draw a bar per system, the first on top, with a line from the lowest to the highest seed."""
    for place, curve in enumerate(chart.curves):
        value, low, high = float(curve.mean[-1]), float(curve.low[-1]), float(curve.high[-1])
        axes.barh(place, value, 0.66, color=_color(look[curve.system][0]))
        if high > low:
            axes.plot([low, high], [place, place], color=INK, linewidth=1)
        axes.annotate(
            chart.form.format(value),
            (max(value, high), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(chart.curves)), [curve.system for curve in chart.curves])
    axes.set_ylim(len(chart.curves) - 0.5, -0.5)
    axes.set_xlim(0, 1.15 * max(float(curve.high[-1]) for curve in chart.curves) or 1.0)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])


def _color(slot: int) -> str:
    """Return the placeholder of a system's colour, which `inline` replaces."""
    return f"#0000{16 + slot:02x}"


def _thousands(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:g}"


def _spoken(chart: Chart) -> str:
    """Return a text alternative for screen readers."""
    if chart.bars:
        values = (f"{c.system} {chart.form.format(c.mean[-1])}" for c in chart.curves)
        return f"{chart.title}: {', '.join(values)}"
    ends = ", ".join(
        f"{curve.system} from {chart.form.format(curve.mean[0])} to "
        f"{chart.form.format(curve.mean[-1])} at step {curve.steps[-1]:.0f}"
        for curve in chart.curves
    )
    return f"{chart.title} over steps: {ends}"


def inline(svg: str, label: str) -> Markup:
    """Turn matplotlib's SVG into an element with the page's colours.

    Its style sheet is removed, as it would apply to the whole page; so are its group names, which
    repeat in other figures, and its metadata, which contain web addresses.

    Args:
        svg: the file's text, written by matplotlib.
        label: text alternative for screen readers.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"(?<=: )#[0-9a-f]{6}\b", _variable, svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None, "matplotlib writes one"
    head = Markup('<svg role="img" aria-label="{}" ').format(label) + Markup(box[0])
    body = re.sub(r"\n\s*", " ", svg[svg.index(">") + 1 :])
    # safe: matplotlib escapes its text, and the label is escaped above
    return head + Markup(">" + body)


def _variable(match: re.Match[str]) -> str:
    name = _VARIABLES.get(match[0])
    return match[0] if name is None else f"var({name})"
