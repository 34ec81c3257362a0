"""`clan bench`: the paper's Table 1 on one's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from clan.cli.common import Overrides
from clan.core.console import Console

Names = Optional[list[str]]  # noqa: UP045 - typer reads this form on every Python it supports


def bench(
    task: Annotated[
        str,
        typer.Argument(
            help="A folder of presets, such as `town`, or of configurations: one file per system."
        ),
    ],
    overrides: Overrides = None,
    systems: Annotated[
        Names,
        typer.Option(
            help="Names of the folder's files, by commas or given again.  \\[default: all but "
            "variants of others]"
        ),
    ] = None,
    seeds: Annotated[
        Names, typer.Option(help="Numbers, by commas or given again.  \\[default: 0,1,2]")
    ] = None,
    jobs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Trainings at a time.  \\[default: one per GPU, or one]"),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of the runs and the table.  \\[default: runs/TASK]"),
    ] = None,
    baseline: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="The row that gains and costs are relative to.  \\[default: source_only]"
        ),
    ] = None,
    oracle: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The row that is trained on target labels.  \\[default: oracle]"),
    ] = None,
    control: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The row that the others are tested against.  \\[default: the baseline]"),
    ] = None,
    table_only: Annotated[
        bool, typer.Option("--table-only", help="Train nothing; tabulate the finished runs.")
    ] = False,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="Measure time and memory of an update of each system, in three rounds; needs an "
            "idle machine.",
        ),
    ] = False,
    page: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Put the table into a Markdown page, in a section of its own."),
    ] = None,
    summary: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Put a short table, and what it shows, into a section of another Markdown page."
        ),
    ] = None,
    notes: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Markdown to put below the table of --page.  \\[default: notes.md beside the "
            "systems]"
        ),
    ] = None,
    records: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="File of runs that were trained earlier, here or on other machines: they are not "
            "trained again, and runs that are finished here are added to it."
        ),
    ] = None,
) -> None:
    """Train all systems of a task over seeds; write the paper's Table 1 of them.

    Every training is a process: one per GPU if there are several, else they share the machine's
    threads. Data are checked before the first starts. The same command continues a stopped
    benchmark: finished runs are skipped, and a run of another configuration is an error. The table
    has IoU per class, mIoU with its spread, gain and gap closed, time and memory, and a rank test
    over seeds for which differences are significant. It is written as Markdown, CSV, JSON and HTML.

    Examples:

    `clan bench town --jobs 2`

    `clan bench town --systems source_only,tan,clan,oracle --seeds 0,1,2,3,4 training.steps=800`

    `clan bench mytask/ data.root=data --table-only --page results.md`
    """
    from clan.core.errors import ConfigError
    from clan.demo import draw_town
    from clan.studies.bench.api import bench as run_bench
    from clan.studies.bench.run import SEEDS

    listed = _split(seeds)
    if wrong := [text for text in listed if not text.lstrip("-").isdecimal()]:
        raise ConfigError(f"--seeds {', '.join(wrong)}: expected whole numbers, such as 0,1,2")
    run_bench(
        task,
        systems=_split(systems),
        seeds=[int(text) for text in listed] or SEEDS,
        overrides=overrides or (),
        out=out,
        jobs=jobs,
        baseline=baseline,
        oracle=oracle,
        control=control,
        table_only=table_only,
        cost=cost,
        page=page,
        summary=summary,
        notes=notes,
        records=records,
        console=Console(),
        make_data=draw_town,
    )


def _split(values: list[str] | None) -> list[str]:
    """Return what is given by commas or by giving the option again."""
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]
