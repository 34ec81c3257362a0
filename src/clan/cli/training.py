"""Commands that train: the demo, presets, one run, a grid of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from clan.cli.common import Overrides, print_table, tell


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, runs and pictures.")] = Path("demo"),
) -> None:
    """Adapt a small network on the built-in town, end to end, in a few minutes on two cores.

    Makes the town (a two-domain set of street scenes), trains source-only, TAN and CLAN from
    scratch, scores them on the target, prints the comparison and writes pictures. A second call
    reuses finished parts.

    Example: `clan demo --out demo`
    """
    from clan.demo import run_demo

    run_demo(out, Console())


def presets(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[PRESET] [OTHER]",
            help="One or a file to show, a folder or pattern to list, or two to compare.",
        ),
    ] = None,
) -> None:
    """List the presets; show one, complete; or show what differs between two.

    Examples: `clan presets`, `clan presets gta5-cityscapes/paper`, `clan presets '*/clan'`,
    `clan presets town/tan town/clan`
    """
    from clan.config.files import matching_presets, preset_folders
    from clan.config.flat import differences
    from clan.config.loading import dump_config, load_config

    if not names:
        alike: dict[str, list[str]] = {}
        for name, systems in preset_folders().items():
            alike.setdefault("  ".join(systems), []).append(f"{name}/\n")
        rows = [("".join(folders), systems) for systems, folders in alike.items()]
        print_table(("folders", "presets in each"), rows)
        tell("next: clan presets FOLDER, or a pattern such as '*/clan', says what each of them is")
    elif len(names) == 1 and (found := matching_presets(names[0])) != names:
        about = [(n, load_config(n).description.partition("\n")[0]) for n in found]
        print_table(("preset", "what it is"), about)
    elif len(names) == 1:
        tell(dump_config(load_config(names[0])).rstrip())
    elif len(names) == 2:
        first, second = (load_config(name) for name in names)
        changes = [(key, str(a), str(b)) for key, a, b in differences(first, second)]
        print_table(("key", *names), changes)
    else:
        raise typer.BadParameter("give at most two presets")


def train(
    preset: Annotated[
        str, typer.Argument(help="A preset's name, or a configuration file (.yaml).")
    ],
    overrides: Overrides = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The run's folder.  \\[default: runs/NAME/seedSEED]"),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Do three updates on generated images and print parameters, optimizer groups, "
            "peak memory and hours. Needs no data, writes nothing.",
        ),
    ] = False,
) -> None:
    """Train one system into a run folder.

    Examples:

    `clan train town/clan data.root=data/town seed=1`

    `clan train town/clan data.source=mygame.yaml data.target=photos/ data.validation=null`

    `clan train my.yaml training.devices=4 training.precision=bf16-mixed`

    `clan train gta5-cityscapes/reference/resnet101/clan --dry-run`

    Ctrl-C writes a checkpoint and says how to go on. Many machines: start the same command on
    each through torchrun, with `training.nodes` set.
    """
    from clan.config.loading import load_config
    from clan.training.display import Bar
    from clan.training.train import train as run_training

    config = load_config(preset, overrides or [])
    if dry_run:
        from clan.training.dry_run import dry_run as try_updates
        from clan.training.dry_run import print_dry_run

        print_dry_run(try_updates(config), config, Console())
        return
    folder = out or Path("runs") / config.name / f"seed{config.seed}"
    run = run_training(config, folder, display=Bar())
    tell(f"run: {run.path}")
    tell(f"next: clan predict {run.path} IMAGES... --out DIR")


def resume(
    run: Annotated[Path, typer.Argument(help="The folder of an unfinished run.")],
    overrides: Overrides = None,
) -> None:
    """Resume a run from its newest checkpoint.

    The result is the same as that of an uninterrupted run. Options that do not affect it may
    change: device, number of processes, loader workers, `data.root`, the intervals of scoring and
    checkpoints, and the number of checkpoints kept.

    Examples:

    `clan resume runs/clan/seed0`

    `clan resume runs/clan/seed0 training.devices=4`
    """
    from clan.training.display import Bar
    from clan.training.train import resume as go_on

    finished = go_on(run, overrides or [], display=Bar())
    tell(f"run: {finished.path}")


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
    from clan.studies.sweep.study import sweep as run_sweep

    study = run_sweep(preset, grid, out, jobs=jobs, console=Console(stderr=True))
    typer.echo(f"study: {study.root}")
