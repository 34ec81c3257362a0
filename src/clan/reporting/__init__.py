"""One self-contained page that shows runs: `clan report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from clan.core.errors import DataError, RunError
from clan.core.files import write_whole
from clan.core.progress import watching
from clan.reporting.gather import System, compare_scored, read_runs, shown_domain, systems_of
from clan.reporting.page import Page, render
from clan.reporting.panels import Scene, make_scenes

IMAGES = 8


def report(
    runs: Sequence[str | Path],
    out: str | Path = "report.html",
    *,
    images: int = IMAGES,
    baseline: str = "source_only",
    oracle: str = "oracle",
    subset: str | None = None,
    root: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    console: Console | None = None,
) -> Path:
    """Show runs on one self-contained HTML page, written whole or not at all.

    Parts that a run lacks, such as scores or a model, are left out; the page names them.

    Args:
        runs: run folders, finished or not; runs with the same name and different seeds are a
            system.
        out: the HTML file.
        images: greatest number of target images, evenly spaced over the split.
        baseline: name of the system that gains are relative to.
        oracle: name of the system that is trained on target labels.
        subset: class subset of mIoU and table; None for all classes.
        root: replaces the runs' ``data.root``, for data that have moved.
        device: where networks run; ``auto`` is a GPU if there is one.
        overwrite: replace an existing file.
        console: shows progress if it is a terminal; None shows nothing.

    Returns:
        ``out``.

    Raises:
        RunError: a folder that is no run, runs that cannot be compared, or a file that exists or
            cannot be written.
        ConfigError: an unknown subset or device.
        WeightsError: a model that cannot be read.

    Example:
        clan.report(["runs/source_only", "runs/clan"], "report.html", images=4)
    """
    out = Path(out)
    if out.is_dir():
        raise RunError(f"{out} is a folder; expected a file for the report, such as report.html")
    if out.exists() and not overwrite:
        raise RunError(f"{out} exists; choose another file, or allow it with --overwrite")
    found = read_runs([Path(run) for run in runs], root)
    comparison = compare_scored(found, baseline, oracle, subset)
    systems = systems_of(found)
    scenes, why = _scenes(systems, images, device, console or Console(quiet=True))
    page = Page(systems, comparison, baseline, tuple(scenes), why)
    write_whole(out, render(page).encode())
    return out


def _scenes(
    systems: Sequence[System], images: int, device: str, console: Console
) -> tuple[list[Scene], str]:
    """Return the viewer's scenes, or none and the reason."""
    # imported here, as a page without images does not need them
    from clan.prediction.predictor import load
    from clan.training.domains import open_domain

    if images == 0:
        return [], "the number of images was set to 0."
    finished = [system for system in systems if system.first.folder.finished]
    if not finished:
        return [], "no run is finished, so there is no network."
    config, classes = finished[0].first.config, finished[0].first.classes
    domain = shown_domain(config)
    if domain is None:
        return [], f"{finished[0].first.folder.path} has neither a target nor a validation split."
    try:
        labels = config.data.validation is not None
        dataset = open_domain(domain, config.data, classes, labels=labels)
        predictors = {s.name: load(s.first.folder.path, device) for s in finished}
        total = min(images, len(dataset))
        with watching(console) as watch:
            return make_scenes(
                dataset, predictors, images, lambda done: watch("report: predicting", done, total)
            ), ""
    except DataError as error:
        return [], f"{error}. If the data have moved, name their folder with --root."
