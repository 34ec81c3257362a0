"""Cluster-centre distance as figures: over the steps (Figure 4 left), per class (Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clan.analysis.ccd import CCD, read_ccd
from clan.core.errors import ConfigError, RunError, nearest
from clan.figures.kinds import FigureOptions
from clan.figures.series import over_seeds
from clan.figures.style import (
    FAINT,
    PAGE,
    SYSTEM_COLORS,
    by_system,
    class_axis,
    grid_lines,
    legend_above,
    new_figure,
    paper_style,
    seeds_label,
    system_colors,
    system_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE = "before training"
PAPERS_CLASS = "wall"


def draw_steps(runs: Sequence[Path], options: FigureOptions) -> Figure:
    """Draw the distance over the steps, of one class and averaged over all classes.

    Raises:
        RunError: runs without this analysis or with different settings, or no class to show.
        ConfigError: an unknown class, or one that is missing from a run's sample.
    """
    found = read_ccd(runs)
    name = followed(found, options.class_name)
    place = found[0].classes.index(name)
    systems = by_system([each.name for each in found])
    colors = system_colors(systems)
    everywhere = _present_everywhere(found)
    with paper_style():
        figure = new_figure(PAGE, 2.3)
        one, mean = figure.subplots(1, 2)
        for system, indices in systems.items():
            mine = [found[i] for i in indices]
            _line(one, [(c, c.normalised[:, place]) for c in mine], colors[system])
            _line(mean, [(c, c.normalised[:, everywhere].mean(1)) for c in mine], colors[system])
        one.set_title(name)
        mean.set_title(f"mean over the {int(everywhere.sum())} classes in both domains")
        one.set_ylabel("distance of centres\n(before training = 1)")
        for axes in (one, mean):
            axes.set_xlabel("step")
            axes.axhline(1, color=FAINT, linewidth=0.6, linestyle=":")
            axes.set_ylim(bottom=0)
            grid_lines(axes)
        system_legend(figure, systems, "o")
    return figure


def draw_classes(runs: Sequence[Path], options: FigureOptions | None = None) -> Figure:
    """Draw each class's distance before training and at the last step of each system.

    Bars are means over seeds, whiskers reach from the lowest to the highest seed. Classes that are
    missing from a domain's sample are marked "absent".
    """
    found = read_ccd(runs)
    classes = found[0].classes
    systems = by_system([each.name for each in found])
    colors = system_colors(systems)
    groups: dict[str, NDArray[np.float64]] = {
        system: np.stack([found[i].normalised[-1] for i in indices])
        for system, indices in systems.items()
    }
    known = np.isfinite(np.concatenate(list(groups.values()))).all(axis=0)
    if not known.any():
        raise RunError(f"{runs[0]}: no class is in both domains' samples; use more images")
    with paper_style():
        figure = new_figure(PAGE, 2.4)
        axes = figure.subplots()
        width = 0.8 / (len(groups) + 1)
        places = np.arange(len(classes))
        before = np.where(known, 1.0, np.nan)
        shift = -0.4 + width / 2
        axes.bar(places + shift, before, width, color=SYSTEM_COLORS["pretrained"], label=BEFORE)
        for number, (system, values) in enumerate(groups.items(), start=1):
            mean = np.where(known, values.mean(axis=0), np.nan)
            spread = np.stack([mean - values.min(axis=0), values.max(axis=0) - mean])
            axes.bar(
                places + shift + number * width,
                mean,
                width,
                color=colors[system],
                label=seeds_label(system, len(values)),
                yerr=spread if len(values) > 1 else None,
                error_kw={"elinewidth": 0.5, "capsize": 0},
            )
        class_axis(axes, classes, np.flatnonzero(~known).tolist())
        axes.set_ylabel("distance of centres\n(before training = 1)")
        grid_lines(axes)
        handles, labels = axes.get_legend_handles_labels()
        legend_above(figure, handles, labels)
    return figure


def followed(found: Sequence[CCD], asked: str | None) -> str:
    """Return the class to draw: the given one, else the paper's wall, else the first one present.

    Raises:
        ConfigError: unknown, or missing from a sample.
        RunError: no class is present in all samples.
    """
    names, is_present = found[0].classes, _present_everywhere(found)
    present = [name for name, here in zip(names, is_present.tolist(), strict=True) if here]
    if asked is not None:
        if asked not in names:
            raise ConfigError(f"unknown class {asked!r}{nearest(asked, names)}")
        if asked not in present:
            raise ConfigError(
                f"the class {asked!r} is missing from a domain's sample, or its distance before "
                f"training was 0; possible classes: {', '.join(present) or 'none'}"
            )
        return asked
    if not present:
        raise RunError("no class is in both domains' samples; use more images")
    return PAPERS_CLASS if PAPERS_CLASS in present else present[0]


def _present_everywhere(found: Sequence[CCD]) -> NDArray[np.bool_]:
    return np.asarray(np.stack([np.isfinite(c.normalised).all(0) for c in found]).all(0), np.bool_)


def _line(axes: Axes, seeds: Sequence[tuple[CCD, NDArray[np.float64]]], color: str) -> None:
    series = over_seeds([dict(zip(c.steps, y.tolist(), strict=True)) for c, y in seeds])
    if series is None:
        return
    x, mean, low, high = series
    axes.plot(x, mean, color=color, marker="o")
    if len(seeds) > 1:
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
