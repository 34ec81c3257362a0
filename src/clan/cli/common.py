"""What the commands share: how they speak, and the exit codes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Table
from rich.text import Text

from clan.core.console import Console
from clan.core.text import one_line

if TYPE_CHECKING:
    from clan.core.progress import Watch

Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads this form on every Python it supports
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the preset, such as `seed=1`."),
]

CANNOT, INTERRUPTED, UNFORESEEN = 1, 130, 70


def complain(text: str) -> None:
    """Print an error to standard error."""
    console = Console(stderr=True)
    console.print("[bold red]error:[/]", end=" ")
    console.say(text)


def unforeseen(error: Exception, arguments: Sequence[str]) -> str:
    """Return what to say of an error that no code has foreseen, and what to do about it.

    Args:
        error: of a loader's worker too, which torch tells as a traceback in the message.
        arguments: of the command line.
    """
    said = (str(error).strip().splitlines() or [""])[-1]
    said = said if "DataLoader worker" in str(error) else f"{type(error).__name__}: {said}"
    again = shlex.join(["clan", *(() if arguments[:1] == ["--debug"] else ["--debug"]), *arguments])
    return (
        f"clan {version('clan')} met something that it does not foresee: {said}\n"
        f"The command was: {shlex.join(['clan', *arguments])}\n"
        f"To see where it arose: {again}\n"
        "Files that are written already stay as they are. Please report it with that output."
    )


def tell(text: str) -> None:
    """Print a line with paths: no markup, no highlighting, no breaking."""
    Console().say(one_line(text))


def tell_lines(text: str) -> None:
    """Print a text of our own making, such as YAML, as it is."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table without lines."""
    table = Table(box=None, pad_edge=False)
    # names and values are the user's: brackets in them are no markup
    for index, head in enumerate(heads):
        # the first column names things, and a name that is cut or wrapped cannot be copied
        table.add_column(Text(head), no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    Console().print(table)


def progress() -> AbstractContextManager[Watch]:
    """Show a line for each pass over images."""
    from clan.core.progress import watching

    return watching()
