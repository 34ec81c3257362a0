"""Shared by sweeps and benchmarks: checks runs, trains them, and lists failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

from clan.config.loading import anchored
from clan.config.tree import Config
from clan.core.errors import RunError
from clan.runs.folder import RunFolder
from clan.studies.job_display import JobBars
from clan.studies.jobs import Failure, Job, Start, choose_gpus, choose_parallel, run_jobs


def launch(
    jobs: Sequence[Job],
    configs: Iterable[Config],
    console: Console,
    *,
    parallel: int | None,
    name: Callable[[Job], str],
    ended: Callable[[Job, int], str],
    start: Start,
) -> list[Failure]:
    """Train all jobs that are not finished, and show where they are.

    Args:
        jobs: in the order they start in.
        configs: of the jobs; they say which GPUs can be shared out.
        console: shows bars and a line for each job that ended.
        parallel: trainings at a time; None for one per GPU, or one.
        name: what a job is called.
        ended: called when a job ended, with its exit code; returns what to show of it.
        start: starts a job's process.

    Returns:
        The jobs that failed; all others are finished.

    Raises:
        ConfigError: fewer than one training at a time.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    gpus = choose_gpus(list(configs))
    number = choose_parallel(parallel, gpus)
    with JobBars(console, name, ended) as display:
        return run_jobs(jobs, number, display, gpus=gpus, start=start)


def refuse_other_run(
    run: RunFolder, wanted: Config, changes: Callable[[Config, Config], list[str]]
) -> None:
    """Check that an existing run has the wanted configuration.

    Args:
        run: its folder; one that is not there yet is fine.
        wanted: what is asked for.
        changes: returns what makes two configurations different trainings, a clause each.

    Raises:
        RunError: it is of another; names what differs.
    """
    if not run.config_file.is_file():
        return
    if differing := changes(anchored(run.config), wanted):
        raise RunError(
            f"{run.path} was trained with another configuration: {'; '.join(differing)}. Give "
            "another folder (--out), change the configuration back, or delete the run."
        )


def failure(problems: Sequence[str], total: int, what: str, again: str) -> RunError:
    """Return the error that lists what failed.

    Args:
        problems: a text for each.
        total: how many there were in all.
        what: they are, in the plural.
        again: a sentence on how to try them again.
    """
    listed = "\n".join(f"  {problem}" for problem in problems)
    return RunError(
        f"{len(problems)} of {total} {what} failed, the others are finished:\n{listed}\n{again}"
    )
