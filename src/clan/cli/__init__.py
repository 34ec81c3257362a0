"""The command line: one short function per command, no logic of its own."""

from __future__ import annotations

import io
import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from clan.cli import analysis, bench, data, networks, scoring, training
from clan.cli.common import CANNOT, INTERRUPTED, UNFORESEEN, complain, unforeseen
from clan.core.errors import ClanError
from clan.core.memory import keep_memory

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
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error arose: Python's traceback.")
    ] = False,
) -> None:
    """Adapt a segmentation network from labelled renderings to unlabelled photographs."""
    _asked.debug = debug


class _Asked:
    """What was asked of all commands."""

    debug = False


_asked = _Asked()


def main() -> None:
    """Run the command line: an error is told in a line and an exit code, whatever it is."""
    for stream in (sys.stdout, sys.stderr):
        # a name may hold what the terminal's encoding does not
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    keep_memory()
    try:
        app()
    except KeyboardInterrupt:
        # before a training could say how to go on
        sys.exit(INTERRUPTED)
    except Exception as error:
        if _asked.debug:
            traceback.print_exc()
        sys.exit(_told(error))


def _told(error: Exception) -> int:
    """Tell an error; return the exit code."""
    if isinstance(error, ClanError):
        from clan.training.loop import Interrupted
        from clan.training.processes import OtherProcess

        if isinstance(error, OtherProcess):
            # the first process tells, and gives the exit code
            return 0
        complain(str(error))
        return INTERRUPTED if isinstance(error, Interrupted) else CANNOT
    if isinstance(error, OSError):
        # what reaches this place is the machine's: a full disk, no permission, too many files
        complain(f"{error.filename or 'input/output'}: {error.strerror or error}")
        return CANNOT
    from clan.data.workers import killed_worker

    if said := killed_worker(error):
        complain(said)
        return CANNOT
    complain(unforeseen(error, sys.argv[1:]))
    return UNFORESEEN
