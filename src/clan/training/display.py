"""The display of a running training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rich.console import Console

from clan.core.progress import Bars, Track


class Display(Protocol):
    """The interface that the loop reports to."""

    def message(self, text: str) -> None:
        """Say one line."""

    def begin(self, title: str, step: int, steps: int) -> None:
        """Open the progress bar at ``step`` of ``steps``."""

    def advance(
        self,
        step: int,
        scalars: Mapping[str, float],
        images_per_second: float,
        waiting: float = 0.0,
    ) -> None:
        """Show where the training is, and the share of the time that it waited for images."""

    def __enter__(self) -> Display: ...

    def __exit__(self, *error: object) -> None: ...


class Silent:
    """Shows nothing: for processes other than the first, and for scripts."""

    def message(self, text: str) -> None:
        """Say nothing."""

    def begin(self, title: str, step: int, steps: int) -> None:
        """Show nothing."""

    def advance(
        self,
        step: int,
        scalars: Mapping[str, float],
        images_per_second: float,
        waiting: float = 0.0,
    ) -> None:
        """Show nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None:
        pass


DETAILS = ("d_accuracy_", "d_logit_", "alignment_q")
"""Scalars that a line has no room for; the run's metrics have them."""


SHOWN_WAITING = 0.05
"""Share of the time spent waiting for images from which the line has room for it."""


class Bar:
    """A progress bar with time left, images per second and losses.

    Where the output is no terminal (a log file), a line every tenth of the way stands for it.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._bars = Bars(console)
        self._track: Track | None = None

    @property
    def console(self) -> Console:
        """Where it is shown."""
        return self._bars.console

    def message(self, text: str) -> None:
        """Print one line above the bar."""
        self._bars.message(text)

    def begin(self, title: str, step: int, steps: int) -> None:
        """Open the bar at ``step`` of ``steps``."""
        self._track = self._bars.add(title, steps, step)

    def advance(
        self,
        step: int,
        scalars: Mapping[str, float],
        images_per_second: float,
        waiting: float = 0.0,
    ) -> None:
        """Move the bar and show speed, waiting and the newest losses."""
        assert self._track is not None, "the bar was not begun"
        losses = (
            f"{name.removeprefix('loss_')} {value:.3g}"
            for name, value in scalars.items()
            if not name.startswith(DETAILS)
        )
        waits = [f"waits {100 * waiting:.0f} %"] if waiting >= SHOWN_WAITING else []
        shown = (f"{images_per_second:.1f} img/s", *waits, *losses)
        self._bars.move(self._track, step, shown)

    def __enter__(self) -> Bar:
        self._bars.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.__exit__(*error)
