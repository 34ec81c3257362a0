"""The command line: one short function per command, no logic of its own."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from clan.cli import analysis, bench, data, networks, scoring, training
from clan.cli.common import CANNOT, INTERRUPTED, complain
from clan.core.errors import ClanError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Adapt a segmentation network from labelled renderings to unlabelled photographs.",
)
for command in (
    *(training.demo, training.presets, training.train, training.resume, training.sweep),
    bench.bench,
    *(scoring.evaluate, scoring.compare, scoring.health, scoring.report),
    *(analysis.figure, networks.predict, networks.export, networks.convert),
):
    app.command()(command)
app.add_typer(analysis.analyse_app, name="analyse")
app.add_typer(data.data_app, name="data")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"clan {version('clan')}")
        raise typer.Exit


@app.callback()
def _options(
    shown: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Adapt a segmentation network from labelled renderings to unlabelled photographs."""


def main() -> None:
    """Run the command line; errors that the user can mend are printed without a traceback."""
    try:
        app()
    except ClanError as error:
        from clan.training.loop import Interrupted
        from clan.training.processes import OtherProcess

        if isinstance(error, OtherProcess):
            # the first process tells, and gives the exit code
            sys.exit(0)
        complain(str(error))
        sys.exit(INTERRUPTED if isinstance(error, Interrupted) else CANNOT)
    except OSError as error:
        # what reaches this place is the machine's: a full disk, no permission, too many files
        complain(f"{error.filename or 'input/output'}: {error.strerror or error}")
        sys.exit(CANNOT)
