from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from clan.config.tree import DataOptions
from clan.core.errors import DataError
from clan.training.domains import check_domains, open_domains
from tests.conftest import write_cityscapes, write_gta5
from tests.systems import tiny, write_street


def data(**options: object) -> DataOptions:
    return DataOptions.model_validate(options)


def test_domains_share_the_class_set_of_the_source(street: Path) -> None:
    domains = open_domains(tiny(street, "clan").data)
    assert domains.validation is not None
    assert domains.target is not None
    assert (len(domains.source), len(domains.validation)) == (6, 3)
    assert domains.classes.names == domains.validation.classes.names
    assert domains.source.labelled
    # never looked for, though they are there
    assert not domains.target.labelled


def test_built_in_layouts_need_no_root_of_their_own(gta5_root: Path) -> None:
    assert len(open_domains(data(root=str(gta5_root), source="gta5")).source) == 3


def test_a_description_lies_where_it_says_whatever_the_data_root(
    street: Path, gta5_root: Path
) -> None:
    # a preset's data.root must not move the data set that takes the place of the preset's
    game = str(street / "game/game.yaml")
    assert len(open_domains(data(root=str(gta5_root), source=game)).source) == 6
    given = {"dataset": game, "root": "game"}
    assert len(open_domains(data(root=str(street), source=given)).source) == 6


@pytest.mark.parametrize("folder", ["photos/train", "photos/train/"])
def test_a_folder_of_images_may_lie_below_the_data_root(street: Path, folder: str) -> None:
    game = {"dataset": str(street / "game/game.yaml")}
    domains = open_domains(data(root=str(street), source=game, target=folder))
    assert domains.target is not None
    assert len(domains.target) == 6


def test_a_source_needs_labels(street: Path) -> None:
    with pytest.raises(DataError, match="a source needs one for each image"):
        open_domains(data(source=str(street / "photos/train")))


def test_other_classes_are_refused(street: Path) -> None:
    other = street / "photos/other.yaml"
    other.write_text((street / "photos/photos.yaml").read_text().replace("building", "house"))
    with pytest.raises(DataError, match="must share one class set"):
        open_domains(data(source=str(street / "game/game.yaml"), target=str(other)))


def check(target: str | Path, *overrides: str) -> tuple[bool, str]:
    file = io.StringIO()
    console = Console(file=file, width=200)
    fine = check_domains(str(target), overrides, 1, console)
    return fine, file.getvalue()


def test_check_of_a_configuration_reads_every_domain(street: Path) -> None:
    fine, said = check(street / "clan.yaml")
    assert fine, said
    for part in ("source", "target", "validation", "sky"):
        assert part in said


def test_check_of_a_preset(tmp_path: Path) -> None:
    write_gta5(tmp_path / "source")
    write_cityscapes(tmp_path / "target")
    fine, said = check("town/clan", f"data.root={tmp_path}")
    assert fine, said


def test_check_finds_everything_and_goes_on(tmp_path: Path) -> None:
    street = write_street(tmp_path)
    (street / "game/train/001.png").write_bytes(b"no image")
    (street / "photos/labels/val/002.png").unlink()
    fine, said = check(street / "clan.yaml")
    assert not fine
    assert "001.png" in said
    assert "no label belongs to this image" in said
    assert "target" in said


def test_check_of_a_description_reads_all_splits(street: Path) -> None:
    fine, said = check(street / "game/game.yaml")
    assert fine
    assert "split train" in said
    assert "split val" in said


def test_check_of_a_folder(street: Path, tmp_path: Path) -> None:
    assert check(street / "photos/train")[0]
    odd = tmp_path / "my [photos]"
    odd.mkdir()
    fine, said = check(odd)
    assert not fine
    assert "my [photos]" in said
