"""Rows: reading pairs for training, and listing large data sets."""

from __future__ import annotations

from pathlib import Path

from benchmarks.speed.rounds import Case, Run, measure
from benchmarks.speed.table import Block, Line, Settings, seconds

PAIRS = 12
DESCRIPTION = """\
name: speed
classes: cityscapes
splits:
  train: {images: images/*.png, labels: labels/*.png}
labels: {encoding: index}
"""


def reading(settings: Settings) -> Block:
    """Images of 1024x2048 with labels, brought to 512x1024 for training, beside the decoding."""
    from benchmarks.speed.pictures import label, write_photographs

    size = (128, 256) if settings.quick else (1024, 2048)
    folder = settings.folder
    write_photographs(folder / "images", size, PAIRS, ".png")
    (folder / "labels").mkdir()
    import cv2

    for index in range(PAIRS):
        cv2.imwrite(str(folder / "labels" / f"{index:03}.png"), label(size, index))
    (folder / "speed.yaml").write_text(DESCRIPTION)
    cases = [
        Case("clan", _read, (str(folder), (size[0] // 2, size[1] // 2))),
        Case("decode", _decode, (str(folder),)),
    ]
    found = measure(cases, settings.rounds)
    own, decode = (PAIRS / found[name].processor for name in ("clan", "decode"))
    lines = [
        Line(
            "pairs read, resized, mirrored, without a cache",
            f"{own:.1f} images/s",
            f"{decode:.1f} images/s",
            decode / own,
            None,
            "decoding both files with OpenCV",
        )
    ]
    notes = f"PNG pairs of {size[0]}x{size[1]}, one process, one thread."
    return Block("Reading", lines, notes)


def _read(folder: str, size: tuple[int, int]) -> Run:
    from clan.data.datasets import open_dataset
    from clan.data.loading import training_loader
    from clan.data.views import ViewOptions

    data = open_dataset(str(Path(folder, "speed.yaml")), split="train")

    def run() -> None:
        loader = training_loader(
            data,
            ViewOptions(size=size),
            seed=0,
            stream=0,
            batch_size=1,
            start_step=0,
            stop_step=PAIRS,
        )
        for _ in loader:
            pass

    return run


def _decode(folder: str) -> Run:
    import cv2

    files = sorted(Path(folder).glob("*/*.png"))
    contents = [(file.read_bytes(), file.parent.name == "images") for file in files]
    import numpy as np

    def run() -> None:
        for content, colour in contents:
            kind = cv2.IMREAD_COLOR if colour else cv2.IMREAD_UNCHANGED
            cv2.imdecode(np.frombuffer(content, np.uint8), kind)

    return run


def listing(settings: Settings) -> Block:
    """A hundred thousand pairs found and matched, beside the walk through the folders."""
    count = 500 if settings.quick else 100_000
    folder = settings.folder
    for part in ("images", "labels"):
        (folder / part).mkdir()
        for index in range(count):
            (folder / part / f"{index:06}.png").touch()
    (folder / "speed.yaml").write_text(DESCRIPTION)
    cases = [Case("clan", _open, (str(folder),)), Case("scan", _scan, (str(folder),))]
    found = measure(cases, settings.rounds)
    own, scan = found["clan"], found["scan"]
    lines = [
        Line(
            f"{count:,} pairs listed",
            seconds(own.processor),
            seconds(0.5),
            own.processor / 0.5,
            1.0,
            "0.5 s",
        ),
        Line(
            "the same",
            seconds(own.processor),
            seconds(scan.processor),
            own.processor / scan.processor,
            None,
            "os.scandir and a sort",
        ),
    ]
    return Block("Listing", lines, "Two folders of empty files.")


def _open(folder: str) -> Run:
    from clan.data.datasets import open_dataset

    description = str(Path(folder, "speed.yaml"))

    def run() -> None:
        open_dataset(description, split="train")

    return run


def _scan(folder: str) -> Run:
    import os

    def run() -> None:
        for part in ("images", "labels"):
            sorted(entry.path for entry in os.scandir(Path(folder, part)) if entry.is_file())

    return run
