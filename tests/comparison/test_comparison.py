"""Tables whose every number is worked out by hand, and runs that must not be compared."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clan.comparison import render
from clan.comparison.compare import Comparison, compare
from clan.comparison.export import to_csv, to_latex
from clan.core.console import Console
from clan.core.errors import ConfigError, RunError
from clan.data.classes import CITYSCAPES, ClassSet
from clan.scoring.evaluation_file import Evaluation, write_evaluation
from clan.scoring.metrics import Scores

DUO = ClassSet("duo", ("road", "car"), ((128, 64, 128), (0, 0, 142)), {"only-car": ("car",)})


def confusion(right: int, classes: int = 2, pixels: int = 100) -> np.ndarray:
    """Return counts with ``right`` of ``pixels`` right per class, the others one class further."""
    matrix = np.eye(classes, dtype=np.int64) * right
    return matrix + np.roll(np.eye(classes, dtype=np.int64), 1, axis=1) * (pixels - right)


def iou(right: int, pixels: int = 100) -> float:
    """Return the IoU in percent of each class of `confusion`."""
    return 100 * right / (2 * pixels - right)


def add_run(root: Path, name: str, seed: int | None, matrix: np.ndarray, **changes: object) -> Path:
    folder = root / f"{name}-{seed}-{len(list(root.iterdir()))}"
    folder.mkdir()
    classes = changes.pop("classes", DUO)
    images = changes.pop("images", 10)
    about = {
        "name": name,
        "seed": seed,
        "step": 600,
        "checkpoint": "last",
        "dataset": "town",
        "split": "val",
        "size": (128, 256),
        "ensemble": "logits",
        **changes,
    }
    scores = Scores(classes, matrix, images)
    write_evaluation(folder / "evaluation.json", Evaluation(scores, **about))
    return folder


def four_systems(root: Path) -> list[Path]:
    rights = {"source_only": (40, 44), "clan": (60, 66), "tan": (50,), "oracle": (80,)}
    return [
        add_run(root, name, seed, confusion(right))
        for name, values in rights.items()
        for seed, right in enumerate(values)
    ]


def text_of(comparison: Comparison, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    render.show(comparison, console)
    return console.export_text()


def test_mean_std_gain_and_gap_closed(tmp_path: Path) -> None:
    comparison = compare(four_systems(tmp_path))
    rows = {row.name: row for row in comparison.rows}
    assert list(rows) == ["source_only", "clan", "tan", "oracle"]
    source, clan = (iou(40) + iou(44)) / 2, (iou(60) + iou(66)) / 2
    assert rows["clan"].miou == pytest.approx(clan)
    assert rows["clan"].iou == pytest.approx([clan, clan])
    assert rows["clan"].std == pytest.approx(abs(iou(60) - iou(66)) / 2**0.5)
    assert rows["clan"].gain == pytest.approx(clan - source)
    # the oracle has seed 0 only
    closed = 100 * (iou(60) - iou(40)) / (iou(80) - iou(40))
    assert rows["clan"].gap_closed == pytest.approx(closed)
    assert rows["clan"].seeds == (0, 1)
    assert rows["tan"].std is None
    assert rows["source_only"].gain is None
    assert rows["oracle"].gain == pytest.approx(iou(80) - iou(40))
    assert rows["oracle"].gap_closed is None


def test_gains_are_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    rights = {"source_only": (40, 44, 70), "tan": (42, 45), "oracle": (80, 82, 84)}
    runs = [
        add_run(tmp_path, name, seed, confusion(right))
        for name, values in rights.items()
        for seed, right in enumerate(values)
    ]
    comparison = compare(runs)
    tan = comparison.rows[1]
    gain = (iou(42) - iou(40) + iou(45) - iou(44)) / 2
    assert tan.gain == pytest.approx(gain)
    gap = (iou(80) - iou(40) + iou(82) - iou(44)) / 2
    assert tan.gap_closed == pytest.approx(100 * gain / gap)
    assert tan.change == pytest.approx([round(gain, 1)] * 2, abs=0.1)
    assert (tan.change > 0).all()
    assert not any("worse" in note for note in comparison.notes)
    said = "Gains and losses of tan are over seeds 0, 1, which source_only has too."
    assert said in comparison.notes
    full = compare([run for run in runs if "-2-" not in run.name])
    assert not any("are over seed" in note for note in full.notes)


def test_without_a_common_seed_gains_are_between_the_means(tmp_path: Path) -> None:
    runs = [
        add_run(tmp_path, "source_only", 0, confusion(40)),
        add_run(tmp_path, "source_only", 1, confusion(44)),
        add_run(tmp_path, "tan", 2, confusion(50)),
        add_run(tmp_path, "oracle", 0, confusion(80)),
    ]
    comparison = compare(runs)
    tan, source = comparison.rows[1], (iou(40) + iou(44)) / 2
    assert tan.gain == pytest.approx(iou(50) - source)
    assert tan.gap_closed == pytest.approx(100 * (iou(50) - source) / (iou(80) - source))
    assert "tan shares no seed with source_only: its gain is between their means." in (
        comparison.notes
    )
    assert "Gains and losses of oracle are over seed 0, which source_only has too." in (
        comparison.notes
    )


def test_the_gap_is_over_the_seeds_of_all_three(tmp_path: Path) -> None:
    """Its seeds are named where they are not the gain's, and no gap of other seeds is taken."""
    rights = {
        ("source_only", 0): 40,
        ("source_only", 1): 70,
        ("source_only", 2): 75,
        ("tan", 0): 45,
        ("tan", 1): 71,
        ("tan", 2): 76,
        ("mcd", 1): 72,
        ("mcd", 2): 77,
        ("oracle", 0): 50,
    }
    runs = [add_run(tmp_path, n, seed, confusion(r)) for (n, seed), r in rights.items()]
    comparison = compare(runs)
    rows = {row.name: row for row in comparison.rows}
    gains = (iou(45) - iou(40) + iou(71) - iou(70) + iou(76) - iou(75)) / 3
    assert rows["tan"].gain == pytest.approx(gains)
    closed = 100 * (iou(45) - iou(40)) / (iou(50) - iou(40))
    assert rows["tan"].gap_closed == pytest.approx(closed)
    assert rows["mcd"].gap_closed is None
    assert "Gap closed of tan is over seed 0, which oracle has." in comparison.notes
    assert "oracle has no seed of mcd: gap closed is left out." in comparison.notes
    # below source only over all seeds, above it in the one that counts
    assert rows["oracle"].miou < rows["source_only"].miou
    assert not any("no gap to close" in note for note in comparison.notes)


