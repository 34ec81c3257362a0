"""The parameter study: bars of mIoU with lines of D's loss, as in the paper's Figure 4 (right)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clan.core.errors import RunError
from clan.figures.kinds import FigureOptions
from clan.figures.style import (
    COLUMN,
    INK,
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
from clan.scoring.evaluation_file import read_evaluation
from clan.studies.sweep.grid import short_keys
from clan.studies.sweep.results import Measured, Table, measure, read_table, scored_text
from clan.studies.sweep.settings import Setting, Spread, settings, value_text, values_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_IN_A_ROW = 3


@dataclass(frozen=True)
class Reference:
    """Another system, such as TAN, drawn as a line across the panels for comparison."""

    name: str
    miou: Spread | None
    d_loss: Spread | None


@dataclass(frozen=True)
class Panel:
    """One parameter, the others being fixed.

    Attributes:
        key: the parameter.
        values: its values, in order.
        settings: the setting of each value.
        held: the others' values, by key.
    """

    key: str
    values: tuple[Any, ...]
    settings: tuple[Setting, ...]
    held: dict[str, Any]


def draw_folder(paths: Sequence[Path], options: FigureOptions | None = None) -> Figure:
    """Draw the study in a folder, the first path, beside the runs of another system, the others."""
    return draw_study(read_table(paths[0]), paths[1:])


def draw_study(table: Table, references: Sequence[Path] = ()) -> Figure:
    """Draw a study: a panel per parameter, and a heat map where two make a full grid.

    Bars are mIoU, lines D's loss near its end, both means over seeds with their standard
    deviation. In a panel the other parameters have the preset's values, or where no cell has
    those, the ones that most cells have; its title says which. The preset's own value is bold.

    Args:
        table: of `clan.studies.sweep.results.read_table`.
        references: finished runs of one other system, to be drawn as a dashed line.

    Raises:
        RunError: no cell is finished, or references of several systems or scored otherwise.
    """
    found = [setting for setting in settings(table) if setting.measured]
    if not found:
        raise RunError(f"no cell of the study of {table.preset} is finished: nothing to draw")
    reference = read_reference(table, references) if references else None
    panels = make_panels(table, found)
    full = is_full_grid(table, found)
    count = len(panels) + full
    columns = min(count, PANELS_IN_A_ROW)
    with paper_style():
        lines = math.ceil(count / columns)
        figure = new_figure(COLUMN if count == 1 else PAGE, 2.4 * lines)
        drawing = _Drawing(figure, table, reference, found)
        for index, panel in enumerate(panels):
            drawing.panel(figure.add_subplot(lines, columns, index + 1), panel)
        if full:
            _heat_map(figure.add_subplot(lines, columns, count), table, found)
        drawing.legend()
    return figure


def read_reference(table: Table, runs: Sequence[Path]) -> Reference:
    """Read the runs of the system to compare a study with, one per seed.

    Raises:
        RunError: no finished run, several systems, or scored otherwise than the study.
    """
    names: dict[str, None] = {}
    measured: list[Measured] = []
    for run in map(RunFolder.open, runs):
        config = run.config
        names[config.name] = None
        if not run.finished:
            raise RunError(f"{run.path} is not finished. Go on with: {run.resume_command}")
        measured.append(measure(run, config))
        if measured[-1].miou is not None and table.scored:
            scored = scored_text(read_evaluation(run.path))
            if scored != table.scored:
                raise RunError(
                    f"{run.path} was scored on {scored}, the study on {table.scored}: a line "
                    "beside its bars would compare what is not alike"
                )
    if len(names) > 1:
        raise RunError(f"the references are of several systems ({', '.join(names)}); give one")
    return Reference(
        next(iter(names)),
        Spread.of(m.miou for m in measured),
        Spread.of(m.d_loss for m in measured),
    )


def make_panels(table: Table, found: Sequence[Setting]) -> list[Panel]:
    """Return a panel per parameter with at least two values, or one of the only setting."""
    panels = []
    for index, key in enumerate(table.keys):
        others = [_without(setting.values, index) for setting in found]
        preset = _without([table.preset_values.get(name) for name in table.keys], index)
        usual = Counter(map(repr, others)).most_common(1)[0][0]
        held = repr(preset) if preset in others else usual
        chosen = [s for s, o in zip(found, others, strict=True) if repr(o) == held]
        names = _without(table.keys, index)
        values = dict(zip(names, _without(chosen[0].values, index), strict=True))
        panels.append(Panel(key, tuple(s.values[index] for s in chosen), tuple(chosen), values))
    return panels or [Panel("", ("",), tuple(found[:1]), {})]


def is_full_grid(table: Table, found: Sequence[Setting]) -> bool:
    """Tell whether two parameters vary and every combination of their values has a setting."""
    if len(table.keys) != 2:
        return False
    rows, columns = (len(values_of(found, index)) for index in (0, 1))
    return min(rows, columns) > 1 and rows * columns == len(found)


def _without(values: Sequence[Any], index: int) -> list[Any]:
    return [value for place, value in enumerate(values) if place != index]


class _Drawing:
    """Colours, limits and the legend that all panels share."""

    def __init__(
        self,
        figure: Figure,
        table: Table,
        reference: Reference | None,
        found: Sequence[Setting],
    ) -> None:
        self.figure, self.table, self.reference = figure, table, reference
        names = [table.system, *([reference.name] if reference else [])]
        self.colors = system_colors(names)
        self.short = short_keys(table.keys)
        mious = [setting.spread("miou") for setting in found]
        losses = [setting.spread("d_loss") for setting in found]
        if reference is not None:
            mious, losses = [*mious, reference.miou], [*losses, reference.d_loss]
        self.miou_limits = _limits(mious, 100)
        self.loss_limits = _limits(losses, 1)
        self._handles: dict[str, Any] = {}

    def panel(self, axes: Axes, panel: Panel) -> None:
        """Draw one parameter."""
        places = np.arange(len(panel.values), dtype=float)
        if self.miou_limits is not None:
            self._bars(axes, places, panel)
        if self.loss_limits is not None:
            self._line(axes, places, panel)
        axes.set_xticks(places, [value_text(value) for value in panel.values])
        for label, value in zip(axes.get_xticklabels(), panel.values, strict=True):
            if panel.key and value == self.table.preset_values.get(panel.key):
                label.set_fontweight("bold")
        axes.set_xlabel(self.short.get(panel.key, panel.key))
        axes.set_xlim(-0.6, len(places) - 0.4)
        held = [f"{self.short[key]} = {value_text(value)}" for key, value in panel.held.items()]
        axes.set_title(", ".join(held), fontsize=7)

    def legend(self) -> None:
        """Name bars, line and reference once, above all panels."""
        legend_above(self.figure, list(self._handles.values()), list(self._handles))

    def _bars(self, axes: Axes, places: Any, panel: Panel) -> None:
        assert self.miou_limits is not None
        bottom, top = self.miou_limits
        spreads = [setting.spread("miou") for setting in panel.settings]
        means = np.array([np.nan if s is None else 100 * s.mean for s in spreads])
        errors = [0.0 if s is None or s.std is None else 100 * s.std for s in spreads]
        color = self.colors[self.table.system]
        bars = axes.bar(places, means - bottom, 0.62, bottom=bottom, color=color, alpha=0.55)
        shown = [error > 0 for error in errors]
        axes.errorbar(
            places[shown], means[shown], np.array(errors)[shown], fmt="none", ecolor=color, lw=0.9
        )
        for place, mean in zip(places, means, strict=True):
            if not np.isnan(mean):
                # low in the bar, where neither its spread nor D's loss is
                height = bottom + 0.03 * (top - bottom)
                axes.text(place, height, f"{mean:.1f}", ha="center", fontsize=6)
        axes.set_ylim(bottom, top)
        axes.set_ylabel("mIoU, %" if bottom == 0 else f"mIoU, % (from {bottom:g})")
        grid_lines(axes)
        self._handles.setdefault(f"{system_label(self.table.system)}, mIoU", bars)
        if self.reference is not None and self.reference.miou is not None:
            spread, color = self.reference.miou, self.colors[self.reference.name]
            line = axes.axhline(100 * spread.mean, color=color, ls="--", lw=1)
            if spread.std is not None:
                low, high = (100 * (spread.mean + sign * spread.std) for sign in (-1, 1))
                axes.axhspan(low, high, color=color, alpha=0.12, lw=0)
            self._handles.setdefault(f"{system_label(self.reference.name)}, mIoU", line)

    def _line(self, axes: Axes, places: Any, panel: Panel) -> None:
        assert self.loss_limits is not None
        right = axes.twinx()
        spreads = [setting.spread("d_loss") for setting in panel.settings]
        means = [np.nan if s is None else s.mean for s in spreads]
        errors = [0.0 if s is None or s.std is None else s.std for s in spreads]
        line = right.errorbar(
            places, means, errors, color=INK, marker="o", ms=3, lw=1.1, elinewidth=0.7
        )
        right.set_ylim(*self.loss_limits)
        right.set_ylabel("D's loss near its end")
        right.spines["right"].set_visible(True)
        self._handles.setdefault(f"{system_label(self.table.system)}, D's loss", line)
        if self.reference is not None and self.reference.d_loss is not None:
            color = self.colors[self.reference.name]
            dotted = right.axhline(self.reference.d_loss.mean, color=color, ls=":", lw=1)
            self._handles.setdefault(f"{system_label(self.reference.name)}, D's loss", dotted)


def _limits(spreads: Sequence[Spread | None], scale: float) -> tuple[float, float] | None:
    """Return round limits around values and spreads; None where there are none.

    They start at 0 unless all values lie within a third of each other: then differences of a point
    would be too small to see, and the axis says where it starts.
    """
    known = [s for s in spreads if s is not None]
    if not known:
        return None
    low = min(scale * (s.mean - (s.std or 0)) for s in known)
    high = max(scale * (s.mean + (s.std or 0)) for s in known)
    room = max(high - low, 0.02 * abs(high), 1e-3)
    bottom = low - 0.6 * room
    if low <= 0 or high > 1.5 * low:
        # neither can be below 0, whatever their spread
        bottom = 0.0
    step = 10.0 ** math.floor(math.log10(room))
    return math.floor(bottom / step) * step, high + 0.25 * room


def _heat_map(axes: Axes, table: Table, found: Sequence[Setting]) -> None:
    """Draw mIoU, or where there is none D's loss, over both parameters."""
    from matplotlib import colormaps

    rows, columns = values_of(found, 0), values_of(found, 1)
    name, scale, digits = ("miou", 100.0, 1) if table.scored else ("d_loss", 1.0, 2)
    grid = np.full((len(rows), len(columns)), np.nan)
    for setting in found:
        spread = setting.spread(name)
        if spread is not None:
            place = rows.index(setting.values[0]), columns.index(setting.values[1])
            grid[place] = scale * spread.mean
    colors = colormaps["Blues"].with_extremes(bad=RULE)
    axes.imshow(np.ma.masked_invalid(grid), cmap=colors, aspect="auto")
    middle = (np.nanmin(grid) + np.nanmax(grid)) / 2 if np.isfinite(grid).any() else 0.0
    for (row, column), value in np.ndenumerate(grid):
        text = "-" if np.isnan(value) else f"{value:.{digits}f}"
        color = "white" if value > middle else INK
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    short = short_keys(table.keys)
    axes.set_yticks(range(len(rows)), [value_text(value) for value in rows])
    axes.set_xticks(range(len(columns)), [value_text(value) for value in columns])
    axes.set_ylabel(short[table.keys[0]])
    axes.set_xlabel(short[table.keys[1]])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("mIoU, %" if name == "miou" else "D's loss near its end", fontsize=7)
