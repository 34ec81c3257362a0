"""What a list of trainings shows while it runs: a bar per running job, a line per ended one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from clan.core.console import Console
from clan.runs.folder import RunFolder
from clan.studies.jobs import Job, was_stopped

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
        self.console = console or Console(stderr=True)
        self._name, self._result = name, result
        self._bars = Progress(
            # names are the user's: brackets in them are no markup
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[Job, TaskID] = {}
        self._totals: dict[Job, int] = {}
        self._all: TaskID | None = None
        self._looked = -REFRESH

    def message(self, text: str) -> None:
        """Print one line above the bars."""
        self.console.say(text)

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        """Say how much there is to do."""
        runs = "1 run" if len(jobs) == 1 else f"{len(jobs)} runs"
        self.message(f"{runs}, {finished} finished already")
        if finished < len(jobs):
            self._all = self._bars.add_task("runs", total=len(jobs), completed=finished)

    def started(self, job: Job) -> None:
        """Open the job's bar."""
        self._tasks[job] = self._bars.add_task(self._name(job), total=None)
        if not self.console.is_terminal:
            self.message(f"{time.strftime('%H:%M:%S')} started {self._name(job)}")

    def ended(self, job: Job, code: int) -> None:
        """Close the job's bar; a line stays."""
        self._bars.remove_task(self._tasks.pop(job))
        if code == 0 and self._all is not None:
            self._bars.advance(self._all)
        failed = "stopped" if was_stopped(code) else f"failed with exit code {code}:"
        how = "finished" if code == 0 else failed
        shown = self._result(job, code)
        self.message(f"{time.strftime('%H:%M:%S')} {how} {self._name(job)}  {shown}".rstrip())

    def tick(self, running: Sequence[Job]) -> None:
        """Move the bars."""
        now = time.monotonic()
        if not self.console.is_terminal or now < self._looked + REFRESH:
            return
        self._looked = now
        for job in running:
            self._move(job, self._tasks[job])

    def stopping(self, running: Sequence[Job]) -> None:
        """Say that the running jobs finish their step."""
        self.message(f"stopping {len(running)} trainings after their step; Ctrl-C again kills them")

    def _move(self, job: Job, task: TaskID) -> None:
        run = RunFolder(job.out)
        if job not in self._totals and run.config_file.is_file():
            self._totals[job] = run.config.training.steps
            self._bars.update(task, total=self._totals[job])
        self._bars.update(task, completed=run.last_step())

    def __enter__(self) -> JobBars:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()
