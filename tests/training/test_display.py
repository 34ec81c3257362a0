from __future__ import annotations

import io

from rich.console import Console

from clan.training.display import Bar, Silent


def watch(terminal: bool, title: str = "tan [x] [bold]y[/bold]", start: int = 0) -> str:
    file = io.StringIO()
    with Bar(Console(file=file, force_terminal=terminal, width=200)) as bar:
        bar.message("weights: /data/[red]a.pth " + "long " * 60)
        bar.begin(title, start, 40)
        for step in range(start + 1, 41):
            bar.advance(step, {"loss_seg": 1.25, "d_accuracy": 0.5, "d_logit_source": 1.0}, 12.34)
    return file.getvalue()


def test_a_terminal_shows_a_bar_with_losses_speed_and_time() -> None:
    shown = watch(terminal=True)
    assert "tan [x] [bold]y[/bold]" in shown
    assert "40/40" in shown
    assert "12.3 img/s  seg 1.25  d_accuracy 0.5" in shown
    assert "━" in shown


def test_a_log_file_gets_a_line_every_tenth() -> None:
    lines = watch(terminal=False).splitlines()
    assert lines[0].startswith("weights: /data/[red]a.pth long")
    assert (
        lines[1] == "tan [x] [bold]y[/bold] 4/40  0:00 left  12.3 img/s  seg 1.25  d_accuracy 0.5"
    )
    assert len(lines) == 11
    assert lines[-1].startswith("tan [x] [bold]y[/bold] 40/40")


def test_a_resumed_bar_starts_where_the_training_does() -> None:
    lines = watch(terminal=False, start=20).splitlines()
    assert [line.split()[3] for line in lines[1:]] == ["24/40", "28/40", "32/40", "36/40", "40/40"]


def test_silence(capfd: object) -> None:
    with Silent() as silent:
        silent.message("a")
        silent.begin("a", 0, 1)
        silent.advance(1, {}, 1.0)
    out, err = capfd.readouterr()  # type: ignore[attr-defined]
    assert out == err == ""


def test_waiting_for_images_is_shown_where_there_is_some() -> None:
    file = io.StringIO()
    with Bar(Console(file=file, width=200)) as bar:
        bar.begin("tan", 0, 2)
        bar.advance(1, {"loss_seg": 1.25}, 12.34, 0.04)
        bar.advance(2, {"loss_seg": 1.25}, 12.34, 0.43)
    first, second = file.getvalue().splitlines()
    assert first.endswith("12.3 img/s  seg 1.25")
    assert second.endswith("12.3 img/s  waits 43 %  seg 1.25")
