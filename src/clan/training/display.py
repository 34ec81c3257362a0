"""What a training shows while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clan.core.console import Console


class Display(Protocol):
    """What the loop tells whoever watches it."""

    def message(self, text: str) -> None:
        """Say one line."""

    def begin(self, title: str, step: int, steps: int) -> None:
        """Open the progress bar at ``step`` of ``steps``."""

    def advance(self, step: int, scalars: Mapping[str, float], images_per_second: float) -> None:
        """Show where the training is."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Silent:
    """Shows nothing: for processes other than the first, and for scripts."""

    def message(self, text: str) -> None:
        """Say nothing."""

    def begin(self, title: str, step: int, steps: int) -> None:
        """Show nothing."""

    def advance(self, step: int, scalars: Mapping[str, float], images_per_second: float) -> None:
        """Show nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


DETAILS = ("d_accuracy_", "d_logit_", "alignment_q")
"""Scalars that a line has no room for; the run's metrics have them."""


class Bar:
    """A progress bar with losses, images per second and time left.

    Where the output is no terminal (a log file), a line every tenth of the way stands for it.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            # names are the user's: brackets in them are no markup
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[shown]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._title = ""
        self._steps = 1
        self._tenth = 0

    def message(self, text: str) -> None:
        """Print one line above the bar."""
        # a terminal that was closed must not keep the training from writing its checkpoint
        with suppress(OSError):
            self.console.say(text)

    def begin(self, title: str, step: int, steps: int) -> None:
        """Open the bar at ``step`` of ``steps``."""
        self._title, self._steps, self._tenth = title, steps, 10 * step // steps
        self._task = self._progress.add_task(title, total=steps, completed=step, shown="")

    def advance(self, step: int, scalars: Mapping[str, float], images_per_second: float) -> None:
        """Move the bar and show the newest losses."""
        losses = "  ".join(
            f"{name.removeprefix('loss_')} {value:.3g}"
            for name, value in scalars.items()
            if not name.startswith(DETAILS)
        )
        shown = f"{images_per_second:.1f} img/s  {losses}"
        self._progress.update(self._task, completed=step, shown=shown)
        tenth = 10 * step // self._steps
        if not self.console.is_terminal and tenth > self._tenth:
            self.message(f"{self._title} {step}/{self._steps}  {shown}")
        self._tenth = tenth

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._progress.stop()
