"""What the teacher methods meet in small or odd data: it works, or is refused with the way out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from clan.core.errors import ConfigError
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.train import train
from tests.systems import DESCRIPTION, records, tiny, write_street

RARE = ("method.rare_temperature=0.01", "training.steps=2", "training.log_every=1")


def assert_finite(run: RunFolder) -> None:
    lines = [line for line in records(run) if "loss_seg" in line]
    assert len(lines) == 2
    for line in lines:
        assert all(math.isfinite(v) for v in line.values() if isinstance(v, float)), line


def test_rare_classes_of_one_source_image(tmp_path: Path) -> None:
    street = write_street(tmp_path / "street")
    for folder in (street / "game" / "train", street / "game" / "labels" / "train"):
        for path in sorted(folder.iterdir())[1:]:
            path.unlink()
    run = train(tiny(street, "daformer", *RARE), tmp_path / "run", display=Silent())
    assert_finite(run)


def test_a_class_that_is_never_there_is_never_drawn(tmp_path: Path) -> None:
    street = write_street(tmp_path / "street")
    for name in ("game", "photos"):
        text = DESCRIPTION.format(name=name).replace(
            "road: [128, 64, 128]", "road: [128, 64, 128], tram: [1, 2, 3]"
        )
        assert "tram" in text
        (street / name / f"{name}.yaml").write_text(text)
    run = train(tiny(street, "daformer", *RARE), tmp_path / "run", display=Silent())
    assert_finite(run)


def test_no_features_are_near_to_random_ones(street: Path) -> None:
    with pytest.raises(ConfigError, match=r"makes these random: give weights, or set"):
        tiny(street, "daformer", "method.lambda_distance=0.005")


def test_the_distance_is_0_where_no_class_is_a_thing(street: Path, tmp_path: Path) -> None:
    start = train(
        tiny(street, "source_only", "training.steps=1"), tmp_path / "start", display=Silent()
    )
    changes = ("method.lambda_distance=0.005", f"weights={start.path}", *RARE)
    # sky, building and road are no things
    run = train(tiny(street, "daformer", *changes), tmp_path / "run", display=Silent())
    assert_finite(run)
    assert [line["feature_distance"] for line in records(run) if "loss_seg" in line] == [0, 0]
