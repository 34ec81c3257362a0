"""Measure every row on this machine, each beside its limit, and write docs/speed.md.

    python -m benchmarks.speed
    python -m benchmarks.speed --only small predict --page /tmp/speed.md

Run it from the repository's root. Without a GPU it takes about twenty minutes on one core; with
one, its rows are measured too. No data set is needed. A section is written as soon as it is
measured, in place of its last one; the others stay.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.speed import answers, gpu, listing, reading, start, updates
from benchmarks.speed.table import Block, Settings, markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "speed.md"
ROWS: dict[str, Callable[[Settings], Block]] = {
    "update": updates.large,
    "floor": updates.floor,
    "small": updates.small,
    "start": start.start,
    "predict": answers.predict,
    "argmax": answers.argmax,
    "reading": reading.reading,
    "listing": listing.listing,
    "gpu": gpu.gpu,
}
HEAD = """\
# Speed

Written by `python -m benchmarks.speed` on the machine below; run it to have the page of yours.
Times are processor seconds over all threads, one thread a case, medians of {rounds} interleaved
rounds or more; the machine was shared with other work, so read the ratios. What bounds each item
stands beside it and was measured in the same rounds.

{machine}
{gpu}
"""
NO_GPU = "There was no GPU: its rows are not measured.\n"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    names = options.only or _here()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            since = time.perf_counter()
            settings = Settings(options.rounds, options.quick, Path(folder) / name)
            settings.folder.mkdir()
            section = markdown(ROWS[name](settings))
            print(f"  {time.perf_counter() - since:.0f} s\n{section}", file=sys.stderr, flush=True)
            _write(options.page, section, options.rounds)


def _write(page: Path, section: str, rounds: int) -> None:
    """Put a section on the page, in place of the one of the same title."""
    from clan.runs.environment import machine

    sections = _sections(page.read_text(encoding="utf-8")) if page.is_file() else {}
    sections |= _sections(section)
    absent = "" if f"## {gpu.TITLE}" in sections else NO_GPU
    head = HEAD.format(rounds=rounds, machine=machine(), gpu=absent).rstrip()
    page.write_text("\n\n".join([head, *sections.values()]) + "\n", encoding="utf-8")


def _sections(page: str) -> dict[str, str]:
    """Return the sections of a page by their first line."""
    _, *found = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    return {section.partition("\n")[0]: section.rstrip() for section in found}


def _here() -> list[str]:
    """Return the rows that this machine can measure."""
    from torch.cuda import is_available

    return [name for name in ROWS if name != "gpu" or is_available()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=3, help="at least so many of each")
    parser.add_argument("--quick", action="store_true", help="small, to try the program out")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    return parser


if __name__ == "__main__":
    main()