def test_runs_that_do_not_know_their_seed_pair_with_none(tmp_path: Path) -> None:
    runs = [
        add_run(tmp_path, name, seed, confusion(right))
        for name, seed, right in (
            ("source_only", 0, 40),
            ("source_only", None, 60),
            ("tan", 0, 50),
            ("clan", None, 70),
        )
    ]
    rows = {row.name: row for row in compare(runs).rows}
    assert rows["tan"].gain == pytest.approx(iou(50) - iou(40))
    assert rows["clan"].gain == pytest.approx(iou(70) - (iou(40) + iou(60)) / 2)


def test_title_says_what_the_numbers_are_over(tmp_path: Path) -> None:
    title = compare(four_systems(tmp_path), subset="only-car").title
    for part in (
        "only-car (1 of 2 classes)",
        "town val",
        "10 images",
        "128x256",
        "checkpoint: last",
    ):
        assert part in title


def test_a_subset_limits_mean_and_classes(tmp_path: Path) -> None:
    runs = [add_run(tmp_path, "source_only", 0, np.array([[100, 0], [50, 50]]))]
    assert compare(runs).rows[0].miou == pytest.approx(100 * (100 / 150 + 0.5) / 2)
    only = compare(runs, subset="only-car")
    assert only.classes == ("car",)
    assert only.rows[0].miou == pytest.approx(50)
    with pytest.raises(ConfigError, match="'only-car'"):
        compare(runs, subset="only-cars")


def test_the_best_is_bold_and_the_oracle_no_contestant(tmp_path: Path) -> None:
    lines = {
        heading: (texts, best) for heading, texts, best in compare(four_systems(tmp_path)).lines()
    }
    assert lines["mIoU"][1] == lines["car"][1] == lines["gain"][1] == {1}
    assert lines["mIoU"][0][1].startswith(f"{(iou(60) + iou(66)) / 2:.1f} ± ")
    assert "±" not in lines["mIoU"][0][2]
    assert lines["seeds"] == (["2", "2", "1", "1"], set())


