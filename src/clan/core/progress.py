"""How every command shows that it goes on: a name, how far it is, and how long it will take.

On a terminal it is one line that never loses these three, however narrow it is: what else there is
to say is left out first, then the bar, then the end of a long name. Where the output is no terminal
(a log file), lines at every tenth of the way say the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

Clock = Callable[[], float]
Watch = Callable[[str, int, int], None]
"""Told what is done, how much of it is, and of how much."""

QUIET = 5.0
"""Seconds between the lines that a pass over images writes into a log file, at least."""

_GAP = "  "
_BAR = 20  # letters of a bar where there is room


class Track:
    """One thing that goes on.

    Args:
        name: of it.
        total: steps in all; None while nobody knows.
        done: steps that were done before.
        clock: gives seconds.
    """

    def __init__(
        self, name: str, total: int | None, done: int = 0, clock: Clock = time.monotonic
    ) -> None:
        self.name, self.total, self.done = name, total, done
        self.details: tuple[str, ...] = ()
        self._clock = clock
        # the last of many marks, so that a pace that changes is followed
        self._marks: deque[tuple[float, int]] = deque([(clock(), done)], maxlen=50)

    def move(self, done: int, details: Sequence[str] = ()) -> None:
        """Say that so many steps are done, and what else there is to say."""
        self.done, self.details = done, tuple(details)
        self._marks.append((self._clock(), done))

    def seconds_left(self) -> float | None:
        """Return how long the rest will take at the pace of the last marks; None if unknown."""
        (began, first), (ended, last) = self._marks[0], self._marks[-1]
        if self.total is None or last <= first:
            return None
        rest = (self.total - last) * (ended - began) / (last - first)
        return max(0.0, rest - (self._clock() - ended))

    def text(self) -> str:
        """Return how far it is and the time left: ``60/400  1:02 left``."""
        if self.total is None:
            return "starting"
        return f"{self.done}/{self.total}{_GAP}{duration(self.seconds_left())} left"

    def line(self, width: int) -> Text:
        """Return the line for a terminal of so many letters, never longer."""
        told = self.text()
        room = width - len(told) - len(_GAP)
        name = shortened(self.name, max(room, 1))
        room -= len(name)
        line = Text(name, style="bold", no_wrap=True, end="")
        bar = min(_BAR, room - len(_GAP)) if self.total and room >= _BAR // 2 else 0
        if bar > 0:
            full = round(bar * min(1.0, self.done / (self.total or 1)))
            line.append(_GAP).append("━" * full, "not bold green")
            line.append("━" * (bar - full), "not bold bright_black")
            room -= bar + len(_GAP)
        line.append(f"{_GAP}{told}", "not bold")
        for detail in self.details:
            room -= len(_GAP) + len(detail)
            if room < 0:
                break
            line.append(f"{_GAP}{detail}", "not bold")
        line.truncate(width)
        return line

    def log_line(self) -> str:
        """Return the line for a log file."""
        return _GAP.join((f"{self.name} {self.text()}", *self.details))


class _Line(ProgressColumn):
    """The whole line of a task."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Task) -> Text:
        track: Track = task.fields["track"]
        return track.line(self._console.width)


class Bars:
    """The lines of all that goes on at once.

    Args:
        console: where; standard error by default.
        transient: whether the lines go when it is over.
        quiet: seconds between lines of one thing in a log file, at least.
        clock: gives seconds.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        transient: bool = False,
        quiet: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.console = console or Console(stderr=True)
        self._quiet, self._clock = quiet, clock
        self._progress = Progress(
            _Line(self.console),
            console=self.console,
            transient=transient,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[Track, Task] = {}
        self._told: dict[Track, tuple[int, float]] = {}

    def message(self, text: str) -> None:
        """Print one line above the bars."""
        # a terminal that was closed must not keep a training from writing its checkpoint
        with suppress(OSError):
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def add(self, name: str, total: int | None, done: int = 0) -> Track:
        """Open a line."""
        track = Track(name, total, done, self._clock)
        number = self._progress.add_task(name, total=total, completed=done, track=track)
        self._tasks[track] = next(t for t in self._progress.tasks if t.id == number)
        self._told[track] = (_tenth(track), self._clock())
        return track

    def move(self, track: Track, done: int, details: Sequence[str] = ()) -> None:
        """Move a line to ``done``, with what else there is to say."""
        track.move(done, details)
        self._progress.update(self._tasks[track].id, completed=done, total=track.total)
        if self.console.is_terminal:
            return
        (before, when), now, tenth = self._told[track], self._clock(), _tenth(track)
        if tenth > before and now - when >= self._quiet:
            self._told[track] = (tenth, now)
            self.message(track.log_line())

    def close(self, track: Track) -> None:
        """Take a line away."""
        self._progress.remove_task(self._tasks.pop(track).id)
        del self._told[track]

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._progress.stop()


@contextmanager
def watching(console: Console | None = None, quiet: float = QUIET) -> Iterator[Watch]:
    """Show passes over images, one after the other: a line for each title that is told."""
    with Bars(console, transient=True, quiet=quiet) as bars:
        tracks: dict[str, Track] = {}

        def watch(title: str, done: int, total: int) -> None:
            if title not in tracks:
                for old in list(tracks.values()):
                    bars.close(old)
                tracks.clear()
                tracks[title] = bars.add(title, total)
            bars.move(tracks[title], done)

        yield watch


def shortened(name: str, width: int) -> str:
    """Return a name in so many letters, its middle left out: both ends tell names apart."""
    if len(name) <= width:
        return name
    front = (width - 1 + 1) // 2
    back = width - 1 - front
    return f"{name[:front]}…{name[len(name) - back :] if back > 0 else ''}"


def duration(seconds: float | None) -> str:
    """Return seconds as ``0:07``, ``12:34`` or ``1:02:03``; ``-:--`` for None."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _tenth(track: Track) -> int:
    return 10 * track.done // track.total if track.total else 0
