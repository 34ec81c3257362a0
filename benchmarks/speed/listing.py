"""Row: opening data sets of many files, in folders and in an archive."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.speed.rounds import Case, Result, Run, measure
from benchmarks.speed.table import Block, Line, Settings, seconds

DESCRIPTION = """\
name: speed
root: {root}
classes: cityscapes
splits:
  train: {{images: images/*.png, labels: labels/*.png}}
labels: {{encoding: index}}
"""
MIB = 2**20


class Many(NamedTuple):
    """A data set to open, and what is asked of it."""

    pairs: int
    archive: bool
    goal: float
    """Seconds."""
    memory: int
    """MiB."""

    @property
    def name(self) -> str:
        if self.archive:
            return f"a zip of {2 * self.pairs:,} files"
        return f"folders of {self.pairs:,} pairs"


CASES = (
    Many(100_000, False, 0.5, 300),
    Many(1_000_000, False, 5.0, 300),
    Many(500_000, True, 5.0, 500),
)
QUICK = (Many(500, False, 0.5, 300), Many(250, True, 5.0, 500))


def listing(settings: Settings) -> Block:
    """Each found, matched and ready to be read from, beside the least that any listing does."""
    lines = []
    for number, many in enumerate(QUICK if settings.quick else CASES):
        folder = settings.folder / str(number)
        _write(folder, many)
        cases = [Case("clan", _open, (str(folder),)), Case("walk", _walk, (str(folder),), warm=0)]
        lines += _lines(many, measure(cases, settings.rounds))
    notes = (
        "Empty files. The memory is what the process grows by. Beside each stands the least that "
        "any listing does: `os.scandir` and a sort, or `zipfile.ZipFile`."
    )
    return Block("Listing", lines, notes)


def _lines(many: Many, found: Mapping[str, Result]) -> list[Line]:
    own, least = found["clan"].processor, found["walk"].processor
    grown = found["clan"].fact("grown") / MIB
    goal, memory = f"{many.goal:g} s", f"{many.memory} MiB"
    least_name = "`zipfile.ZipFile`" if many.archive else "`os.scandir`"
    return [
        Line(many.name, seconds(own), goal, own / many.goal, 1.0, goal),
        Line("the same", seconds(own), seconds(least), own / least, None, least_name),
        Line("its memory", f"{grown:.0f} MiB", memory, grown / many.memory, 1.0, memory),
    ]


def _write(folder: Path, many: Many) -> None:
    folder.mkdir(parents=True)
    names = [
        f"{part}/frame_{index:08}.png"
        for part in ("images", "labels")
        for index in range(many.pairs)
    ]
    if many.archive:
        with zipfile.ZipFile(folder / "many.zip", "w") as archive:
            for name in names:
                archive.writestr(zipfile.ZipInfo(name), b"")
    else:
        for part in ("images", "labels"):
            (folder / part).mkdir()
        for name in names:
            os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))
    root = "many.zip" if many.archive else "."
    (folder / "speed.yaml").write_text(DESCRIPTION.format(root=root))


def _open(folder: str) -> Run:
    from clan.data.datasets import open_dataset

    description = str(Path(folder, "speed.yaml"))

    def run() -> dict[str, float]:
        before = _peak(anew=True)
        data = open_dataset(description, split="train")
        return {"grown": _peak() - before, "pairs": len(data)}

    return run


def _walk(folder: str) -> Run:
    archive = Path(folder, "many.zip")

    def run() -> None:
        if archive.exists():
            zipfile.ZipFile(archive).close()
            return
        for part in ("images", "labels"):
            with os.scandir(Path(folder, part)) as entries:
                sorted(entry.path for entry in entries if entry.is_file())

    return run


def _peak(anew: bool = False) -> int:
    """Return the largest resident set in bytes, or begin it ``anew`` with the present one.

    Linux only; elsewhere 0.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    lines = status.read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
