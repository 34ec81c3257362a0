"""Draw the README's pictures from runs of the street benchmark.

    python benchmarks/readme.py runs/street

The table beside them is written by `docs/make_results.py`. The picture of the report is a
screenshot by chromium, which must be installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import clan
from clan.figures.kinds import FigureOptions, draw_figure
from clan.studies.sweep.kinds import KINDS

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SYSTEMS = ("source_only", "tan", "clan_st", "oracle")
DPI = 130
WIDTH, HEIGHT = 1180, 1560
"""Window size of the screenshot, which shows scores and viewer."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, help="the benchmark's folder of runs")
    folder = parser.parse_args(arguments).runs
    runs = [folder / name / "seed0" for name in SYSTEMS]
    draw_figure("qualitative", runs, IMAGES / "street.png", FigureOptions(images=3), DPI, KINDS)
    with tempfile.TemporaryDirectory() as made:
        page = Path(made) / "report.html"
        clan.report(runs, page, images=4)
        photograph(page, IMAGES / "report.png")


def photograph(page: Path, picture: Path) -> None:
    """Write a screenshot of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit(f"{page} cannot be photographed: there is no chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--window-size={WIDTH},{HEIGHT}",
                f"--user-data-dir={folder}/profile",
                f"--screenshot={shot}",
                page.resolve().as_uri(),
            ],
            check=True,
            timeout=120,
            # it warns of every desktop service that is missing
            stderr=subprocess.DEVNULL,
        )
        with Image.open(shot) as seen:
            seen.convert("RGB").save(picture, optimize=True)


if __name__ == "__main__":
    main()
