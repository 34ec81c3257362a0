"""A training that loses its terminal, and processes whose first one fails."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from lightning.fabric import Fabric

from clan.core.console import Console
from clan.core.errors import RunError
from clan.runs.folder import RunFolder
from clan.training.display import Bar
from clan.training.processes import OtherProcess, on_rank_zero
from clan.training.stopping import StopRequest
from clan.training.train import train
from tests.systems import SETTINGS, at_step, command, tiny


def test_a_closed_terminal_is_like_ctrl_c(street: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["train", str(street / "tan.yaml"), *SETTINGS, "--out", str(out)]

    def hang_up() -> None:
        at_step(4, lambda: os.kill(os.getpid(), signal.SIGHUP))

    code, said = command(arguments, tmp_path / "log", hang_up)
    assert code == 130, said
    assert "Traceback" not in said
    assert RunFolder(out).newest_checkpoint() == out / "checkpoints/step_00000005.pt"


def test_a_hang_up_is_noted_unless_it_is_ignored() -> None:
    former = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.asked
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, former)


class Gone:
    """A terminal that was closed."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def test_what_a_closed_terminal_does_not_show_is_no_error() -> None:
    with Bar(Console(file=Gone())) as bar:  # type: ignore[arg-type]
        bar.begin("tan", 0, 10)
        bar.message("hello")
        bar.advance(10, {"loss_seg": 1.0}, 2.0)


def _fail(fabric: Fabric, out: str) -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    try:
        on_rank_zero(fabric, bug)
    except BaseException as error:
        Path(out, str(fabric.global_rank)).write_text(f"{type(error).__name__}: {error}")


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes that use torch")
def test_any_error_of_the_first_process_ends_the_others(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_fail, str(tmp_path))
    assert (tmp_path / "0").read_text() == "ZeroDivisionError: a bug"
    assert (tmp_path / "1").read_text() == f"{OtherProcess.__name__}: ZeroDivisionError: a bug"


def test_a_folder_is_locked_while_it_trains_and_free_after(street: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def look() -> None:
        (tmp_path / "seen").write_text((out / "lock").read_text())

    arguments = ["train", str(street / "source_only.yaml"), *SETTINGS, "--out", str(out)]
    code, said = command(arguments, tmp_path / "log", lambda: at_step(3, look))
    assert code == 0, said
    assert '"host"' in (tmp_path / "seen").read_text()
    assert not (out / "lock").exists()


def test_a_second_resume_is_refused(street: Path, tmp_path: Path) -> None:
    config = tiny(street, "source_only")
    run = RunFolder.create(tmp_path / "run", config)
    (run.path / "lock").write_text('{"host": "far", "pid": 7, "since": "2026"}')
    with pytest.raises(RunError, match="process 7 on host far"):
        train(config, run.path, resume=True)
    assert not run.metrics_file.exists()
