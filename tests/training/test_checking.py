"""`clan.check`: every file is read, every problem reported, nothing printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clan.core.errors import ConfigError
from clan.data.classes import CITYSCAPES
from clan.training.checking import check
from tests.conftest import write_cityscapes, write_gta5
from tests.systems import tiny, write_street


def test_a_configuration_is_read_domain_by_domain(street: Path) -> None:
    found = check(street / "clan.yaml", workers=1)
    assert found.ok, found.problems
    assert [split.title for split in found.splits] == ["source", "target", "validation"]
    source, target, _ = (split.report for split in found.splits)
    assert source is not None
    assert target is not None
    assert source.images == target.images == 6
    assert source.histogram["sky"].images == 6
    # the target's labels are on the disk and are none of the training's business
    assert not target.labelled


def test_a_loaded_configuration_is_taken_as_it_is(street: Path) -> None:
    assert check(tiny(street, "clan"), workers=1) == check(street / "clan.yaml", workers=1)


def test_a_preset(tmp_path: Path) -> None:
    write_gta5(tmp_path / "source")
    write_cityscapes(tmp_path / "target")
    root = f"data.root={tmp_path}"
    found = check("town/clan", [root], workers=1)
    assert not found.ok
    assert all("has no pixel in any label" in problem for problem in found.problems)
    assert any("class 'wall'" in problem for problem in found.problems)
    # the preset says that the town has none
    assert not any("class 'train'" in problem for problem in found.problems)
    drawn = {
        "source": ("road", "sidewalk", "building", "car"),
        "validation": ("road", "person", "bicycle"),
    }
    absent = [
        f"data.{domain}.absent={[name for name in CITYSCAPES.names if name not in names]}"
        for domain, names in drawn.items()
    ]
    found = check("town/clan", [root, *absent], workers=1)
    assert found.ok, found.problems


def test_everything_that_is_wrong_is_found(tmp_path: Path) -> None:
    street = write_street(tmp_path)
    (street / "game/train/001.png").write_bytes(b"no image")
    (street / "photos/labels/val/002.png").unlink()
    found = check(street / "clan.yaml", workers=1)
    assert not found.ok
    first, second = found.problems
    assert first.startswith("source: ")
    assert "001.png" in first
    assert second.startswith("validation: ")
    assert "no label belongs to this image" in second


def test_a_domain_that_is_not_there_does_not_end_the_check(street: Path) -> None:
    found = check(tiny(street, "clan", "data.target=nowhere"), workers=1)
    assert [split.report is None for split in found.splits] == [False, True, False]
    assert "'nowhere' is neither" in found.splits[1].error
    assert found.problems == (f"target: {found.splits[1].error}",)


def test_a_description_is_read_split_by_split(street: Path) -> None:
    found = check(street / "game/game.yaml", workers=1)
    assert found.ok
    file = street / "game/game.yaml"
    assert [split.title for split in found.splits] == [
        f"{file}, split {s}" for s in ("train", "val")
    ]


def test_a_folder_of_images(street: Path, tmp_path: Path) -> None:
    assert check(street / "photos/train", workers=1).ok
    odd = tmp_path / "my [photos]"
    odd.mkdir()
    found = check(odd, workers=1)
    assert not found.ok
    assert "my [photos]" in found.problems[0]


def test_an_unknown_preset_is_an_error_of_its_own() -> None:
    with pytest.raises(ConfigError, match="did you mean 'town/clan'"):
        check("town/clam")


def test_progress_is_told_where_asked_for_and_nothing_is_printed(
    street: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, int, int]] = []
    check(street / "photos/train", workers=1, progress=lambda *seen: told.append(seen))
    folder = str(street / "photos/train")
    assert told == [(folder, done, 6) for done in range(1, 7)]
    assert capfd.readouterr() == ("", "")


def test_data_from_python_are_read_entry_by_entry(street: Path) -> None:
    config = tiny(street, "clan", "data.classes=cityscapes")
    image, label = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.int64)
    wrong = label.copy()
    wrong[0, :3] = 19
    found = check(
        config,
        source=[(image, label), (image, wrong), (image[:2], label)],
        target=[image],
        validation=[(image, label)],
        workers=1,
    )
    assert len(found.problems) == 2
    assert found.problems[0].startswith("source: the label of source[1] has 3 pixels of 19")
    assert found.problems[1].startswith("source: source[2]: the image is 2x6")
    report = found.splits[0].report
    assert report is not None
    assert report.histogram["road"].pixels == 24
    assert found.splits[1].report is not None
    assert not found.splits[1].report.labelled
