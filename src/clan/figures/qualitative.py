"""Images, predictions and ground truth side by side (Figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clan.config.tree import Config
from clan.core.errors import ConfigError, RunError
from clan.data.classes import IGNORE
from clan.data.datasets import Dataset
from clan.figures.kinds import FigureOptions
from clan.figures.style import (
    FAINT,
    PAGE,
    new_figure,
    paper_style,
    system_label,
    system_order,
)
from clan.prediction.pictures import NOT_LABELLED, present
from clan.prediction.predictor import load
from clan.runs.folder import RunFolder
from clan.training.domains import open_domains

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_qualitative(runs: Sequence[Path], options: FigureOptions) -> Figure:
    """Draw validation images, each run's prediction and the truth, with a legend of the classes.

    The images are evenly spaced over the split. Of several seeds of a system, the first given one
    is shown.

    Raises:
        RunError: a run without a model, or runs of different classes or validation images.
        ConfigError: no validation split.
    """
    folders: dict[str, RunFolder] = {}
    for run in map(RunFolder.open, runs):
        folders.setdefault(run.config.name, run)
    folders = {name: folders[name] for name in system_order(folders)}
    validation = _common_validation(list(folders.values()))
    predictors = {name: load(run.path) for name, run in folders.items()}
    for name, each in predictors.items():
        if each.classes.names != validation.classes.names:
            raise RunError(
                f"{folders[name].path} predicts {', '.join(each.classes.names)}, the images are "
                f"labelled with {', '.join(validation.classes.names)}; show runs of one class set"
            )
    count = min(options.images, len(validation))
    indices = sorted({int(i) for i in np.linspace(0, len(validation) - 1, count + 2)[1:-1]})
    rows: list[list[NDArray[np.uint8]]] = []
    for index in indices:
        image = validation.read_image(index)
        labels = [each.predict(image) for each in predictors.values()]
        rows.append([image, *labels, validation.read_label(index)])
    titles = ["target image", *(system_label(name) for name in folders), "ground truth"]
    return _sheet(rows, titles, validation)


def _common_validation(runs: Sequence[RunFolder]) -> Dataset:
    """Return the validation split that all runs share."""
    first = runs[0].config
    if first.data.validation is None:
        raise ConfigError(
            f"{runs[0].path} has no data.validation: there are no labelled images to show"
        )
    for run in runs[1:]:
        if _shown(run.config) != _shown(first):
            raise RunError(
                f"{runs[0].path} and {run.path} have different validation images "
                f"({_shown(first)} and {_shown(run.config)}); show runs of one target"
            )
    validation = open_domains(first.data).validation
    assert validation is not None
    return validation


def _shown(config: Config) -> str:
    domain = config.data.validation
    if domain is None:
        return "none"
    return f"{domain.dataset} {domain.split} in {domain.shown_root or config.data.root or '.'}"


def _sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]], titles: Sequence[str], data: Dataset
) -> Figure:
    classes = data.classes
    height, width = rows[0][0].shape[:2]
    labels = [panel for row in rows for panel in row if panel.ndim == 2]
    with paper_style():
        cell = PAGE / len(titles)
        figure = new_figure(PAGE, cell * height / width * len(rows) + 0.75)
        grid = figure.subplots(len(rows), len(titles), squeeze=False)
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title)
        for line, row in zip(grid, rows, strict=True):
            for axes, panel in zip(line, row, strict=True):
                axes.set_axis_off()
                axes.imshow(classes.colorize(panel) if panel.ndim == 2 else panel)
        names = present(labels, classes)
        colors: list[Any] = [
            tuple(value / 255 for value in classes.colors[classes.index(name)]) for name in names
        ]
        if any((label == IGNORE).any() for label in labels):
            names, colors = (*names, NOT_LABELLED), [*colors, (0, 0, 0)]
        _legend(figure, names, colors)
    return figure


def _legend(figure: Figure, names: Sequence[str], colors: Sequence[Any]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=color, edgecolor=FAINT, linewidth=0.4) for color in colors]
    longest = max(map(len, names))
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=max(1, min(len(names), int(PAGE / (0.35 + 0.058 * longest)))),
        handlelength=1.2,
        handleheight=0.9,
    )
