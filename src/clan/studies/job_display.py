"""The display of several trainings: a bar per running job, a line per ended one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console

from clan.core.progress import Bars, Track
from clan.runs.folder import RunFolder
from clan.studies.jobs import Job, was_stopped

QUIET = 60.0
"""Seconds between the lines of a job in a log file, at least."""

REFRESH = 1.0
"""Seconds between looks at the runs' metrics."""


class JobBars:
    """Bars on a terminal; in a log file, the lines of started and ended jobs alone.

    Args:
        console: where to show them; standard error by default.
        name: what a job is called; its folder by default.
        result: called when a job ended, with its exit code; what to show of it.
    """

    def __init__(
        self,
        console: Console | None = None,
        name: Callable[[Job], str] = lambda job: str(job.out),
        result: Callable[[Job, int], str] = lambda job, code: "",
    ) -> None:
        self._name, self._result = name, result
        self._bars = Bars(console, quiet=QUIET)
        self.console = self._bars.console
        self._tracks: dict[Job, Track] = {}
        self._all: Track | None = None
        self._looked = -REFRESH

    def message(self, text: str) -> None:
        """Print one line above the bars."""
        self._bars.message(text)

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        """Say how much there is to do."""
        runs = "1 run" if len(jobs) == 1 else f"{len(jobs)} runs"
        self.message(f"{runs}, {finished} finished already")
        if finished < len(jobs):
            self._all = self._bars.add("runs", len(jobs), finished)

    def started(self, job: Job) -> None:
        """Open the job's bar."""
        self._tracks[job] = self._bars.add(self._name(job), None)
        if not self.console.is_terminal:
            self.message(f"{time.strftime('%H:%M:%S')} started {self._name(job)}")

    def ended(self, job: Job, code: int) -> None:
        """Close the job's bar; a line stays."""
        self._bars.close(self._tracks.pop(job))
        if code == 0 and self._all is not None:
            self._bars.move(self._all, self._all.done + 1)
        failed = "stopped" if was_stopped(code) else f"failed with exit code {code}:"
        how = "finished" if code == 0 else failed
        shown = self._result(job, code)
        self.message(f"{time.strftime('%H:%M:%S')} {how} {self._name(job)}  {shown}".rstrip())

    def tick(self, running: Sequence[Job]) -> None:
        """Move the bars."""
        now = time.monotonic()
        if now < self._looked + REFRESH:
            return
        self._looked = now
        for job in running:
            self._move(job, self._tracks[job])

    def stopping(self, running: Sequence[Job]) -> None:
        """Say that the running jobs finish their step."""
        self.message(f"stopping {len(running)} trainings after their step; Ctrl-C again kills them")

    def _move(self, job: Job, track: Track) -> None:
        run = RunFolder(job.out)
        if track.total is None and run.config_file.is_file():
            track.total = run.config.training.steps
        # a training that writes nothing new is not faster for being looked at more often
        if (step := run.last_step()) != track.done:
            self._bars.move(track, step)

    def __enter__(self) -> JobBars:
        self._bars.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.__exit__(*error)
