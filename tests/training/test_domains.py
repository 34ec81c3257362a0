from __future__ import annotations

from pathlib import Path

import pytest

from clan.config.tree import DataOptions
from clan.core.errors import DataError
from clan.training.domains import open_domains
from tests.systems import tiny


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
