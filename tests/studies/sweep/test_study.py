from __future__ import annotations

import csv
import io
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clan.core.console import Console
from clan.core.errors import ClanError, ConfigError, RunError
from clan.runs.folder import RunFolder
from clan.studies.sweep.results import read_table
from clan.studies.sweep.study import Study, sweep
from clan.training.loop import Interrupted
from tests.systems import SETTINGS, Fork, at_step, records, same, tensors

GRID = [*SETTINGS, "method.epsilon=0.1,0.4,0.8"]
CELLS = [f"method.epsilon={e}/seed0" for e in (0.1, 0.4, 0.8)]
CLOCK = ("seconds",)


pytestmark = pytest.mark.usefixtures("one_thread")


def run(street: Path, out: Path, grid: list[str] = GRID, start: Any = Fork, jobs: int = 2) -> str:
    console = Console(file=io.StringIO(), width=200)
    sweep(str(street / "clan.yaml"), grid, out, jobs=jobs, console=console, start=start)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(scope="module")
def whole(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted study; read only."""
    out = tmp_path_factory.mktemp("whole") / "study"
    run(street, out)
    return out


def numbers(root: Path) -> Any:
    """Return the table without what depends on the clock."""
    data = json.loads((root / "sweep.json").read_text())
    for line in data["records"]:
        for name in CLOCK:
            line["measured"].pop(name)
    return data


def equal(a: Path, b: Path) -> bool:
    runs = [(RunFolder(a / cell), RunFolder(b / cell)) for cell in CELLS]
    return numbers(a) == numbers(b) and all(
        same(tensors(x), tensors(y)) and records(x) == records(y) for x, y in runs
    )


def hooked(cell: str, before: Callable[[], None]) -> type[Fork]:
    """Return processes of which one does something first."""

    class Hooked(Fork):
        def before(self) -> None:
            if str(self.job.out).endswith(cell):
                before()

    return Hooked


def test_a_study_has_a_line_per_cell_and_a_figure(whole: Path) -> None:
    table = read_table(whole)
    assert [line.run for line in table.records] == CELLS
    assert {line.status for line in table.records} == {"finished"}
    assert table.keys == ("method.epsilon",)
    assert table.preset_values == {"method.epsilon": 0.4}
    assert table.scored.startswith("street (3 classes), photos val (3 images, ")
    for line in table.records:
        folder = RunFolder(whole / line.run)
        found = line.measured
        assert found is not None
        assert found.miou == records(folder)[-1]["miou"]
        last = records(folder)[2]
        # the last tenth of seven steps is the last line
        assert found.d_loss == (last["loss_d_source"] + last["loss_d_target"]) / 2
        assert found.d_accuracy == last["d_accuracy"]
        assert folder.config.method.epsilon == line.values["method.epsilon"]  # type: ignore[attr-defined]
    with open(whole / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == CELLS
    assert float(rows[1]["method.epsilon"]) == 0.4
    assert (whole / "study.png").stat().st_size > 5000
    assert (whole / "study.svg").read_text().startswith("<?xml")
    assert (whole / CELLS[0]).with_name("seed0.log").is_file()


def test_a_second_call_has_nothing_to_do(street: Path, whole: Path) -> None:
    before = numbers(whole), (whole / "sweep.yaml").read_text()
    shown = run(street, whole, start=None)
    assert "3 runs, 3 finished already" in shown
    assert (numbers(whole), (whole / "sweep.yaml").read_text()) == before


def press_ctrl_c(parent: int) -> None:
    """Interrupt the study, then go on when it has asked this training to stop."""
    handler = signal.getsignal(signal.SIGTERM)
    os.kill(parent, signal.SIGINT)
    while not handler.__self__.asked:  # type: ignore[union-attr]
        time.sleep(0.01)


def test_stopped_by_ctrl_c_it_goes_on_and_ends_equal(
    street: Path, tmp_path: Path, whole: Path
) -> None:
    study, parent = tmp_path / "study", os.getpid()
    interrupting = hooked(CELLS[1], lambda: at_step(4, lambda: press_ctrl_c(parent)))
    with pytest.raises(Interrupted) as error:
        run(street, study, start=interrupting, jobs=1)
    said = str(error.value)
    assert "have written their checkpoints. Go on with: clan sweep" in said
    assert f"--jobs 1 --out {study}" in said
    assert [line.status for line in read_table(study).records] == [
        *("finished", "unfinished", "waiting")
    ]
    newest = RunFolder(study / CELLS[1]).newest_checkpoint()
    assert newest is not None
    assert newest.name == "step_00000005.pt"
    assert "3 runs, 1 finished already" in run(street, study)
    assert equal(study, whole)


def test_killed_half_way_it_goes_on_and_ends_equal(
    street: Path, tmp_path: Path, whole: Path
) -> None:
    """As by a power cut: the study and the training that runs are gone at once."""
    study = tmp_path / "study"

    def kill() -> None:
        for process in (os.getppid(), os.getpid()):
            os.kill(process, signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            run(street, study, start=hooked(CELLS[1], lambda: at_step(5, kill)), jobs=1)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert [RunFolder(study / cell).finished for cell in CELLS] == [True, False, False]
    assert RunFolder(study / CELLS[1]).newest_checkpoint() is not None
    run(street, study)
    assert equal(study, whole)


def test_a_failed_cell_survives(street: Path, tmp_path: Path, whole: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    study, failing = tmp_path / "study", hooked(CELLS[1], lambda: at_step(4, fail))
    with pytest.raises(RunError) as error:
        run(street, study, start=failing)
    said = str(error.value)
    assert said.startswith("1 of 3 cells failed, the others are finished:")
    assert f"{study / CELLS[1]} (exit code 70): error: clan " in said
    assert "ZeroDivisionError: a bug" in said
    assert f"log: {study / CELLS[1]}.log" in said
    lines = read_table(study).records
    assert [line.status for line in lines] == ["finished", "failed", "finished"]
    assert (study / "study.png").is_file()
    assert "3 runs, 2 finished already" in run(street, study)
    assert equal(study, whole)


def test_another_grid_extends_the_study(street: Path, tmp_path: Path) -> None:
    study, short = tmp_path / "study", [s for s in SETTINGS if "training.steps" not in s]
    short.append("training.steps=2")
    run(street, study, [*short, "method.epsilon=0.1,0.4"])
    # lambda_local=40 is the preset's, and so the cell epsilon=0.4 of the first grid
    assert "2 runs, 1 finished already" in run(street, study, [*short, "method.lambda_local=10,40"])
    table = read_table(study)
    assert table.keys == ("method.epsilon", "method.lambda_local")
    assert [tuple(r.values.values()) for r in table.records] == [(0.1, 40), (0.4, 40), (0.4, 10)]
    # the first grid again: each cell is where it was
    shown = run(street, study, [*short, "method.epsilon=0.1,0.4"], start=none_starts)
    assert "2 runs, 2 finished already" in shown


def test_data_may_move_between_calls(street: Path, tmp_path: Path) -> None:
    """What a resumed run may change makes no other grid; unfinished cells get the new value."""
    preset, study = str(street / "clan.yaml"), tmp_path / "study"
    first = Study.open(study, preset, ["data.root=/old", *GRID])
    first.write_grids()
    RunFolder.create(study / CELLS[0], first.cells[0].config)
    second = Study.open(study, preset, ["data.root=/new", *GRID])
    assert len(second.grids) == 1
    assert [cell.folder for cell in second.cells] == CELLS
    began, waiting = (second.job(cell).command for cell in second.chosen[:2])
    assert began[3:6] == ["resume", str(study / CELLS[0]), "data.root=/new"]
    assert "data.root=/new" in waiting


def none_starts(*_: Any) -> Any:
    raise AssertionError("a training was started")


@pytest.mark.parametrize(
    ("preset", "grid", "kind", "said"),
    [
        ("clan", ["method.epsilom=1,2"], ConfigError, "did you mean 'epsilon'"),
        ("clan", ["method.epsilon=0.1,-1"], ConfigError, "(found -1)"),
        ("clan", [], ConfigError, "at least one"),
        ("clan", ["data.source=/no/where.yaml", "seed=0"], ClanError, "/no/where"),
        ("clan", ["data.validation.split=val,train"], ConfigError, "must be scored alike"),
        ("tan", ["seed=0"], RunError, "holds a study of"),
        ("clan", [*GRID, "data.batch_size=4"], ConfigError, "given more than once"),
        (
            "clan",
            [*SETTINGS[:-1], "data.batch_size=1", GRID[-1]],
            ConfigError,
            "data.batch_size was 2, now 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(
    street: Path, whole: Path, preset: str, grid: list[str], kind: type[ClanError], said: str
) -> None:
    before = (whole / "sweep.yaml").read_text()
    with pytest.raises(kind) as error:
        sweep(str(street / f"{preset}.yaml"), grid, whole, start=none_starts)
    assert said in str(error.value)
    assert (whole / "sweep.yaml").read_text() == before


def test_other_folders_are_left_alone(street: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match="neither an empty folder nor a study"):
        Study.open(tmp_path, str(street / "clan.yaml"), ["seed=0"])
    (tmp_path / "sweep.yaml").write_text("grids: 3")
    with pytest.raises(RunError, match="does not hold the grids of a study"):
        Study.open(tmp_path, str(street / "clan.yaml"), ["seed=0"])
    with pytest.raises(RunError, match="no study at"):
        read_table(tmp_path)
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(RunError, match="is not a study's table"):
        read_table(tmp_path)


def test_a_run_that_was_trained_otherwise_is_refused(street: Path, tmp_path: Path) -> None:
    study = Study.open(tmp_path / "study", str(street / "clan.yaml"), GRID)
    changed = study.cells[0].config.model_copy(update={"seed": 7})
    RunFolder.create(tmp_path / "study" / CELLS[0], changed)
    with pytest.raises(RunError, match="another configuration: seed was 7, now 0"):
        study.check()
