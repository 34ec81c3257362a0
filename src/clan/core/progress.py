"""The progress display of all commands: name, steps done, and time left.

On a narrow terminal the line drops the further details first, then the bar, and then shortens a
long name; the steps and the time left always stay. If the output is no terminal (a log file), a
line is written at every tenth of the steps.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from clan.core.console import Console

Clock = Callable[[], float]
Watch = Callable[[str, int, int], None]
"""Called with a title, the steps done and the steps in all."""

QUIET = 5.0
"""Least seconds between log lines of a pass over images."""

_GAP = "  "
_BAR = 20  # characters of a full-width bar


class Track:
    """The progress of one task.

    Args:
        name: shown at the start of the line.
        total: steps in all; None if not yet known.
        done: steps that are done already.
        clock: returns seconds.
    """

    def __init__(
        self, name: str, total: int | None, done: int = 0, clock: Clock = time.monotonic
    ) -> None:
        self.name, self.total, self.done = name, total, done
        self.details: tuple[str, ...] = ()
        self._clock = clock
        # only recent marks, so that the estimate follows changes of speed
        self._marks: deque[tuple[float, int]] = deque([(clock(), done)], maxlen=50)

    def move(self, done: int, details: Sequence[str] = ()) -> None:
        """Set the number of steps done, and further details to show."""
        self.done, self.details = done, tuple(details)
        self._marks.append((self._clock(), done))

    def seconds_left(self) -> float | None:
        """Return the estimated time left, from the recent speed; None if unknown."""
        (began, first), (ended, last) = self._marks[0], self._marks[-1]
        if self.total is None or last <= first:
            return None
        rest = (self.total - last) * (ended - began) / (last - first)
        return max(0.0, rest - (self._clock() - ended))

    def text(self) -> str:
        """Return steps done and time left: ``60/400  1:02 left``."""
        if self.total is None:
            return "starting"
        return f"{self.done}/{self.total}{_GAP}{duration(self.seconds_left())} left"

    def line(self, width: int) -> Text:
        """Return the line for a terminal, at most ``width`` characters long."""
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
    """A column that shows the whole line of a task."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Task) -> Text:
        track: Track = task.fields["track"]
        return track.line(self._console.width)


class Bars:
    """The progress lines of all running tasks.

    Args:
        console: standard error by default.
        transient: whether the lines are removed at the end.
        quiet: least seconds between lines of one task in a log file.
        clock: returns seconds.
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
        """Print a message above the bars."""
        # a closed terminal must not stop a training before it writes its checkpoint
        with suppress(OSError):
            self.console.say(text)

    def add(self, name: str, total: int | None, done: int = 0) -> Track:
        """Add a line for a task."""
        track = Track(name, total, done, self._clock)
        number = self._progress.add_task(name, total=total, completed=done, track=track)
        self._tasks[track] = next(t for t in self._progress.tasks if t.id == number)
        self._told[track] = (_tenth(track), self._clock())
        return track

    def move(self, track: Track, done: int, details: Sequence[str] = ()) -> None:
        """Set the steps done of a line, and further details to show."""
        track.move(done, details)
        self._progress.update(self._tasks[track].id, completed=done, total=track.total)
        if self.console.is_terminal:
            return
        (before, when), now, tenth = self._told[track], self._clock(), _tenth(track)
        if tenth > before and now - when >= self._quiet:
            self._told[track] = (tenth, now)
            self.message(track.log_line())

    def close(self, track: Track) -> None:
        """Remove a line."""
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
    """Show passes over images, one after the other: a line for each title."""
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
    """Return a name cut to ``width`` characters: its middle is left out, both ends stay."""
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
