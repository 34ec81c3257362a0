from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import spearmanr

from clan.analysis.choice import (
    TOGETHER,
    checkpoint_choices,
    choices_markdown,
    rank_correlation,
    write_choices,
)
from clan.analysis.results import write_result
from clan.config.loading import load_config
from clan.core.errors import RunError
from clan.data.classes import ClassSet
from clan.runs.folder import RunFolder

CLASSES = ClassSet("two", ("road", "car"), ((0, 0, 0), (9, 9, 9)))
GOOD = {
    "entropy": [0.5, 0.4, 0.3, 0.2],
    "information": [0.2, 0.4, 0.3, 0.1],
    "snd": [4.0, 3.0, 2.0, 1.0],
    "agreement": [0.5, 0.6, 0.6, 0.5],
}
MIOU: list[float | None] = [0.1, 0.2, 0.3, 0.25]


def scored(
    folder: Path,
    name: str,
    seed: int = 0,
    scores: dict[str, list[float]] = GOOD,
    miou: list[float | None] = MIOU,
    **about: object,
) -> Path:
    run = RunFolder(folder / f"{name}{seed}")
    config = load_config("town/clan", [f"name={name}", f"seed={seed}"])
    content = {
        "target": {"dataset": "photos", "split": "train", "images": 20},
        "options": {"images": 20},
        "steps": [100 * (i + 1) for i in range(len(miou))],
        "scores": scores,
        "miou": miou,
        "miou_on": "photos val",
    }
    write_result(run, "label-free", config, CLASSES, {**content, **about})
    return run.path


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = rng.integers(0, 6, 12).astype(float), rng.random(12)
        expected = spearmanr(x, y).statistic
        assert rank_correlation(x.tolist(), y.tolist()) == pytest.approx(expected)
    assert rank_correlation([1, 2, 9], [0, 5, 6]) == pytest.approx(1)
    assert rank_correlation([1, 2, 9], [3, 2, 1]) == pytest.approx(-1)


def test_rank_correlation_of_nothing_to_rank_is_nan() -> None:
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert math.isnan(rank_correlation([1, 2], [1, 2]))


def test_each_score_chooses_its_best_checkpoint(tmp_path: Path) -> None:
    (clan,), notes = checkpoint_choices([scored(tmp_path, "clan")])
    assert (clan.name, clan.checkpoints) == ("clan", 4)
    assert (clan.last, clan.oracle) == (pytest.approx(25), pytest.approx(30))
    # low entropy is good, and the last has the lowest
    assert clan.scores["entropy"].steps == (400,)
    assert clan.scores["entropy"].miou == pytest.approx(25)
    assert clan.scores["entropy"].correlation == pytest.approx(0.8)
    assert clan.scores["information"].steps == (200,)
    assert clan.scores["snd"].miou == pytest.approx(10)
    assert clan.scores["snd"].correlation == pytest.approx(-0.8)
    assert "20 images of photos train" in notes[0]


def test_seeds_are_averaged_and_systems_also_ranked_together(tmp_path: Path) -> None:
    runs = [
        scored(tmp_path, "clan"),
        scored(tmp_path, "clan", 1, miou=[0.2, 0.3, 0.4, 0.35]),
        scored(tmp_path, "tan", miou=[0.5, 0.1, 0.1, 0.1]),
    ]
    choices, _ = checkpoint_choices(runs)
    assert [each.name for each in choices] == ["clan", "tan", TOGETHER]
    assert choices[0].seeds == 2
    assert choices[0].last == pytest.approx(30)
    assert choices[2].checkpoints == 12
    assert choices[2].oracle == pytest.approx(50)


def test_a_run_without_scores_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    assert checkpoint_choices([bare]) == ([], [])
    few = scored(tmp_path, "tan", scores={k: v[:1] for k, v in GOOD.items()}, miou=[0.1])
    unlabelled = scored(tmp_path, "mcd", miou=[None] * 4)
    choices, notes = checkpoint_choices([scored(tmp_path, "clan"), bare, few, unlabelled])
    assert [each.name for each in choices] == ["clan"]
    for run in (bare, few, unlabelled):
        assert str(run) in notes[1]


def test_scores_over_other_images_are_refused(tmp_path: Path) -> None:
    other = scored(tmp_path, "tan", target={"dataset": "photos", "split": "train", "images": 7})
    with pytest.raises(RunError, match=r"differ in target: .*20.* and .*7"):
        checkpoint_choices([scored(tmp_path, "clan"), other])


def test_a_score_that_networks_do_not_have_is_left_out(tmp_path: Path) -> None:
    scores = {**GOOD, "agreement": [math.nan] * 4}
    (each,), notes = checkpoint_choices([scored(tmp_path, "source_only", scores=scores)])
    assert "agreement" not in each.scores
    assert "| source\\_only | 4 | 25.0 | 30.0 | 25.0 +0.80 |" in choices_markdown([each], notes)
    console = Console(width=80, file=io.StringIO(), record=True)
    write_choices([each], notes, console)
    line = next(x for x in console.export_text().splitlines() if x.startswith("source_only"))
    assert line.split()[:4] == ["source_only", "4", "25.0", "30.0"]
    assert line.split()[-1] == "-"
