"""Put the table, the picture and the report of a finished demo into the README.

make demo && python benchmarks/readme.py demo

The picture of the report is a screenshot by chromium, which must be installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- begin demo -->", "<!-- end demo -->"
WIDTH, HEIGHT = 1180, 1560
"""Window size of the screenshot, which shows scores and viewer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("demo", type=Path, help="the demo's folder")
    demo = parser.parse_args().demo
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    shutil.copyfile(demo / "pictures" / "comparison.png", images / "demo.png")
    photograph(demo / "report.html", images / "report.png")
    table = (demo / "comparison.md").read_text(encoding="utf-8").strip()
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


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
