"""The figures' common style: sizes, fonts, one fixed colour per system, and how they are saved.

Make a figure by `new_figure` inside `paper_style`, and write it by `save_figure` or `svg_text`.
pyplot is not used, as it keeps figures and settings between calls.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clan.core.errors import RunError, nearest
from clan.core.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.35, 6.9
"""Width of a column and of a page of two columns, in inches."""

SUFFIXES = (".png", ".svg", ".pdf")

INK, FAINT, RULE, PAPER = "#212529", "#5c636a", "#dee2e6", "#ffffff"
"""Colours of text and axes, secondary text, grid lines, background."""

SYSTEM_COLORS = {
    "pretrained": "#b5bcc3",
    "source_only": "#6c757d",
    "adabn": "#e69f00",
    "tan": "#0072b2",
    "clan": "#d55e00",
    "oracle": "#009e73",
    "mcd": "#cc79a7",
}
"""Fixed colours of known systems, after Okabe and Ito, distinguishable by the colour-blind; systems
without adaptation are grey."""

OTHER_COLORS = ("#56b4e9", "#aa4499", "#999933", "#332288", "#882255", "#44aa99")
"""Colours of other systems, by alphabetical order of their names."""

_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlecolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "patch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "figure.dpi": 150,
    "image.interpolation": "nearest",
    # fonts are embedded, so that files look the same on every machine
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    # ids in an SVG depend on its content alone: the same data give the same file
    "svg.hashsalt": "clan",
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Set fonts, lines and colours within the block; matplotlib's settings are restored after."""
    # imported here, as it is slow to import
    from matplotlib import rc_context

    with rc_context(_SETTINGS):
        yield


def new_figure(width: float = COLUMN, height: float = 2.3) -> Figure:
    """Return an empty figure of ``width`` x ``height`` inches with automatic layout.

    Call it inside `paper_style`, or text gets matplotlib's default fonts.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0.04, hspace=0.05)
    return figure


def system_colors(names: Iterable[str]) -> dict[str, str]:
    """Return a colour per system; known systems have the same colour in every figure.

    Args:
        names: of systems. Case does not matter, and blanks and hyphens count as underscores:
            ``Source only`` is ``source_only``.
    """
    distinct = dict.fromkeys(names)
    others = sorted(name for name in distinct if _key(name) not in SYSTEM_COLORS)
    extra = dict(zip(others, islice(cycle(OTHER_COLORS), len(others)), strict=True))
    return {name: SYSTEM_COLORS.get(_key(name)) or extra[name] for name in distinct}


def system_order(names: Iterable[str]) -> list[str]:
    """Return distinct names: known systems in the paper's order, then others, then the oracle."""
    known = {name: place for place, name in enumerate(SYSTEM_COLORS)}
    known["oracle"] = len(known) + 1
    distinct = list(dict.fromkeys(names))
    return sorted(distinct, key=lambda name: (known.get(_key(name), len(known)), name))


def by_system(names: Iterable[str]) -> dict[str, list[int]]:
    """Return the indices of the runs of each system, systems in the order of `system_order`."""
    listed = list(names)
    return {
        name: [index for index, each in enumerate(listed) if each == name]
        for name in system_order(listed)
    }


def system_label(name: str) -> str:
    """Return a system's name as figures print it: ``source only``, ``CLAN``."""
    key = _key(name)
    if key in ("tan", "clan", "mcd"):
        return key.upper()
    return {"source_only": "source only", "adabn": "AdaBN"}.get(key, name)


def grid_lines(axes: Axes, axis: str = "y") -> None:
    """Draw grid lines behind the data, at the ticks of one axis."""
    axes.grid(visible=True, axis=axis)  # type: ignore[arg-type]
    axes.tick_params(axis=axis, length=0)  # type: ignore[arg-type]
    axes.spines["left" if axis == "y" else "bottom"].set_visible(False)


def legend_above(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Place one legend above all axes of the figure."""
    columns = max(1, min(len(labels), int(figure.get_figwidth() / 0.85)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def system_legend(figure: Figure, systems: Mapping[str, Sequence[int]], marker: str = "") -> None:
    """Place a legend of the systems, with their numbers of seeds, above all axes."""
    from matplotlib.lines import Line2D

    colors = system_colors(systems)
    handles = [Line2D([], [], color=colors[name], marker=marker) for name in systems]
    legend_above(figure, handles, [seeds_label(name, len(s)) for name, s in systems.items()])


def seeds_label(name: str, seeds: int) -> str:
    """Return a system's label, with the number of seeds if there are several."""
    return f"{system_label(name)} ({seeds} seeds)" if seeds > 1 else system_label(name)


def class_axis(
    axes: Axes, names: Sequence[str], absent: Iterable[int], origin: float = 0.0
) -> None:
    """Write class names below groups of bars at 0, 1, ...; mark absent classes."""
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(names) - 0.4)
    for place in absent:
        # slightly above the line where bars start
        axes.annotate(
            "absent",
            (place, origin),
            xytext=(0, 2),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="bottom",
            color=FAINT,
            fontsize=6,
        )


def check_suffix(path: Path) -> None:
    """Refuse a suffix that `save_figure` cannot write, before anything is computed.

    Raises:
        RunError: another suffix than those of `SUFFIXES`.
    """
    if path.suffix.lower() not in SUFFIXES:
        found = path.suffix or "none"
        raise RunError(
            f"cannot draw {path}: unknown suffix {found!r}{nearest(path.suffix, SUFFIXES)}"
        )


def save_figure(figure: Figure, path: Path, dpi: int = 300) -> None:
    """Write a figure, whole or not at all; the same figure gives the same bytes.

    Args:
        figure: of `new_figure`.
        path: .png, .svg or .pdf; its folder is made.
        dpi: of a .png and of pictures inside the others.

    Raises:
        RunError: another suffix, or a path that cannot be written.
    """
    check_suffix(path)
    write_whole(path, _rendered(figure, path.suffix.lower()[1:], dpi))


def svg_text(figure: Figure, name: str, dpi: int = 150) -> str:
    """Return the figure as an ``<svg>`` element for a page.

    Args:
        figure: of `new_figure`.
        name: unique on the page, as ids inside the element depend on it.
        dpi: of images inside.
    """
    text = _rendered(figure, "svg", dpi, salt=name).decode()
    return text[text.index("<svg") :]


def _rendered(figure: Figure, kind: str, dpi: int, salt: str = "clan") -> bytes:
    from matplotlib import rc_context

    # without date and version, so that files differ only if figures do
    undated: dict[str, Any] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "ModDate": None},
    }[kind]
    buffer = io.BytesIO()
    with paper_style(), rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=undated)
    return buffer.getvalue()


def _key(name: str) -> str:
    return "".join("_" if c in " -" else c for c in name.lower())
