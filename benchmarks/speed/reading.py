"""Row: reading pairs for training, plain and from a cache, beside the decoding."""

from __future__ import annotations

from pathlib import Path

from benchmarks.speed.rounds import Case, Run, measure
from benchmarks.speed.table import Block, Line, Settings

PAIRS = 12
GOAL = 150
"""Pairs a second from a cache."""
DESCRIPTION = """\
name: speed
classes: cityscapes
splits:
  train: {images: images/*.png, labels: labels/*.png}
labels: {encoding: index}
"""
LIMIT = "decoding both files with OpenCV"


def reading(settings: Settings) -> Block:
    """Images of 1024x2048 with labels, brought to 512x1024 for training, beside the decoding."""
    size = (128, 256) if settings.quick else (1024, 2048)
    half = (size[0] // 2, size[1] // 2)
    folder = str(settings.folder)
    _write_pairs(settings.folder, size)
    cases = [Case("decode", _decode, (folder,)), Case("none", _read, (folder, half, "none"))]
    # the pass before the first that counts fills the cache
    places = {"memory": "memory", "a folder": str(settings.folder / "kept")}
    cases += [Case(name, _read, (folder, half, place)) for name, place in places.items()]
    rates = {
        name: PAIRS / result.processor for name, result in measure(cases, settings.rounds).items()
    }
    lines = [_line("pairs read, resized, mirrored, without a cache", rates, "none")]
    for name in places:
        most = None if settings.quick else round(rates["decode"] / GOAL, 2)
        line = _line(f"the same, from a cache in {name} (goal {GOAL})", rates, name)
        lines.append(line._replace(most=most))
    notes = (
        f"PNG pairs of {size[0]}x{size[1]}, one process, one thread. A ratio above 1 is slower "
        "than the decoding alone."
    )
    return Block("Reading", lines, notes)


def _line(item: str, rates: dict[str, float], name: str) -> Line:
    own, decode = rates[name], rates["decode"]
    return Line(item, f"{own:.1f} images/s", f"{decode:.1f} images/s", decode / own, None, LIMIT)


def _write_pairs(folder: Path, size: tuple[int, int]) -> None:
    import cv2

    from benchmarks.speed.pictures import label, write_photographs

    write_photographs(folder / "images", size, PAIRS, ".png")
    (folder / "labels").mkdir()
    for index in range(PAIRS):
        cv2.imwrite(str(folder / "labels" / f"{index:03}.png"), label(size, index))
    (folder / "speed.yaml").write_text(DESCRIPTION)


def _read(folder: str, size: tuple[int, int], place: str) -> Run:
    from clan.data.cache import open_cache
    from clan.data.datasets import open_dataset
    from clan.data.loading import training_loader
    from clan.data.views import ViewOptions

    data = open_dataset(str(Path(folder, "speed.yaml")), split="train")
    view = ViewOptions(size=size)
    cache = open_cache(data, view, place, 10)

    def run() -> None:
        loader = training_loader(
            data,
            view,
            seed=0,
            stream=0,
            batch_size=1,
            start_step=0,
            stop_step=PAIRS,
            cache=cache,
        )
        for _ in loader:
            pass

    return run


def _decode(folder: str) -> Run:
    import cv2
    import numpy as np

    files = [*Path(folder, "images").iterdir(), *Path(folder, "labels").iterdir()]
    contents = [(file.read_bytes(), file.parent.name == "images") for file in files]

    def run() -> None:
        for content, colour in contents:
            kind = cv2.IMREAD_COLOR if colour else cv2.IMREAD_UNCHANGED
            cv2.imdecode(np.frombuffer(content, np.uint8), kind)

    return run
