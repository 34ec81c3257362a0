"""Analyse the benchmarks' runs, and make the figures and tables of docs/analysis.md.

    python benchmarks/analysis.py [--benchmarks town sim_to_camvid] [--images 60] [--again]

It uses the finished runs below runs/BENCHMARK/SYSTEM/seedN, with snapshots. Analyses that a run's
folder already holds are not repeated, unless --again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from clan.analysis.ccd import CCDOptions, analyse_ccd
from clan.analysis.choice import checkpoint_choices, choices_markdown
from clan.analysis.label_free import LabelFreeOptions, label_free
from clan.analysis.maps import MapsOptions, analyse_maps
from clan.analysis.results import result_file
from clan.analysis.tsne import TSNEOptions, analyse_tsne
from clan.figures.kinds import FigureOptions, draw_figure
from clan.runs.folder import RunFolder

SYSTEMS = ("source_only", "adabn", "tan", "clan", "oracle")
DOCS = Path(__file__).resolve().parent.parent / "docs"
ADVERSARIAL = ("tan", "clan")
COMPARED = ("source_only", *ADVERSARIAL)
DPI = 150


@dataclass(frozen=True)
class Benchmark:
    """Runs of one task, and the classes that its figures show."""

    key: str
    followed: str
    """Class whose distance is plotted over the steps."""
    classes: tuple[str, ...]
    """Classes of the t-SNE."""


BENCHMARKS = {
    "town": Benchmark("town", "wall", ("building", "traffic sign", "pole", "vegetation")),
    "sim_to_camvid": Benchmark("sim_to_camvid", "pavement", ("building", "sign", "pole", "tree")),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--benchmarks", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--images", type=int, default=60, help="per domain")
    parser.add_argument("--page", type=Path, default=DOCS / "analysis.md")
    parser.add_argument("--again", action="store_true", help="analyse anew what is there")
    options = parser.parse_args(arguments)
    for key in options.benchmarks:
        runs = _finished(options.runs / key)
        if not runs:
            print(f"{key}: no finished run below {options.runs / key}")
            continue
        _analyse(BENCHMARKS[key], runs, options.images, options.again)
        _draw(BENCHMARKS[key], runs, options.page.parent / "images")
        _write_table(options.page, key, [run.path for run in runs if run.config.name != "oracle"])


def _finished(folder: Path) -> list[RunFolder]:
    found = [
        RunFolder(path)
        for system in SYSTEMS
        for path in sorted((folder / system).glob("seed*"))
        if path.is_dir()
    ]
    return [run for run in found if run.finished]


def _analyse(bench: Benchmark, runs: Sequence[RunFolder], images: int, again: bool) -> None:
    first = {run.config.name: run for run in reversed(runs)}

    def once(run: RunFolder, kind: str, analysis: Callable[[], object]) -> None:
        file = result_file(run.path, kind)
        fresh = file.is_file() and file.stat().st_mtime >= run.model_file.stat().st_mtime
        if again or not fresh:
            print(f"{run.path}: {kind}", flush=True)
            analysis()

    for run in runs:
        # the oracle trains on the target: there is no second domain to compare
        if run.config.name != "oracle":
            once(run, "ccd", partial(analyse_ccd, run, CCDOptions(images=images)))
            options = LabelFreeOptions(images=images)
            once(run, "label-free", partial(label_free, run, options, snapshots=True))
        if run.config.name in ADVERSARIAL and "source_only" in first:
            maps = MapsOptions(images=images)
            before = first["source_only"]
            once(run, "maps", partial(analyse_maps, run, maps, before=before))
    for name in COMPARED:
        if name in first:
            tsne = TSNEOptions(classes=bench.classes, images=images)
            once(first[name], "tsne", partial(analyse_tsne, first[name], tsne))


def _draw(bench: Benchmark, runs: Sequence[RunFolder], folder: Path) -> None:
    """Draw each figure from its runs, as a file small enough for a page."""
    every = {run.config.name: run.path for run in reversed(runs)}
    firsts = [every[name] for name in COMPARED if name in every]
    adapted = [run.path for run in runs if run.config.name != "oracle"]
    adversarial = [run.path for run in runs if run.config.name in ADVERSARIAL]
    compared = [run.path for run in runs if run.config.name in COMPARED]
    pictured = {
        "curves": adapted,
        "ccd": compared,
        "ccd-classes": compared,
        "tsne": firsts,
        "maps": [every["clan"]] if "clan" in every else [],
        "maps-classes": adversarial,
        "qualitative": firsts,
        "transfer": adapted,
        "label-free": adapted,
    }
    for kind, shown in pictured.items():
        if shown:
            out = folder / f"{bench.key}-{kind}.png"
            options = FigureOptions(class_name=bench.followed if kind == "ccd" else None)
            draw_figure(kind, shown, out, options, DPI)
            _shrink(out)
            print(f"{out}: {out.stat().st_size // 1000} kB")


def _shrink(path: Path) -> None:
    """Reduce to 200 colours: a third of the size, without a visible difference."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(200, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def _write_table(page: Path, key: str, runs: Sequence[Path]) -> None:
    """Write the table of label-free checkpoint choices between the benchmark's page marks."""
    choices, notes = checkpoint_choices(runs)
    begin, end = f"<!-- begin {key} label-free -->", f"<!-- end {key} label-free -->"
    text = page.read_text(encoding="utf-8")
    if not choices or begin not in text:
        return
    head, rest = text.split(begin)
    table = choices_markdown(choices, notes)
    page.write_text(f"{head}{begin}\n\n{table}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