def test_equal_as_printed_share_the_bold(tmp_path: Path) -> None:
    runs = [
        add_run(tmp_path, name, 0, confusion(right, pixels=100_000))
        for name, right in (("source_only", 40_000), ("tan", 60_000), ("clan", 60_001))
    ]
    assert compare(runs).lines()[0][2] == {1, 2}
    assert compare(runs[1:]).lines()[0][2] == set()
    assert compare(runs[:1]).lines()[0][2] == set()


def test_without_baseline_or_oracle_their_columns_go(tmp_path: Path) -> None:
    runs = four_systems(tmp_path)
    no_oracle = compare(runs[:-1])
    assert [line[0] for line in no_oracle.lines()] == ["mIoU", "gain", "seeds", "road", "car"]
    assert any("'oracle'" in note for note in no_oracle.notes)
    no_baseline = compare(runs[2:])
    assert [line[0] for line in no_baseline.lines()] == ["mIoU", "seeds", "road", "car"]
    assert any("'source_only'" in note for note in no_baseline.notes)
    renamed = compare(runs, baseline="tan", oracle="clan")
    assert [row.gain is None for row in renamed.rows] == [False, False, True, False]
    assert renamed.rows[0].gap_closed == pytest.approx(
        100 * (iou(40) - iou(50)) / (iou(60) - iou(50))
    )


def test_no_gap_to_close(tmp_path: Path) -> None:
    rights = (("source_only", 60), ("clan", 62), ("oracle", 60))
    comparison = compare([add_run(tmp_path, n, 0, confusion(r)) for n, r in rights])
    assert comparison.rows[1].gap_closed is None
    assert any("no gap to close" in note for note in comparison.notes)


def test_negative_transfer_is_one_table(tmp_path: Path) -> None:
    """Of all adapted systems; in Markdown, in the terminal and as comments in LaTeX."""
    runs = [
        add_run(tmp_path, "source_only", 0, np.array([[80, 20], [40, 60]])),
        add_run(tmp_path, "clan", 0, np.array([[99, 1], [60, 40]])),
        add_run(tmp_path, "tan", 0, np.array([[90, 10], [30, 70]])),
        add_run(tmp_path, "oracle", 0, np.array([[70, 30], [40, 60]])),
    ]
    comparison = compare(runs)
    transfer = comparison.negative_transfer
    lost = f"{round(100 * 40 / 101, 1) - round(100 * 60 / 120, 1):+.1f}"
    assert transfer is not None
    assert (transfer.systems, transfer.classes) == (("clan",), ("car",))
    assert transfer.spared == ("tan",)
    assert transfer.text("clan", "car") == lost
    assert transfer.text("clan", "road") == ""
    assert not any("worse" in note for note in comparison.notes)
    assert f"| | clan |\n|---|---:|\n| car | {lost} |\n" in render.to_markdown(comparison)
    wide = render.to_markdown(replace(comparison, by_row=True))
    assert f"| system | car |\n|---|---:|\n| clan | {lost} |\n" in wide
    caption = "Classes worse than with source_only (negative transfer), in points of IoU. "
    caption += "No class is worse with tan."
    shown = " ".join(text_of(comparison).split())
    for text in (wide, shown, to_latex(comparison)):
        assert caption in text
        assert lost in text
    assert f"% clan: car {lost}\n" in to_latex(comparison)
    (record,) = json.loads(json.dumps(comparison.to_dict()))["negative_transfer"]
    assert (record["system"], record["class"], record["of"]) == ("clan", "car", 1)
    assert record["points"] == pytest.approx(float(lost))


def test_negative_transfer_tells_classes_that_are_not_worse_in_every_seed(tmp_path: Path) -> None:
    rights = {"source_only": (60, 60, 60), "clan": (40, 50, 62), "tan": (40, 50, 55)}
    runs = [
        add_run(tmp_path, name, seed, confusion(right))
        for name, values in rights.items()
        for seed, right in enumerate(values)
    ]
    comparison = compare(runs)
    transfer = comparison.negative_transfer
    assert transfer is not None
    base = round(iou(60), 1)
    clan = round(round((iou(40) + iou(50) + iou(62)) / 3, 1) - base, 1)
    tan = round(round((iou(40) + iou(50) + iou(55)) / 3, 1) - base, 1)
    assert transfer.text("clan", "road") == f"({clan:+.1f})"
    assert transfer.text("tan", "road") == f"{tan:+.1f}"
    assert transfer.losses["clan", "road"].seeds == 2
    assert transfer.losses["clan", "road"].shared == 3
    assert "In brackets: not worse in every seed." in render.to_markdown(comparison)


