"""The paper's tables: complete, as printed, and marked where they contradict themselves."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clan.cli import app
from clan.comparison import render
from clan.comparison.compare import Comparison, compare
from clan.comparison.export import to_csv, to_latex
from clan.comparison.published import PAPERS, published_table
from clan.core.console import Console
from clan.core.errors import ConfigError, RunError
from clan.data.classes import CITYSCAPES, ClassSet
from clan.scoring.evaluation_file import Evaluation, write_evaluation
from clan.scoring.metrics import Scores
from clan.scoring.protocol import PROTOCOLS, Protocol

SIXTEEN = ClassSet(
    "sixteen",
    CITYSCAPES.subsets["cityscapes-16"],
    tuple(CITYSCAPES.colors[CITYSCAPES.index(n)] for n in CITYSCAPES.subsets["cityscapes-16"]),
)


def add_run(root: Path, name: str, right: int, classes: ClassSet = CITYSCAPES, **changes) -> Path:
    C = len(classes)
    matrix = np.eye(C, dtype=np.int64) * right
    matrix += np.roll(np.eye(C, dtype=np.int64), 1, axis=1) * (100 - right)
    folder = root / f"{name}-{len(list(root.iterdir()))}"
    folder.mkdir()
    protocol = changes.pop("protocol", PROTOCOLS["paper"])
    images = changes.pop("images", 500)
    about = {"name": name, "seed": 0, "step": 600, "checkpoint": "last", "ensemble": "logits"}
    about |= {"dataset": "cityscapes", "split": "val", "size": (512, 1024), **changes}
    scores = Scores(classes, matrix, images, None, protocol)
    write_evaluation(folder / "evaluation.json", Evaluation(scores, **about))
    return folder


def iou(right: int) -> float:
    return 100 * right / (200 - right)


def text_of(comparison: Comparison, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    render.show(comparison, console)
    return console.export_text()


def test_tables_are_complete_and_over_the_class_set() -> None:
    gta5, synthia = (published_table(name) for name in PAPERS)
    assert gta5.classes == CITYSCAPES.names
    assert synthia.classes == CITYSCAPES.subsets["cityscapes-13"]
    assert (len(gta5.rows), len(synthia.rows)) == (14, 10)
    clan = gta5.rows[-1]
    assert (clan.method, clan.architecture, clan.miou, clan.gain) == ("CLAN", "R", 43.2, 6.6)
    assert clan.iou["traffic light"] == 35.5
    for table in (gta5, synthia):
        assert set(table.infrequent) < set(table.classes)
        assert all(0 <= v <= 100 for row in table.rows for v in row.iou.values())
    with pytest.raises(ConfigError, match="'gta5'"):
        published_table("gta")


def test_only_one_mean_and_one_gain_do_not_follow() -> None:
    gta5, synthia = (published_table(name) for name in PAPERS)
    assert gta5.mean_errors() == {}
    assert gta5.gain_errors() == {}
    [(index, mean)] = synthia.mean_errors().items()
    row = synthia.rows[index]
    assert (row.method, row.architecture, row.miou) == ("CBST", "V", 36.1)
    assert mean == pytest.approx(sum(row.iou.values()) / 13)
    notes = "\n".join(synthia.notes())
    assert "13 classes of its row average 40.7, but 36.1 is printed. By that average" in notes
    [(index, (implied, printed))] = synthia.gain_errors().items()
    assert synthia.rows[index].method == "Cross-city"
    assert (round(implied, 1), printed) == (20.5, 20.2)


def test_errors_are_found_not_listed() -> None:
    table = published_table("gta5")
    wrong = replace(table.rows[1], miou=37.0)
    changed = replace(table, rows=(table.rows[0], wrong, *table.rows[2:]))
    assert list(changed.mean_errors()) == [1]
    assert list(changed.gain_errors()) == [1]
    assert changed.table_rows()[1].marks == ("†", "‡")


def test_runs_stand_below_with_their_own_gain(tmp_path: Path) -> None:
    runs = [add_run(tmp_path, "source_only", 40), add_run(tmp_path, "clan", 60)]
    comparison = compare(runs, paper="synthia")
    assert [row.name for row in comparison.rows[-2:]] == ["source_only", "clan"]
    assert comparison.rows[-1].gain == pytest.approx(iou(60) - iou(40))
    assert comparison.rows[-3].gain == 9.2
    assert comparison.subset == "cityscapes-13"
    assert comparison.classes == CITYSCAPES.subsets["cityscapes-13"]
    lines = {heading: (texts, best) for heading, texts, best in comparison.lines()}
    # best of the printed V rows, of the printed R rows, and of the runs
    assert lines["mIoU"][1] == {6, 9, 11}
    assert lines["mIoU"][0][1] == "36.1†"
    assert lines["seeds"][0] == ["-"] * 10 + ["1", "1"]
    assert "cityscapes-13 (13 of 19 classes)" in comparison.title
    assert "protocol paper (align_corners=true)" in comparison.title


def test_a_network_of_sixteen_classes_fits_the_thirteen(tmp_path: Path) -> None:
    comparison = compare([add_run(tmp_path, "clan", 50, SIXTEEN)], paper="synthia")
    assert comparison.rows[-1].miou == pytest.approx(iou(50))
    assert comparison.subset == "13 classes"
    with pytest.raises(RunError, match="terrain, truck, train"):
        compare([add_run(tmp_path, "clan", 50, SIXTEEN)], paper="gta5")


def test_another_test_set_is_noted(tmp_path: Path) -> None:
    same = compare([add_run(tmp_path, "clan", 50)], paper="gta5")
    other = compare([add_run(tmp_path, "clan", 50, images=3)], paper="gta5")
    assert not any("printed rows on Cityscapes val" in note for note in same.notes)
    assert "cityscapes val (3 images)" in other.notes[0]


def test_paper_and_subset_or_unlike_protocols_are_refused(tmp_path: Path) -> None:
    run = add_run(tmp_path, "clan", 50)
    with pytest.raises(ConfigError, match="13 classes"):
        compare([run], paper="synthia", subset="cityscapes-16")
    flipped = Protocol(size=(512, 1024), align_corners=True, flip=True)
    other = add_run(tmp_path, "tan", 50, protocol=flipped)
    with pytest.raises(RunError, match=r"protocol: .* flip testing in"):
        compare([run, other])


def test_every_form_says_the_same(tmp_path: Path) -> None:
    comparison = compare([add_run(tmp_path, "my_clan", 60)], paper="gta5")
    text = text_of(comparison)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for word in ("CyCADA (feature)", "fence*", "light*", "my_clan", "43.2", "+18.7"):
        assert word in text
    markdown = render.to_markdown(comparison).splitlines()
    table = [line for line in markdown if line.startswith("| ")]
    assert len(table) == 1 + 14 + 1
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "fence\\*" in table[0]
    assert table[-1].startswith("| my\\_clan |")
    latex = to_latex(comparison)
    assert r"\rotatebox{90}{\textcolor{blue}{fence}}" in latex
    assert latex.count(r"\midrule") == 3
    assert len({ln.count(" & ") for ln in latex.splitlines() if ln.endswith(r"\\")}) == 1
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert [row["origin"] for row in rows] == ["printed"] * 14 + ["runs"]
    assert (rows[1]["system"], rows[1]["architecture"], rows[1]["family"]) == ("CBST", "V", "ST")
    assert float(rows[1]["bicycle"]) == 28.6
    assert rows[0]["gain"] == ""
    assert comparison.to_dict()["rows"][-1]["printed"] is False


def test_synthia_footnotes_reach_every_form() -> None:
    comparison = compare([], paper="synthia")
    assert comparison.subset == "cityscapes-13"
    for form in (text_of(comparison), render.to_markdown(comparison), to_latex(comparison)):
        assert "average 40.7" in form
    assert "36.1†" in text_of(comparison)
    assert r"36.1$^\dagger$" in to_latex(comparison)
    assert "seeds" not in [heading for heading, _, _ in comparison.lines()]


def test_the_command_line_prints_tables(tmp_path: Path) -> None:
    run = add_run(tmp_path, "clan", 50)
    result = CliRunner().invoke(app, ["compare", str(run), "--paper", "gta5", "--format", "csv"])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 1 + 14 + 1
    alone = CliRunner().invoke(app, ["compare", "--paper", "synthia", "--format", "latex"])
    assert alone.exit_code == 0
    assert r"\toprule" in alone.output
    with pytest.raises(RunError, match="no run to compare"):
        CliRunner().invoke(app, ["compare"], catch_exceptions=False)
