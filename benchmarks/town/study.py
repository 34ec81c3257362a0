"""The town's parameter study, as section 4.5 of the paper: one page, written from the runs.

    python benchmarks/town/study.py [--jobs 2] [--seeds 0 1 2] [--set KEY=VALUE]

CLAN with lambda_local in 10, 20, 40, 80 at epsilon 0.4, and epsilon in 0.1, 0.2, 0.4, 0.8 at
lambda_local 40; TAN beside it. Draws the town first if it is not there. A second call goes on where
the first one stopped, and TAN's runs of `clan bench town` are not trained again.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from clan import make_town
from clan.core.console import Console
from clan.core.errors import ClanError, RunError
from clan.figures.style import save_figure
from clan.runs.environment import machine
from clan.studies.bench.run import Request, prepare
from clan.studies.jobs import start_process
from clan.studies.sweep.figure import draw_study, read_reference
from clan.studies.sweep.results import Table, read_table
from clan.studies.sweep.settings import markdown_table
from clan.studies.sweep.study import sweep

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs"
AXES = ("method.lambda_local=10,20,40,80", "method.epsilon=0.1,0.2,0.4,0.8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/town-study"))
    parser.add_argument("--town", type=Path, default=Path("data/town"))
    parser.add_argument("--tan", type=Path, default=Path("runs/town"), help="holds TAN's runs")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--page", type=Path, default=DOCS / "parameter-study.md")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    changes = [f"data.root={make_town(options.town)}", *options.set]
    seeds = f"seed={','.join(map(str, options.seeds))}"
    console = Console(stderr=True)
    try:
        for axis in AXES:
            sweep(
                "town/clan",
                [*changes, axis, seeds],
                options.out,
                jobs=options.jobs,
                console=console,
                start=start_process,
            )
        train_tan(options, changes, console)
    except ClanError as error:
        raise SystemExit(str(error)) from None
    tan = [options.tan / "tan" / f"seed{seed}" for seed in options.seeds]
    write_page(options.page, _command(options), read_table(options.out), tan)


def _command(options: argparse.Namespace) -> str:
    """Return the command that the page names."""
    words = ["--seeds", *map(str, options.seeds)]
    for change in options.set:
        words += ["--set", change]
    return shlex.join(["python", "benchmarks/town/study.py", *words])


def train_tan(options: argparse.Namespace, changes: Sequence[str], console: Console) -> None:
    """Train what stands beside the study, where it is not there."""
    request = Request(
        "town",
        systems=("tan",),
        seeds=tuple(options.seeds),
        overrides=tuple(changes),
        out=options.tan,
        jobs=options.jobs,
    )
    if failed := prepare(request, console).train(start_process):
        raise RunError("\n".join(f"{run}: {said}" for run, said in failed.items()))


def write_page(page: Path, command: str, table: Table, tan: Sequence[Path]) -> None:
    """Write the page and its figure, images/parameter-study.png and .svg beside it."""
    figure = draw_study(table, tan)
    for suffix in ("png", "svg"):
        save_figure(figure, page.parent / "images" / f"parameter-study.{suffix}")
    page.write_text("\n".join(_lines(command, table, tan)), encoding="utf-8")


def _lines(command: str, table: Table, tan: Sequence[Path]) -> Iterable[str]:
    reference = read_reference(table, tan)
    yield "# Parameter study"
    yield ""
    yield (
        f"Written by `{command}` from the files of the runs; no number here was typed. {machine()}"
    )
    yield ""
    yield "![mIoU and D's loss over lambda_local and epsilon](images/parameter-study.png)"
    yield ""
    yield (
        f"CLAN on the built-in town, preset `{table.preset}`. mIoU in percent over {table.scored}; "
        "means over seeds with their sample standard deviation. D's loss is the mean of its losses "
        "on both domains over the last tenth of the steps, the target's weighted by the map. The "
        "last column is what `clan health` finds: see [reading the curves](reading-the-curves.md)."
    )
    yield ""
    yield markdown_table(table)
    yield ""
    if reference.miou is not None and reference.d_loss is not None:
        yield (
            f"TAN ({reference.miou.count} seeds): mIoU {reference.miou.text(100, 1)}, D's loss "
            f"{reference.d_loss.text()}."
        )
        yield ""
    yield (HERE / "study.md").read_text(encoding="utf-8").strip()
    yield ""


if __name__ == "__main__":
    main()
