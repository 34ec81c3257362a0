"""Measure reading and listing: pairs a second with and without a cache, seconds to list many files.

    python benchmarks/speed/reading.py --root CITYSCAPES --work FOLDER [--list 100000]

CITYSCAPES holds real 2048x1024 pictures in their original layout. GTA5-sized pairs (1914x1052,
palette labels) are made of them. Processor seconds of one process, medians over rounds that take
turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from clan.data.cache import open_cache
from clan.data.datasets import Dataset, open_dataset
from clan.data.loading import training_loader
from clan.data.views import ViewOptions

VIEWS = {"gta5": ViewOptions(size=(720, 1280)), "cityscapes": ViewOptions(size=(512, 1024))}
PAIRS = 8
"""Pairs of each data set: few enough to be quick, and each is read many times."""


def make_gta5(cityscapes: Path, root: Path) -> None:
    """Write GTA5-sized pairs of Cityscapes' pictures."""
    images = sorted((cityscapes / "leftImg8bit").rglob("*.png"))
    labels = [
        next((cityscapes / "gtFine").rglob(p.name.replace("leftImg8bit", "gtFine_labelIds")))
        for p in images
    ]
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(PAIRS):
        at = number % len(images)
        picture = (
            Image.open(images[at]).convert("RGB").resize((1914, 1052), Image.Resampling.BICUBIC)
        )
        picture.save(root / f"images/{number + 1:05}.png")
        label = Image.open(labels[at]).resize((1914, 1052), Image.Resampling.NEAREST)
        stored = Image.fromarray(np.asarray(label, np.uint8))
        stored.putpalette([(37 * value) % 256 for value in range(768)])
        stored.save(root / f"labels/{number + 1:05}.png")


def pairs_per_second(dataset: Dataset, view: ViewOptions, cache: object, count: int) -> float:
    """Return pairs a processor second of the training's own loader."""
    loader = training_loader(
        dataset, view, seed=0, stream=0, batch_size=1, start_step=0, stop_step=count, cache=cache
    )
    began = time.process_time()
    for _ in loader:
        pass
    return count / (time.process_time() - began)


def measure_reading(name: str, root: Path, kept: Path, rounds: int) -> dict[str, float]:
    """Measure one data set plain, from memory and from a folder, the ways taking turns."""
    view, dataset = VIEWS[name], open_dataset(name, root=root)
    places = {"plain": "none", "memory": "memory", "folder": str(kept / name)}
    ways = {way: open_cache(dataset, view, where, 10) for way, where in places.items()}
    for cache in ways.values():
        pairs_per_second(dataset, view, cache, len(dataset))  # the first pass
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, cache in ways.items():
            count = 2 * len(dataset) if cache is None else 100
            found[way].append(pairs_per_second(dataset, view, cache, count))
    return {way: statistics.median(rates) for way, rates in found.items()}


def copy_limit() -> float:
    """Return GB a processor second of a plain copy of memory: no reading is faster."""
    block = np.ones(64 * 2**20, np.uint8)
    began = time.process_time()
    for _ in range(8):
        block.copy()
    return 8 * block.nbytes / 1e9 / (time.process_time() - began)


def make_many(root: Path, count: int) -> None:
    """Make a data set of so many pairs of empty files."""
    for folder, ending in (("images", "jpg"), ("labels", "png")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            os.close(
                os.open(root / folder / f"frame_{number:08}.{ending}", os.O_CREAT | os.O_WRONLY)
            )
    (root / "many.yaml").write_text(
        "classes: cityscapes\nsplits:\n  train: {images: 'images/*.jpg', labels: 'labels/*.png'}\n"
    )


def list_many(root: Path) -> dict[str, float]:
    """List a data set in this process; seconds, and bytes that it grew by at most."""
    before = peak_bytes(anew=True)
    began = time.process_time()
    dataset = open_dataset(str(root / "many.yaml"))
    seconds = time.process_time() - began
    grown = (peak_bytes() - before) / 2**20
    began = time.process_time()
    scan(str(root))
    walk = time.process_time() - began
    return {"pairs": len(dataset), "seconds": seconds, "mebibytes": grown, "walk": walk}


def scan(root: str) -> None:
    """Do the least that any listing does: walk through the folders and sort."""
    for part in ("images", "labels"):
        with os.scandir(os.path.join(root, part)) as entries:
            sorted(entry.path for entry in entries if entry.is_file())


def peak_bytes(anew: bool = False) -> int:
    """Return the largest resident set of this process, or begin it ``anew`` with the present one.

    Linux only.
    """
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="Cityscapes")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--list", type=int, nargs="*", default=[])
    parser.add_argument("--listed", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.listed:
        print(json.dumps(list_many(asked.listed)))
        return
    cv2.setNumThreads(0)
    found: dict[str, object] = {"copy_gb_per_second": copy_limit()}
    if asked.root:
        make_gta5(asked.root, asked.work / "gta5")
        for name, root in (("gta5", asked.work / "gta5"), ("cityscapes", asked.root)):
            found[name] = measure_reading(name, root, asked.work / "kept", asked.rounds)
    for count in asked.list:
        many = asked.work / f"many{count}"
        make_many(many, count)
        command = [sys.executable, __file__, "--work", str(asked.work), "--listed", str(many)]
        found[f"list {count}"] = json.loads(
            subprocess.run(command, capture_output=True, check=True).stdout
        )
        shutil.rmtree(many)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
