"""What the commands share: how they speak, and the exit codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from clan.core.progress import Watch

Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads this form on every Python it supports
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the preset, such as `seed=1`."),
]

CANNOT, INTERRUPTED = 1, 130


def complain(text: str) -> None:
    """Print an error to standard error."""
    console = Console(stderr=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def tell(text: str) -> None:
    """Print a line with paths: no markup, no highlighting, no breaking."""
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