def test_without_a_loss_or_a_baseline_there_is_no_second_table(tmp_path: Path) -> None:
    runs = [
        add_run(tmp_path, name, 0, confusion(right))
        for name, right in (("source_only", 40), ("tan", 50), ("clan", 30))
    ]
    for comparison in (compare(runs[:2]), compare(runs[1:]), compare(runs[:1])):
        assert "worse" not in render.to_markdown(comparison) + text_of(comparison)


def test_many_losses_fit_the_terminal(tmp_path: Path) -> None:
    """Systems that all lose on all of 19 classes: no line is cut off."""
    runs = [
        add_run(tmp_path, name, 0, confusion(60 - 3 * i, 19), classes=CITYSCAPES)
        for i, name in enumerate(("source_only", *(f"system{n}" for n in range(13))))
    ]
    for by_row in (False, True):
        text = text_of(replace(compare(runs), by_row=by_row), 100)
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= 100


def test_runs_without_an_evaluation_are_left_out_and_named(tmp_path: Path) -> None:
    runs = four_systems(tmp_path)
    bare = tmp_path / "unfinished"
    bare.mkdir()
    (bare / "config.yaml").write_text("name: tan")
    comparison = compare([runs[0], bare, *runs[1:]])
    assert [row.name for row in comparison.rows] == ["source_only", "clan", "tan", "oracle"]
    (note,) = [note for note in comparison.notes if str(bare) in note]
    assert note.startswith("Left out, since they have no evaluation.json")
    assert not any("Left out" in note for note in compare(runs).notes)
    with pytest.raises(RunError, match=r"no evaluation at .*unfinished"):
        compare([bare])
    # a path that is not there is a mistake, not a run that is yet to be scored
    with pytest.raises(RunError, match=r"no evaluation at .*nowhere"):
        compare([*runs, tmp_path / "nowhere"])


def test_logs_beside_the_folders_of_runs_are_ignored(tmp_path: Path) -> None:
    runs = four_systems(tmp_path)
    log = runs[0].with_name(f"{runs[0].name}.log")
    log.write_text("step 1")
    comparison = compare([*runs, log])
    assert comparison.to_dict() == compare(runs).to_dict()
    with pytest.raises(RunError, match="is not an evaluation"):
        compare([*runs, log.rename(tmp_path / "other.log")])


def test_the_town_is_compared_with_evaluations_that_called_it_by_its_layout(
    tmp_path: Path,
) -> None:
    new = add_run(tmp_path, "tan", 0, confusion(50), dataset="town/target")
    old = add_run(tmp_path, "clan", 0, confusion(60), dataset="cityscapes")
    assert "on town/target val" in compare([new, old]).title
    assert "on town/target val" in compare([old, new]).title
    real = add_run(tmp_path, "mcd", 0, confusion(60, pixels=101), dataset="cityscapes")
    with pytest.raises(RunError, match="truth of 'road'"):
        compare([new, real])


