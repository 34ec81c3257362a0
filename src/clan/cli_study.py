"""The command line's parameter study and adversarial health."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console


def sweep(
    preset: Annotated[
        str, typer.Argument(help="A preset's name, or a configuration file (.yaml).")
    ],
    grid: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE,VALUE...",
            help="What to vary. Values are YAML: a list in brackets is one value.",
        ),
    ],
    jobs: Annotated[
        Optional[int],  # noqa: UP045 - typer reads this form on every Python it supports
        typer.Option(help="Trainings at a time.  \\[default: one per GPU, or one]"),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The study's folder.  \\[default: runs/NAME-sweep]"),
    ] = None,
) -> None:
    """Train a grid of settings and draw the parameter study (section 4.5 of the paper).

    Every combination is a run of its own process: one per GPU where there are several, else
    sharing the machine's threads. All are checked before the first starts. The same command again
    goes on where it stopped and tries failed cells again; another grid in the same folder extends
    the study. Ctrl-C lets the runs write their checkpoints.

    The folder gets sweep.csv, sweep.json and study.png: bars of mIoU, lines of D's loss.

    Examples:

    `clan sweep town/clan method.epsilon=0.1,0.2,0.4,0.8 seed=0,1,2 data.root=data/town --jobs 2`

    `clan sweep town/clan model.aspp_rates=[1,2],[1,2,4,6] method.lambda_local=10,40 --out study`
    """
    from clan.sweep.study import sweep as run_sweep

    study = run_sweep(preset, grid, out, jobs=jobs)
    typer.echo(f"study: {study.root}")


def health(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, finished or not.")],
) -> None:
    """Tell whether adversarial trainings are healthy, and what to try where they are not.

    D's accuracy and mean logit per domain, the adversary's share of G's gradient and the mean of
    the alignment map near the end, and a verdict over the whole training: d_wins, d_one_sided,
    d_blind, adv_negligible, adv_dominates or healthy. `docs/reading-the-curves.md` explains them.

    Example: `clan health runs/*/seed*`
    """
    from clan.health_table import show_health

    show_health(runs, Console())


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(sweep)
    app.command()(health)
