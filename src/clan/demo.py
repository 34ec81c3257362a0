"""The demo: trains, compares and reports three systems on the built-in data."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from clan.comparison import render
from clan.comparison.compare import compare
from clan.config.loading import load_config
from clan.config.tree import Config
from clan.core.errors import ConfigError, nearest
from clan.core.files import write_whole
from clan.core.progress import watching
from clan.prediction.pictures import comparison_sheet, spread, write_picture
from clan.prediction.predictor import load
from clan.reporting import report
from clan.runs.folder import RunFolder
from clan.studies.bench.task import System, Task
from clan.town import make_town
from clan.training.display import Bar
from clan.training.domains import open_domains
from clan.training.train import train

SYSTEMS = ("source_only", "tan", "clan")
TITLES = {"source_only": "source only", "tan": "TAN", "clan": "CLAN"}
PICTURES = 8


@dataclass(frozen=True)
class Images:
    """How many images to draw, and how large."""

    source: int = 400
    target: int = 400
    val: int = 100
    size: str = "128x256"
    """HEIGHTxWIDTH, as in configurations."""
    seed: int = 0


def run_demo(
    out: Path, console: Console, overrides: Sequence[str] = (), images: Images | None = None
) -> Path:
    """Make the town, train source-only, TAN and CLAN, compare them, write pictures and a report.

    Args:
        out: folder of everything; what a former call finished there is used again.
        console: where it is told.
        overrides: ``key=value`` changes to all three presets.
        images: of the town.

    Returns:
        The page that shows all of it.
    """
    began = time.perf_counter()
    _say(console, 1, "the town: labelled game-like streets (source), camera-like ones (target)")
    town = make_data("town", out / "town", images or Images(), console)
    _say(console, 2, f"training {len(SYSTEMS)} systems from scratch, the same data for each")
    # quoted: a path may look like YAML
    changes = [f"data.root={json.dumps(str(town))}", *overrides]
    configs = {system: load_config(f"town/{system}", changes) for system in SYSTEMS}
    runs = {s: _train(config, out / "runs" / s, console) for s, config in configs.items()}
    _say(console, 3, "scores on the target's validation images, labels used for nothing else")
    comparison = compare([run.path for run in runs.values()])
    render.write(comparison, console, "text")
    table = out / "comparison.md"
    _say(console, 4, "pictures: the target image, each system's prediction, the true labels")
    write_whole(table, render.to_markdown(comparison))
    sheet = write_pictures(out / "pictures", runs, configs["clan"])
    _say(console, 5, "a page that shows all of it, in one file")
    page = out / "report.html"
    report([run.path for run in runs.values()], page, overwrite=True, console=console)
    _tell(console, f"\nDone in {(time.perf_counter() - began) / 60:.1f} minutes.")
    _tell(console, f"  report    {page}  (open it in a browser)")
    _tell(console, f"  pictures  {sheet}  and one for each image beside it")
    _tell(console, f"  table     {table}")
    _tell(console, f"  models    {runs['clan'].model_file}  (and those of the other systems)")
    _tell(console, "Next, CLAN's model on images of your own:")
    _tell(console, f"  clan predict {runs['clan'].path} PHOTOS... --out predictions")
    return page


def make_data(kind: str, out: Path, images: Images, console: Console) -> Path:
    """Draw a built-in data set with a progress bar; return its folder.

    Raises:
        ConfigError: an unknown data set or a size that is none.
        DataError: the folder holds something else, or cannot be written.
    """
    if kind != "town":
        raise ConfigError(f"unknown data set {kind!r}{nearest(kind, ['town'])}")
    height, x, width = images.size.partition("x")
    if not x or not width.isdecimal() or not height.isdecimal():
        raise ConfigError(f"--size {images.size!r} is not HEIGHTxWIDTH, such as 128x256")
    if int(height) > int(width):
        raise ConfigError(
            f"--size {images.size} is HEIGHTxWIDTH, as in configurations, and would draw a town "
            f"taller than wide; did you mean {width}x{height}?"
        )
    total = images.source + images.target + images.val
    with watching(console) as watch:
        drawn = 0

        def draw(count: int) -> None:
            nonlocal drawn
            drawn += count
            watch("drawing", drawn, total)

        path = make_town(
            out,
            source=images.source,
            target=images.target,
            val=images.val,
            size=(int(height), int(width)),
            seed=images.seed,
            progress=draw,
        )
    parts = f"{images.source} source, {images.target} target and {images.val} validation images"
    _tell(console, f"{path}: {parts}")
    return path


def draw_town(task: Task, systems: Sequence[System], console: Console) -> None:
    """Draw the built-in data set where a task of its presets does not find it."""
    if not task.builtin or not task.short.startswith("town"):
        return
    for root in dict.fromkeys(system.config.data.root for system in systems):
        if root is not None and not Path(root).exists():
            make_data("town", Path(root), Images(), console)


def write_pictures(folder: Path, runs: dict[str, RunFolder], config: Config) -> Path:
    """Write predictions of all runs on validation images side by side; return the sheet."""
    validation = open_domains(config.data).validation
    if validation is None:
        raise ConfigError("the pictures show validation images: leave data.validation in")
    predictors = {name: load(run.path) for name, run in runs.items()}
    rows = []
    for index in spread(len(validation), PICTURES):
        image = validation.read_image(index)
        labels = [p.predict(image) for p in predictors.values()]
        rows.append([image, *labels, validation.read_label(index)])
    titles = ["target image", *(TITLES[name] for name in runs), "ground truth"]
    for number, row in enumerate(rows):
        picture = comparison_sheet([row], titles, validation.classes)
        write_picture(folder / f"{number:02d}.png", picture)
    sheet = folder / "comparison.png"
    write_picture(sheet, comparison_sheet(rows[:4], titles, validation.classes))
    return sheet


def _train(config: Config, path: Path, console: Console) -> RunFolder:
    """Train, go on with, or reuse a run of exactly this configuration."""
    resume = (path / "config.yaml").is_file()
    return train(config, path, resume=resume, display=Bar(console))


def _say(console: Console, number: int, text: str) -> None:
    console.print(f"\n[bold]{number}/5[/] {text}", highlight=False)


def _tell(console: Console, text: str) -> None:
    """Print a line with paths: no markup, no highlighting, no breaking."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
