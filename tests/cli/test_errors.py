"""What the command line says when something is wrong, foreseen or not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from clan import cli
from clan.cli.common import CANNOT, UNFORESEEN
from clan.core.errors import DataError


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["clan", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def broken(*_: object, **__: object) -> None:
    raise TypeError("first line\nlist indices must be integers\x1b[31m")


def test_the_unforeseen_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clan.training.checking.check", broken)
    assert run(monkeypatch, "data", "check", "my data.yaml") == UNFORESEEN
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "\x1b[31m" not in said
    assert r"TypeError: list indices must be integers\x1b[31m" in said
    assert "The command was: clan data check 'my data.yaml'" in said
    assert "clan --debug data check 'my data.yaml'" in said
    assert said.startswith("error: clan 0.")


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clan.training.checking.check", broken)
    assert run(monkeypatch, "--debug", "data", "check", "x.yaml") == UNFORESEEN
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "in broken" in said
    assert "clan --debug data check x.yaml" in said
    assert "--debug --debug" not in said


def test_a_worker_s_error_is_its_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def worker(*_: object, **__: object) -> None:
        raise TypeError("Caught TypeError in DataLoader worker process 0.\nTrace\nTypeError: x\n")

    monkeypatch.setattr("clan.training.checking.check", worker)
    assert run(monkeypatch, "data", "check", "x.yaml") == UNFORESEEN
    assert "does not foresee: TypeError: x\n" in capsys.readouterr().err


def test_a_foreseen_error_is_told_as_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DataError("a.png is no image")

    monkeypatch.setattr("clan.training.checking.check", refuse)
    assert run(monkeypatch, "data", "check", "x.yaml") == CANNOT
    assert capsys.readouterr().err == "error: a.png is no image\n"


def test_a_file_s_name_gives_no_commands_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b\x1b[31m\nerror: all is lost.png").write_bytes(b"no image")
    assert run(monkeypatch, "data", "check", str(tmp_path), "--workers", "1") == CANNOT
    said = capsys.readouterr().out
    # where lines are broken depends on the length of the folder's path
    assert r"b\x1b[31m\nerror:allislost.png" in "".join(said.split())
    assert "\x1b" not in said


def test_a_class_that_is_no_word_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(
        'classes: {classes: {"a\\e[31m": [0, 0, 0], b: [1, 1, 1]}}\nsplits: {val: {images: "*"}}'
    )
    assert run(monkeypatch, "data", "check", str(file)) == CANNOT
    printed = capsys.readouterr()
    said = " ".join((printed.out + printed.err).split())
    assert r"holds the control character \x1b" in said
