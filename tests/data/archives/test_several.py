"""Several archives as one root: images in one, labels in another."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import cast

import pytest
import yaml

import clan
from clan.config.loading import anchored, load_config
from clan.core.errors import DataError
from clan.data.archives.paths import ArchivePath, locate
from clan.data.archives.several import Several, locate_root
from clan.data.datasets import Dataset, open_dataset
from clan.data.loading import training_loader
from clan.data.pack import pack
from clan.data.views import ViewOptions
from clan.training.domains import open_domains
from tests.conftest import write_cityscapes
from tests.data.archives.conftest import tar_folder, zip_folder


def parted(folder: Path, out: Path, second: str = "zip") -> tuple[str, str]:
    """Pack the images and the labels of Cityscapes' layout, a README in each."""
    parts = []
    for name in ("leftImg8bit", "gtFine"):
        part = out / name
        shutil.copytree(folder / name, part / name)
        (part / "README").write_text(name)
        (part / "license.txt").write_text("terms")
        tar = second == "tar" and name == "gtFine"
        parts.append(
            (tar_folder if tar else zip_folder)(part, out / f"{name}.{'tar' if tar else 'zip'}")
        )
        shutil.rmtree(part)
    return str(parts[0]), str(parts[1])


def pixels(data: Dataset) -> list[tuple[str, bytes, bytes]]:
    pairs = [data.read(i) for i in range(len(data))]
    return [
        (item.name, image.tobytes(), b"" if label is None else label.tobytes())
        for item, (image, label) in zip(data.items, pairs, strict=True)
    ]


@pytest.mark.parametrize("second", ["zip", "tar"])
def test_an_original_layout_in_two_archives(tmp_path: Path, second: str) -> None:
    folder = write_cityscapes(tmp_path / "cityscapes")
    roots = parted(folder, tmp_path, second)
    whole, data = open_dataset("cityscapes", root=folder), open_dataset("cityscapes", root=roots)
    assert data.labelled
    assert pixels(data) == pixels(whole)
    assert open_dataset("cityscapes", root=roots[:1]).labelled is False
    # a file is named by the archive that holds it
    item = data.items[0]
    assert str(item.image).startswith(f"{roots[0]}/leftImg8bit/")
    assert str(item.label).startswith(f"{roots[1]}/gtFine/")


def test_workers_read_them_alike(tmp_path: Path) -> None:
    roots = parted(write_cityscapes(tmp_path / "cityscapes"), tmp_path)
    data = open_dataset("cityscapes", root=roots)
    given = {"seed": 3, "stream": 0, "batch_size": 2, "start_step": 0, "stop_step": 4}
    alone, others = (
        list(training_loader(data, ViewOptions(), workers=n, **given))  # type: ignore[arg-type]
        for n in (0, 2)
    )
    assert [b["name"] for b in alone] == [b["name"] for b in others]
    assert all((a["image"] == b["image"]).all() for a, b in zip(alone, others, strict=True))


def test_a_description_and_a_configuration_name_several(tmp_path: Path) -> None:
    folder = write_cityscapes(tmp_path / "cityscapes")
    roots = parted(folder, tmp_path)
    names = [Path(root).name for root in roots]
    builtin = Path(clan.__file__).parent / "data/builtin/cityscapes.yaml"
    tree = {**yaml.safe_load(builtin.read_text()), "root": names}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    assert pixels(open_dataset(str(tmp_path / "mine.yaml"))) == pixels(
        open_dataset("cityscapes", root=folder)
    )
    source = {"dataset": "cityscapes", "root": names}
    text = {"name": "a", "data": {"root": str(tmp_path), "source": source}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(text | {"method": {"name": "source_only"}}))
    config = anchored(load_config(tmp_path / "a.yaml", ["training.steps=1"]))
    opened = open_domains(config.data)
    assert pixels(opened.source) == pixels(open_dataset("cityscapes", root=folder))
    assert config.data.source.shown_root == "leftImg8bit.zip + gtFine.zip"


def test_several_are_packed_into_one(tmp_path: Path) -> None:
    roots = parted(write_cityscapes(tmp_path / "cityscapes"), tmp_path)
    tree = {
        **yaml.safe_load((Path(clan.__file__).parent / "data/builtin/cityscapes.yaml").read_text())
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**tree, "root": list(roots)}))
    pack(str(tmp_path / "mine.yaml"), tmp_path / "one.zip", splits=["train"])
    assert pixels(open_dataset(str(tmp_path / "one.yaml"))) == pixels(
        open_dataset("cityscapes", root=roots)
    )


def test_a_name_in_two_archives(tmp_path: Path) -> None:
    """A picture is refused at once; another file when it is asked for, if the contents differ."""
    roots = parted(write_cityscapes(tmp_path / "cityscapes"), tmp_path)
    place = locate_root(roots)
    assert (place / "license.txt").read_bytes() == b"terms"
    with pytest.raises(DataError, match=r"leftImg8bit\.zip and .*gtFine\.zip both hold README"):
        (place / "README").read_bytes()
    twin = "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png"
    with zipfile.ZipFile(roots[1], "a") as archive:
        archive.writestr(twin, b"other")
    with pytest.raises(DataError, match=rf"both hold {twin}"):
        open_dataset("cityscapes", root=roots)


def test_what_is_no_list_of_archives(tmp_path: Path) -> None:
    folder = write_cityscapes(tmp_path / "cityscapes")
    roots = parted(folder, tmp_path)
    for several in ([str(folder), roots[0]], [f"{roots[0]}/leftImg8bit", roots[1]]):
        with pytest.raises(DataError, match="a list of roots is one of whole archives"):
            open_dataset("cityscapes", root=several)
    with pytest.raises(DataError, match="the list of roots is empty"):
        locate_root([])
    with pytest.raises(DataError, match="several archives are the root of a description"):
        open_dataset("photos", root=roots)


def test_a_member_is_read_from_the_archive_that_holds_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}/text.txt", name)
    parts = [cast(ArchivePath, locate(tmp_path / f"{name}.zip")) for name in ("one", "two")]
    whole = Several([part.archive for part in parts])
    for name in ("one", "two"):
        member = whole.index.member(f"{name}/text.txt")
        assert member is not None
        assert whole.read(member) == whole.open(member).read() == name.encode()
    with pytest.raises(FileNotFoundError, match="three"):
        whole.read(member._replace(name="three/text.txt"))
