"""The analyses of the runs, and the commands for those that were not computed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from clan.analysis.choice import checkpoint_choices, choice_cells
from clan.analysis.results import COMMANDS, result_file
from clan.core.errors import ClanError
from clan.figures.kinds import KINDS, FigureOptions
from clan.figures.style import svg_text
from clan.reporting.charts import inline
from clan.reporting.gather import System


@dataclass(frozen=True)
class Analysis:
    """A kind of analysis as the page shows it.

    Attributes:
        title: the heading.
        command: the command for runs without it; None if all have it.
        note: how to read it, and what is left out.
        figures: SVG elements.
        heads: headings of a table, empty without one.
        rows: its cells.
    """

    title: str
    command: str | None
    note: str = ""
    figures: tuple[Markup, ...] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class _Kind:
    """A kind of analysis: its title, the names of its figures, and how to read them."""

    title: str
    note: str
    figures: tuple[str, ...] = ()


KINDS_SHOWN = {
    "ccd": _Kind(
        "Distance of class centres between the domains",
        "Features' class centres of source and target, by class; the distance before training is "
        "1, and lower is closer.",
        ("ccd", "ccd-classes"),
    ),
    "tsne": _Kind(
        "t-SNE of pixel features",
        "Circles are source pixels, crosses target pixels; colours are classes.",
        ("tsne",),
    ),
    "maps": _Kind(
        "Alignment map and output of D",
        "M is the disagreement of the two classifiers on target images: the higher, the worse "
        "aligned.",
        ("maps-classes",),
    ),
    "label-free": _Kind(
        "Choosing a checkpoint without target labels",
        "mIoU in percent of the checkpoint that each score chooses.",
        ("label-free",),
    ),
}


def read_analyses(systems: Sequence[System]) -> list[Analysis]:
    """Return each kind of analysis, with its figures if some of the runs have it.

    If a result cannot be read or drawn, the page is written without it and gives the reason.
    """
    runs = [run.folder.path for system in systems for run in system.runs]
    return [_analysis(kind, about, runs) for kind, about in KINDS_SHOWN.items()]


def _analysis(kind: str, about: _Kind, runs: Sequence[Path]) -> Analysis:
    done = [run for run in runs if result_file(run, kind).is_file()]
    left = [run for run in runs if run not in done]
    command = _command(kind, left) if left else None
    if not done:
        return Analysis(about.title, command)
    figures, problems = [], []
    for name in about.figures:
        try:
            figure = KINDS[name].draw(done, FigureOptions())
            figures.append(inline(svg_text(figure, f"analysis-{name}"), KINDS[name].shows))
        except ClanError as error:
            problems.append(str(error))
    heads: list[str] = []
    rows: list[list[str]] = []
    notes: list[str] = []
    if kind == "label-free":
        try:
            choices, notes = checkpoint_choices(done)
            heads, rows = choice_cells(choices) if choices else ([], [])
        except ClanError as error:
            problems.append(str(error))
    note = " ".join([about.note, *notes, *(f"Not shown: {problem}." for problem in problems)])
    return Analysis(about.title, command, note, tuple(figures), heads, rows)


def _command(kind: str, runs: Sequence[Path]) -> str:
    named = [shlex.quote(str(run)) for run in runs]
    # `clan analyse` takes many runs, `clan evaluate` one
    return f"{COMMANDS[kind]} {' '.join(named) if kind != 'label-free' else named[0]}"