def test_notes_on_absent_classes_steps_and_checkpoints(tmp_path: Path) -> None:
    runs = [
        add_run(tmp_path, "source_only", 0, np.array([[90, 10], [0, 0]])),
        add_run(tmp_path, "clan", 0, np.array([[100, 0], [0, 0]]), step=900),
        add_run(tmp_path, "best", 0, np.array([[99, 1], [0, 0]]), checkpoint="oracle"),
    ]
    comparison = compare(runs)
    notes = "\n".join(comparison.notes)
    assert "Not in the truth: car" in notes
    assert "source_only 600, clan 900" in notes
    assert "chosen on target labels" in notes
    assert ("checkpoint", ["last", "last", "oracle"], set()) in comparison.lines()
    assert comparison.rows[1].miou == pytest.approx(100)
    assert comparison.rows[0].miou == pytest.approx(45)
    assert comparison.lines()[-1][1] == ["0.0", "-", "0.0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "camvid"}, "data set: town val .* camvid val"),
        ({"split": "train"}, "data set: town val .* town train"),
        ({"images": 11}, "images: 10 .* 11"),
        ({"size": None}, "input size: 128x256 .* as stored"),
        ({"classes": CITYSCAPES}, "classes: duo .* cityscapes"),
        ({"matrix": confusion(50, pixels=101)}, "truth of 'road': 100 pixels .* 101 pixels"),
    ],
)
def test_runs_scored_differently_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    one = add_run(tmp_path, "tan", 0, confusion(50))
    default = confusion(50, len(changes.get("classes", DUO)))
    other = add_run(tmp_path, "clan", 0, changes.pop("matrix", default), **changes)
    with pytest.raises(RunError, match=message) as caught:
        compare([one, other])
    assert str(one / "evaluation.json") in str(caught.value)
    assert str(other / "evaluation.json") in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": 400}, "two kinds of updates: 600 .* 400"),
        ({"checkpoint": "oracle"}, "two kinds of checkpoint: last .* oracle"),
        ({"ensemble": "softmax"}, "two kinds of ensemble: logits .* softmax"),
        ({"seed": 0}, "seed 0, is there twice"),
    ],
)
def test_seeds_that_are_not_one_system_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    runs = [add_run(tmp_path, "clan", 0, confusion(50))]
    runs.append(add_run(tmp_path, "clan", **{"seed": 1, "matrix": confusion(51), **changes}))
    with pytest.raises(RunError, match=message):
        compare(runs)


def test_steps_of_runs_selected_on_target_labels_may_differ(tmp_path: Path) -> None:
    runs = [
        add_run(tmp_path, "clan", seed, confusion(50), checkpoint="oracle", step=step)
        for seed, step in enumerate((400, 600))
    ]
    assert compare(runs).rows[0].steps == (400, 600)


def test_no_runs_and_unfinished_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to compare"):
        compare([])
    with pytest.raises(RunError, match="no evaluation"):
        compare([tmp_path])


def test_nineteen_classes_and_six_systems_fit_into_100_columns(tmp_path: Path) -> None:
    names = ("source_only", "adabn", "tan", "clan_reference", "clan_clean", "oracle")
    runs = [
        add_run(tmp_path, name, seed, confusion(50 + 5 * i + seed, 19), classes=CITYSCAPES)
        for i, name in enumerate(names)
        for seed in (0, 1)
    ]
    comparison = compare(runs)
    assert len(render.tables(comparison, 100)) == 1
    text = text_of(comparison)
    assert "…" not in text
    for word in (*names, *CITYSCAPES.names):
        assert word in text
    narrow = render.tables(comparison, 60)
    assert len(narrow) == 2
    assert "…" not in text_of(comparison, 60)


def test_markdown_latex_csv_and_json_say_the_same(tmp_path: Path) -> None:
    comparison = compare(four_systems(tmp_path))
    clan = comparison.rows[1]
    shown = f"{clan.miou:.1f} ± {clan.std:.1f}"
    markdown = render.to_markdown(comparison)
    assert f"**{shown}**" in markdown
    assert "source\\_only" in markdown
    assert comparison.title in markdown
    latex = to_latex(comparison)
    assert rf"\textbf{{{shown.replace('±', '$' + chr(92) + 'pm$')}}}" in latex
    assert r"source\_only" in latex
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {len(comparison.lines())}
    table = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert float(table[1]["miou"]) == pytest.approx(clan.miou, abs=1e-4)
    assert table[1]["seeds"] == "0 1"
    assert table[1]["subset"] == "duo"
    assert table[2]["miou_std"] == ""
    data = json.loads(json.dumps(comparison.to_dict()))
    assert data["rows"][1]["gap_closed"] == pytest.approx(clan.gap_closed)


@pytest.mark.parametrize("style", ["markdown", "latex", "csv"])
def test_write_prints_other_programs_food_unchanged(tmp_path: Path, style: str) -> None:
    comparison = compare(four_systems(tmp_path))
    stream = io.StringIO()
    render.write(comparison, Console(file=stream, width=30, force_terminal=True), style)
    forms = {"markdown": render.to_markdown, "latex": to_latex, "csv": to_csv}
    assert stream.getvalue() == forms[style](comparison)
    with pytest.raises(ConfigError, match="'markdown'"):
        render.write(comparison, Console(file=stream), "markdwon")
