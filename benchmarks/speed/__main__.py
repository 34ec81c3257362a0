"""Measure every row on this machine, each beside its limit, and write docs/speed.md.

    python -m benchmarks.speed
    python -m benchmarks.speed --only small predict --page /tmp/speed.md

Run it from the repository's root. Without a GPU it takes about ten minutes on one core; with one,
the GPU's rows are measured too. No data set is needed.
"""

from __future__ import annotations

import argparse
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

Written by `python -m benchmarks.speed`, in one run, on the machine below; run it to have the page
of yours. Times are processor seconds over all threads, one thread a case, medians of {rounds}
interleaved rounds or more; the machine was shared with other work, so read the ratios. What bounds
each item stands beside it and was measured in the same rounds.

{machine}
The run took {minutes:.0f} minutes. {gpu}
"""
NO_GPU = "There was no GPU: its rows are not measured."


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    began, blocks = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        names = options.only or _here()
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            since = time.perf_counter()
            settings = Settings(options.rounds, options.quick, Path(folder) / name)
            settings.folder.mkdir()
            blocks.append(markdown(ROWS[name](settings)))
            print(
                f"  {time.perf_counter() - since:.0f} s\n{blocks[-1]}", file=sys.stderr, flush=True
            )
    minutes = (time.perf_counter() - began) / 60
    from clan.runs.environment import machine

    head = HEAD.format(
        rounds=options.rounds,
        machine=machine(),
        minutes=minutes,
        gpu="" if "gpu" in names else NO_GPU,
    )
    options.page.write_text("\n".join([head, *blocks]).rstrip() + "\n", encoding="utf-8")


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
