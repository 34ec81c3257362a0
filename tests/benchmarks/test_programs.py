"""Programs that read or make trainings, each in its smallest version, on a tiny town."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks import analysis, pseudo_labels, readme
from benchmarks.street import label_shift
from benchmarks.town import study
from clan import make_town
from clan.config.loading import load_config
from clan.training.display import Silent
from clan.training.train import train
from tests.systems import SHORT, SMALL, Fork

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = partial(make_town, source=4, target=4, val=3, size=(64, 128), workers=1)
CHANGES = (
    *("model.width=4", "model.output_stride=8", "model.aspp_rates=[1]"),
    *("data.source_view.crop=null", "data.target_view.crop=null", "data.batch_size=2"),
    *("data.evaluation_size=[64, 128]", "training.accelerator=cpu", "training.log_every=1"),
    *("training.steps=5", "training.sinks=[]", "training.snapshot_every=2"),
)
SYSTEMS = ("source_only", "tan", "clan", "cbst")


def _changes(system: str, town: Path) -> list[str]:
    config = load_config(f"town/{system}")
    small = {k: v for k, v in SMALL.items() if k in type(config.method).model_fields}
    values = {**small, **SHORT.get(system, {})}
    return [f"data.root={town}", *CHANGES, *(f"method.{k}={v}" for k, v in values.items())]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(TINY(tmp_path_factory.mktemp("programs") / "data"))


@pytest.fixture(scope="module")
def runs(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of each system in the folders of a benchmark."""
    folder = tmp_path_factory.mktemp("runs") / "town"
    for system in SYSTEMS:
        config = load_config(f"town/{system}", _changes(system, town))
        train(config, folder / system / "seed0", display=Silent())
    return folder


def page(path: Path, *marks: str) -> Path:
    path.write_text("before\n" + "\n".join(marks) + "\nafter\n")
    return path


def test_analyses_draw_their_figures_and_put_their_table(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "DPI", 40)
    marks = ("<!-- begin town label-free -->", "<!-- end town label-free -->")
    (tmp_path / "images").mkdir()
    out = page(tmp_path / "analysis.md", *marks)
    wanted = ["--runs", str(runs.parent), "--benchmarks", "town", "--images", "4"]
    analysis.main([*wanted, "--page", str(out)])
    drawn = {path.stem.removeprefix("town-") for path in (tmp_path / "images").iterdir()}
    assert drawn >= {"curves", "ccd", "tsne", "maps", "qualitative", "transfer", "label-free"}
    assert "| clan" in out.read_text()


def test_pseudo_labels_have_a_line_for_each_round(runs: Path, tmp_path: Path) -> None:
    out = page(tmp_path / "page.md", pseudo_labels.BEGIN, pseudo_labels.END)
    pseudo_labels.main([str(runs / "cbst" / "seed0"), "--page", str(out)])
    assert out.read_text().count("| town/cbst/seed0 | ") == 2


def test_label_shift_is_estimated_from_a_run(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = page(tmp_path / "page.md", label_shift.BEGIN, label_shift.END)
    label_shift.main([str(runs / "source_only" / "seed0"), "--images", "3", "--page", str(out)])
    said = capsys.readouterr().out
    assert "| road | " in said
    assert said.strip() in out.read_text()


def test_the_readmes_picture_is_drawn(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(readme, "SYSTEMS", ("source_only", "tan", "clan"))
    monkeypatch.setattr(readme, "IMAGES", tmp_path)
    monkeypatch.setattr(readme, "photograph", lambda page, _: seen.append(page.read_text()))
    readme.main([str(runs)])
    assert (tmp_path / "street.png").is_file()
    assert "tan" in seen[0]


def test_the_towns_study_trains_and_writes_its_page(
    town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "make_town", lambda _: town)
    monkeypatch.setattr(study, "start_process", Fork)
    monkeypatch.setattr(study, "AXES", ("method.lambda_local=10,40", "method.epsilon=0.1,0.4"))
    (tmp_path / "images").mkdir()
    arguments = ["--out", str(tmp_path / "study"), "--tan", str(tmp_path / "runs"), "--jobs", "1"]
    for change in CHANGES:
        arguments += ["--set", change]
    study.main([*arguments, "--seeds", "0", "--page", str(tmp_path / "study.md")])
    text = (tmp_path / "study.md").read_text()
    assert "study.py --seeds 0 --set model.width=4 --set " in text
    assert "TAN (1 seeds): mIoU " in text
    assert (tmp_path / "images" / "parameter-study.png").is_file()
    assert "mIoU in percent over" in capsys.readouterr().err
