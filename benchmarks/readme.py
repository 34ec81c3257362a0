"""Put the table and the picture of a finished demo into the README.

make demo && python benchmarks/readme.py demo
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- begin demo -->", "<!-- end demo -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("demo", type=Path, help="the demo's folder")
    demo = parser.parse_args().demo
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    shutil.copyfile(demo / "pictures" / "comparison.png", images / "demo.png")
    table = (demo / "comparison.md").read_text(encoding="utf-8").strip()
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
