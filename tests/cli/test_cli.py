from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from clan import cli
from clan.config.files import preset_names
from clan.config.loading import load_config
from clan.data.classes import CITYSCAPES
from clan.runs.folder import RunFolder
from clan.studies.sweep.study import sweep as study_sweep
from tests.systems import SETTINGS, Fork, records

COMMANDS = (
    "demo",
    "presets",
    "train",
    "resume",
    "evaluate",
    "compare",
    "predict",
    "sweep",
    "health",
    "data make",
    "data check",
    "data pack",
    "data index",
)


class Clan:
    """The command line in this process: exit code, standard output and error."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.capsys, self.patch = capsys, patch
        patch.setenv("COLUMNS", "200")

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        self.patch.setattr(sys, "argv", ["clan", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err


@pytest.fixture
def clan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Clan:
    return Clan(capsys, monkeypatch)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_reads_like_a_manual_page(clan: Clan, command: str) -> None:
    code, out, _ = clan(*command.split(), "--help")
    assert code == 0
    assert f"clan {command}" in out
    assert "Example" in out
    assert f"clan {command}" in out.split("Example", 1)[1]


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_no_command_shows_the_commands(clan: Clan, arguments: list[str]) -> None:
    _, out, err = clan(*arguments)
    assert "Usage" in out + err
    assert ("train" if not arguments else "check") in out + err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "No such command 'trian'"),
        (["train", "town/clan", "--otu", "x"], "No such option: --otu"),
        (["train"], "Missing argument"),
        (["data", "make", "town", "--out", "x", "--val", "none"], "--val"),
        (["presets", "a", "b", "c"], "at most two presets"),
    ],
)
def test_wrong_usage_is_2(clan: Clan, arguments: list[str], said: str) -> None:
    code, out, err = clan(*arguments)
    assert code == 2
    assert said in err
    assert out == ""


def test_errors_go_to_standard_error(clan: Clan, tmp_path: Path) -> None:
    for arguments, said in (
        (["train", "town/clam"], "error: unknown preset 'town/clam'; did you mean 'town/clan'?"),
        (["train", "town/clan", "data.root=/no[where]"], "/no[where]/source"),
        (["train", "town/clan", "sead=1"], "sead: unknown key; did you mean 'seed'?"),
        (["sweep", "town/clan", "sead=1,2"], "sead: unknown key; did you mean 'seed'?"),
        (["health", str(tmp_path)], f"error: {tmp_path} is not a run folder"),
        (["presets", "town/clam"], "error: unknown preset"),
        (["presets", "no/where.yaml"], "error: no configuration file at no/where.yaml"),
        (["presets", "gta5-cityscape"], "did you mean 'gta5-cityscapes'?"),
        (["resume", str(tmp_path)], f"error: {tmp_path} is not a run folder"),
        (["evaluate", str(tmp_path)], "error: no model file at"),
        (["compare", str(tmp_path)], "error: no evaluation at"),
        (["predict", str(tmp_path), "x.jpg", "--out", "out"], "error: no model file at"),
        (["data", "make", "twon", "--out", str(tmp_path / "x")], "did you mean 'town'?"),
    ):
        code, out, err = clan(*arguments)
        assert (code, out) == (1, ""), arguments
        assert err.startswith("error: ")
        assert said in err


def test_what_the_machine_refuses_is_no_traceback(
    clan: Clan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file")

    monkeypatch.setattr("clan.config.loading.load_config", full)
    assert clan("presets", "town/clan") == (1, "", "error: /some/file: No space left on device\n")


def test_presets(clan: Clan, tmp_path: Path) -> None:
    code, out, _ = clan("presets")
    assert code == 0
    # one screen
    assert len(out.splitlines()) <= 32
    listed = set()
    for block in re.split(r"\n +\n", out.partition("\n")[2]):
        words = block.partition("next:")[0].split()
        folders = [word for word in words if word.endswith("/")]
        listed |= {f"{f}{system}" for f in folders for system in words if system not in folders}
    assert listed == set(preset_names())
    for pattern in ("gta5-cityscapes/paper", "gta5-cityscapes/paper/", "gta5-cityscapes/paper/*"):
        code, out, _ = clan("presets", pattern)
        names = [line.split()[0] for line in out.splitlines()[1:] if "gta5-cityscapes/" in line]
        assert names == [n for n in preset_names() if n.startswith("gta5-cityscapes/paper/")]
    code, out, _ = clan("presets", "*/reference/*/clan")
    assert out.count("/clan ") == 4
    code, out, _ = clan("presets", "town/clan")
    (tmp_path / "x.yaml").write_text(out)
    assert load_config(tmp_path / "x.yaml") == load_config("town/clan")
    code, out, _ = clan("presets", "town/tan", "town/clan")
    assert code == 0
    assert "method.lambda_local" in out
    assert "optim" not in out


def test_from_training_to_pictures(clan: Clan, street: Path, tmp_path: Path) -> None:
    runs = []
    for system in ("source_only", "clan"):
        runs.append(tmp_path / system)
        code, out, err = clan("train", street / f"{system}.yaml", *SETTINGS, "--out", runs[-1])
        assert code == 0, err
        assert f"run: {runs[-1]}" in out
        assert f"next: clan predict {runs[-1]}" in out
        assert f"{system} 7/7" in err
    code, out, err = clan("train", street / "clan.yaml", *SETTINGS, "--out", runs[1])
    assert code == 1
    assert "holds a finished run already" in err
    code, _, err = clan("resume", runs[1])
    assert code == 0
    assert "finished already" in err
    code, _, err = clan("resume", runs[1], "training.steps=9")
    assert code == 1
    assert "training.steps was 7, now 9" in err
    scores = tmp_path / "scores.json"
    code, out, _ = clan("evaluate", runs[1], "--out", scores)
    assert code == 0
    assert "mIoU" in out
    found = json.loads(scores.read_text())
    assert found["miou"] == json.loads((runs[1] / "evaluation.json").read_text())["miou"]
    code, out, _ = clan("compare", *runs)
    assert code == 0
    assert "clan" in out
    code, out, _ = clan("compare", *runs, "--format", "csv")
    assert code == 0
    predictions = tmp_path / "predictions"
    code, out, _ = clan("predict", runs[1], street / "photos/val", "--out", predictions)
    assert code == 0
    assert f"3 images segmented into {predictions}" in out
    with Image.open(predictions / "000_label.png") as label:
        assert label.size == (64, 32)


def test_a_run_has_a_folder_by_name_and_seed(
    clan: Clan, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [*SETTINGS, "training.steps=1", "seed=3", "name=my [run]"]
    code, out, _ = clan("train", street / "source_only.yaml", *given)
    assert code == 0
    assert "run: runs/my [run]/seed3" in out
    assert RunFolder("runs/my [run]/seed3").finished


def test_a_study_and_its_health(
    clan: Clan, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(study_sweep.__kwdefaults__, "start", Fork)
    study = tmp_path / "study"
    grid = [*(s for s in SETTINGS if "steps" not in s), "training.steps=1", "seed=0,1"]
    code, out, err = clan("sweep", street / "tan.yaml", *grid, "--jobs", "2", "--out", study)
    assert code == 0, err
    assert out == f"study: {study}\n"
    assert "2 runs, 0 finished already" in err
    code, out, _ = clan("health", *study.glob("tan/seed?"))
    assert code == 0
    assert out.count("healthy") == 2


def test_data(clan: Clan, tmp_path: Path) -> None:
    town = tmp_path / "town"
    numbers = ["--size", "32x64", "--source", "2", "--target", "2", "--val", "1"]
    code, out, _ = clan("data", "make", "town", "--out", town, *numbers)
    assert code == 0
    assert "2 source, 2 target and 1 validation images" in out
    # so few frames lack some classes
    absent = [f"data.{d}.absent={[*CITYSCAPES.names]}" for d in ("source", "validation")]
    checks = ("data", "check", "town/clan", f"data.root={town}", *absent, "--workers", "1")
    code, out, _ = clan(*checks)
    assert code == 0, out
    next((town / "source/labels").iterdir()).unlink()
    code, out, _ = clan(*checks)
    assert code == 1
    assert "no label belongs to this image" in out
    movie = tmp_path / "movie.mp4"
    movie.touch()
    code, _, said = clan("data", "check", movie)
    assert code == 1
    assert "is a video" in said
    assert "ffmpeg -i" in said


def test_version(clan: Clan) -> None:
    code, out, _ = clan("--version")
    assert code == 0
    assert out.split() == ["clan", version("clan")]


def test_help_stands_where_no_command_is_given(clan: Clan) -> None:
    assert "--version" in clan("--help")[1]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_two_processes_by_the_same_command(street: Path, tmp_path: Path) -> None:
    """As a user would: a new Python, which starts the second process itself; and Ctrl-C."""
    out = tmp_path / "run"
    changes = ["training.devices=2", "training.steps=100000", "training.log_every=2"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "clan.cli", "train", str(street / "tan.yaml")),
            *(*SETTINGS, *changes, "--out", str(out)),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # an ignored signal would stay ignored in the new Python
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": free_port()},
    )
    run = RunFolder(out)
    try:
        while process.poll() is None and len(list(run.read_metrics())) < 2:
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, err
    assert err.count("the checkpoint is written") == 1
    assert "Traceback" not in err
    steps = [record["step"] for record in records(run)]
    assert steps == list(range(2, steps[-1] + 1, 2))
    newest = run.newest_checkpoint()
    assert newest is not None
    assert newest.name == f"step_{steps[-1]:08}.pt"
