"""A small data set in a folder, and the same in archives."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from clan.data.archives.storage import LocalFile
from clan.data.archives.tars import ENDING, make_index
from tests.conftest import write_camvid


def zip_folder(folder: Path, out: Path, method: int = zipfile.ZIP_STORED) -> Path:
    """Write all files below a folder, as any program would."""
    with zipfile.ZipFile(out, "w", method) as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(folder))
    return out


def tar_folder(folder: Path, out: Path) -> Path:
    """Write all files below a folder with names such as ./images/1.png, and the index."""
    with tarfile.open(out, "w") as archive:
        archive.add(folder, ".")
    index_tar(out)
    return out


def index_tar(tar: Path) -> Path:
    index = tar.with_name(tar.name + ENDING)
    index.write_bytes(make_index(tar, LocalFile(tar)))
    return index


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """The description of a data set in a folder."""
    return write_camvid(tmp_path / "camvid")


@pytest.fixture
def archived(camvid: Path) -> Callable[[str], Path]:
    """Makes the archive of a kind: zip, deflated.zip or tar."""

    def make(kind: str) -> Path:
        out = camvid.parent.parent / f"camvid.{kind}"
        if kind == "tar":
            return tar_folder(camvid.parent, out)
        deflated = kind == "deflated.zip"
        return zip_folder(
            camvid.parent, out, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
        )

    return make
