"""A whole training from archives ends as the same training from folders, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from clan.config.loading import load_config
from clan.data.pack import pack, write_index
from clan.prediction.evaluate import evaluate
from clan.runs.folder import RunFolder
from clan.scoring.evaluation_file import read_evaluation
from clan.town import make_town
from clan.training.checking import check
from clan.training.train import train
from tests.data.archives.conftest import tar_folder, zip_folder
from tests.systems import SETTINGS, records, same, tensors, tiny, write_street

TOWN = (
    *SETTINGS,
    "training.steps=3",
    "data.source_view={size: [32, 64], crop: [32, 48]}",
    "data.target_view={size: [32, 64], crop: [32, 48]}",
    "data.evaluation_size=[32, 64]",
    "weights=null",
    "method.discriminator_width=4",
)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the town as a folder, a zip and a tar."""
    folder = tmp_path_factory.mktemp("data")
    make_town(folder / "town", source=6, target=5, val=2, size=(32, 64), seed=3, workers=1)
    zip_folder(folder / "town", folder / "town.zip")
    tar_folder(folder / "town", folder / "town.tar")
    return folder


def trained(town: Path, out: Path, kind: str, workers: int, *changes: str) -> RunFolder:
    config = load_config(
        "town/clan",
        [*TOWN, f"data.root={town}/town{kind}", f"data.workers={workers}", *changes],
    )
    return train(config, out)


def test_the_town_from_a_folder_a_zip_and_a_tar(town: Path, tmp_path: Path) -> None:
    plain = trained(town, tmp_path / "plain", "", 0)
    for kind, workers in ((".zip", 0), (".zip", 2), (".tar", 0), (".tar", 2)):
        cache = ["data.cache=memory"] if workers == 0 else [f"data.cache={tmp_path / 'kept'}"]
        run = trained(town, tmp_path / f"{kind}{workers}", kind, workers, *cache)
        assert same(tensors(run), tensors(plain)), (kind, workers)
        assert records(run) == records(plain)
        found, expected = (read_evaluation(r.path).scores.confusion for r in (run, plain))
        assert found.tolist() == expected.tolist()
    scored = evaluate(run.path)
    assert scored.scores.confusion.tolist() == expected.tolist()
    assert check(run.path / "config.yaml").problems == check(plain.path / "config.yaml").problems


def test_pseudo_labels_of_images_in_an_archive(tmp_path: Path) -> None:
    """A method that writes labels of the target reads its images from the archive, whole too."""
    write_street(tmp_path / "street")
    plain = train(tiny(tmp_path / "street", "cbst"), tmp_path / "plain")
    for domain in ("game", "photos"):
        folder = tmp_path / "street" / domain
        pack(str(folder / f"{domain}.yaml"), tmp_path / "packed" / domain / f"{domain}.tar")
    for system in (tmp_path / "street").glob("*.yaml"):
        (tmp_path / "packed" / system.name).write_text(system.read_text())
    config = tiny(tmp_path / "packed", "cbst")
    run = train(config, tmp_path / "run")
    assert same(tensors(run), tensors(plain))
    labels = sorted(path.name for path in (run.path / "stages").rglob("*.png"))
    assert labels == sorted(path.name for path in (plain.path / "stages").rglob("*.png"))
    assert labels


def test_a_target_that_is_an_archive_of_photos(tmp_path: Path, monkeypatch) -> None:
    write_street(tmp_path)
    zip_folder(tmp_path / "photos/train", tmp_path / "photos.zip")
    tar = tar_folder(tmp_path / "photos/train", tmp_path / "photos.tar")
    write_index(tar)
    runs = []
    monkeypatch.chdir(tmp_path)
    for number, place in enumerate(("photos/train", "photos.zip", "photos.tar")):
        config = tiny(tmp_path, "tan", f"data.target={place}", "training.steps=2")
        assert config.data.target.dataset == place
        runs.append(train(config, tmp_path / str(number)))
        assert str(tmp_path / place) in (runs[-1].path / "config.yaml").read_text()
    assert same(tensors(runs[0]), tensors(runs[1]))
    assert same(tensors(runs[0]), tensors(runs[2]))
