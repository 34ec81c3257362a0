"""One style of progress: name, steps and time left are never lost, at any width, in any log."""

from __future__ import annotations

import ast
import io
import re
import time
from pathlib import Path

import pytest

import clan
from clan.core.console import Console
from clan.core.progress import Bars, Track, duration, shortened, watching
from clan.studies.job_display import JobBars
from clan.training.display import Bar

WIDTHS = (60, 80, 120, 200)
NAME = "clan_st, epsilon 0.2"
LOSSES = {
    "loss_seg": 1.41,
    "loss_weight": 0.0021,
    "loss_alignment": 0.036,
    "loss_adv": 1.25,
    "loss_d_source": 0.66,
    "loss_d_target": 1.19,
    "d_accuracy": 0.71,
}


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def console(width: int, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)


def last_line(shown: Console) -> str:
    """Return what stands on the terminal's last line."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.file.getvalue())
    return next(line for line in reversed(re.split(r"[\r\n]", text)) if line.strip())


def training(bars: Console) -> None:
    with Bar(bars) as bar:
        bar.begin(NAME, 0, 20000)
        bar.advance(1200, LOSSES, 9.13)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_training_never_loses_name_steps_and_time(width: int) -> None:
    shown = console(width)
    training(shown)
    line = last_line(shown)
    assert len(line.rstrip()) <= width
    for part in (NAME, "1200/20000", "left"):
        assert part in line
    assert ("9.1 img/s" in line) is (width >= 80)
    assert ("d_target 1.19" in line) is (width >= 200)
    # a detail stands whole or not at all
    assert all(re.fullmatch(r"\S+ \S+", part) for part in line.split("left")[1].split("  ") if part)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "name", ["x", NAME, "target: label-free scores of " + "long/" * 40 + "end"]
)
def test_any_name_fits_any_width(width: int, name: str) -> None:
    clock = Clock()
    track = Track(name, 1_000_000, clock=clock)
    clock.now = 60
    track.move(999_000, ("9.1 img/s", "seg 1.41"))
    line = track.line(width).plain
    assert len(line) <= width
    assert "999000/1000000  0:00 left" in line
    assert line.startswith(name[:6])
    assert len(name) > 60 or name in line


def test_even_a_tiny_terminal_keeps_how_far_it_is() -> None:
    assert "12/400" in Track("a name of some length", 400, 12).line(20).plain
    assert len(Track("a name of some length", 400, 12).line(20).plain) <= 20


@pytest.mark.parametrize("width", WIDTHS)
def test_passes_and_jobs_have_the_same_line(width: int) -> None:
    shown = console(width)
    with watching(shown) as watch:
        watch("evaluate", 0, 400)
        watch("evaluate", 40, 400)
        # drawn a few times a second: the pass is long enough to be seen
        time.sleep(0.3)
        line = last_line(shown)
    assert line.split()[0] == "evaluate"
    assert "40/400" in line
    assert "left" in line


def test_without_a_terminal_lines_say_name_steps_time_and_losses() -> None:
    clock = Clock()
    bars = Bars(console(80, terminal=False), clock=clock)
    with bars:
        track = bars.add(NAME, 400)
        for step in range(10, 401, 10):
            clock.now += 10
            bars.move(track, step, ("9.1 img/s", "seg 1.41"))
    lines = bars.console.file.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == f"{NAME} 40/400  6:00 left  9.1 img/s  seg 1.41"
    assert lines[-1] == f"{NAME} 400/400  0:00 left  9.1 img/s  seg 1.41"


def test_a_short_pass_writes_nothing_into_a_log_and_a_long_one_few_lines() -> None:
    clock = Clock()
    for seconds, count in ((0.1, 0), (10.0, 10)):
        bars = Bars(console(80, terminal=False), quiet=5.0, clock=clock)
        track = bars.add("predict", 10)
        for done in range(1, 11):
            clock.now += seconds
            bars.move(track, done)
        assert len(bars.console.file.getvalue().splitlines()) == count


def test_the_pace_of_late_is_what_counts() -> None:
    clock = Clock()
    track = Track("a", 1000, clock=clock)
    assert track.seconds_left() is None
    assert "-:-- left" in track.text()
    for done in range(1, 101):
        clock.now += 1
        track.move(done)
    assert track.seconds_left() == pytest.approx(900)
    for done in range(101, 201):
        clock.now += 0.1
        track.move(done)
    assert track.seconds_left() == pytest.approx(80)
    # while nothing is told, the clock goes on
    clock.now += 30
    assert track.seconds_left() == pytest.approx(50)
    clock.now += 1000
    assert track.seconds_left() == 0


def test_a_resumed_training_is_not_faster_for_what_was_done_before() -> None:
    clock = Clock()
    track = Track("a", 1000, 900, clock)
    clock.now = 10
    track.move(910)
    assert track.seconds_left() == pytest.approx(90)


def test_names_and_times() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 5) == "ab…ij"
    assert shortened("abc", 1) == "…"
    assert [duration(s) for s in (None, 0, 61, 3723, 90000)] == [
        "-:--",
        "0:00",
        "1:01",
        "1:02:03",
        "25:00:00",
    ]


def test_a_job_of_unknown_length_is_starting() -> None:
    bars = JobBars(console(80), lambda job: "runs/[a]")
    assert Track("runs/[a]", None).line(80).plain == "runs/[a]  starting"
    assert bars.console.width == 80


def test_nothing_else_draws_bars() -> None:
    root = Path(clan.__file__).parent
    users = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "rich.progress"
    }
    assert users == {"core/progress.py"}


def test_a_closed_terminal_ends_nothing() -> None:
    shown = console(80)
    with Bars(shown) as bars:
        track = bars.add("a", 3)

        def gone(_: str) -> int:
            raise OSError(5, "gone")

        shown.file.write = gone  # type: ignore[method-assign]
        bars.message("still here")
        bars.move(track, 1)
