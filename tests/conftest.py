"""Miniature data sets in exactly the original formats, and the optional shared data."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# Machines that build are slow and shared: how long an example takes says nothing.
settings.register_profile("clan", deadline=None)
settings.load_profile("clan")

SIZE = (24, 40)
"""(H, W) of the miniature images."""

CAMVID = """\
name: mini-camvid
classes:
  name: mini
  classes: {sky: [128, 128, 128], building: [128, 0, 0], road: [128, 64, 128]}
splits:
  train: {images: images/train/*.jpg, labels: labels/train/*.png}
  val: {images: images/val/*.jpg, labels: labels/val/*.png}
labels:
  map: {0: sky, 1: building, 3: road, 11: ignore}
"""


def _image(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def _values(seed: int, values: list[int], size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), size)


def write_image(path: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_image(seed, size)).save(path)


def write_values(path: Path, values: np.ndarray, palette: list[int] | None = None) -> None:
    """Write raw values as a grey PNG, or a palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    if palette is not None:
        picture.putpalette(palette)
    picture.save(path)


def write_synthia_label(path: Path, classes: np.ndarray) -> None:
    """Write a 16-bit RGB PNG: class in R, instance in G."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = np.zeros((*classes.shape, 3), np.uint16)
    bgr[..., 2] = classes
    bgr[..., 1] = 1000
    assert cv2.imwrite(str(path), bgr)


def write_gta5(root: Path, count: int = 3) -> Path:
    for i in range(1, count + 1):
        write_image(root / f"images/{i:05}.png", i)
        # colours that differ from the indices, so that reading them would show
        palette = [(37 * v + 11) % 256 for v in range(768)]
        write_values(root / f"labels/{i:05}.png", _values(i, [0, 7, 8, 11, 26, 34]), palette)
    return root


def write_synthia(root: Path, count: int = 3) -> Path:
    for i in range(count):
        write_image(root / f"RGB/{i:07}.png", i)
        write_synthia_label(root / f"GT/LABELS/{i:07}.png", _values(i, [0, 1, 3, 8, 22]))
    return root


def write_cityscapes(root: Path) -> Path:
    for split, city, frames in (("train", "aachen", 2), ("train", "bremen", 1), ("val", "ulm", 2)):
        for i in range(frames):
            stem = f"{split}/{city}/{city}_{i:06}_000019"
            write_image(root / f"leftImg8bit/{stem}_leftImg8bit.png", i)
            for kind in ("labelIds", "instanceIds"):
                path = root / f"gtFine/{stem}_gtFine_{kind}.png"
                write_values(path, _values(i, [0, 7, 24, 33]))
    return root


def write_camvid(root: Path, train: int = 7, val: int = 5) -> Path:
    """Write JPEG images, grey labels and a description; return the description's path."""
    for split, count in (("train", train), ("val", val)):
        for i in range(count):
            write_image(root / f"images/{split}/f{i:03}.jpg", i)
            write_values(root / f"labels/{split}/f{i:03}.png", _values(i, [0, 1, 3, 11]))
    (root / "camvid.yaml").write_text(CAMVID)
    return root / "camvid.yaml"


@pytest.fixture(scope="session")
def gta5_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GTA5's layout with three frames; read only."""
    return write_gta5(tmp_path_factory.mktemp("gta5"))


@pytest.fixture(scope="session")
def synthia_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SYNTHIA-RAND-CITYSCAPES' layout with three frames; read only."""
    return write_synthia(tmp_path_factory.mktemp("synthia"))


@pytest.fixture(scope="session")
def cityscapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cityscapes' layout with three training and two validation frames; read only."""
    return write_cityscapes(tmp_path_factory.mktemp("cityscapes"))


@pytest.fixture(scope="session")
def camvid_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A described data set of three classes, 7 + 5 frames; read only."""
    return write_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Take notice of Ctrl-C, which shells let programs in the background ignore."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny two-domain street with a configuration for each system."""
    # imported here: it imports torch, and this file
    from tests.systems import write_street

    return write_street(tmp_path_factory.mktemp("street"))


@pytest.fixture
def docs_program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a program that writes parts of a page, by its name in docs/."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "docs")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return importlib.import_module


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Train as forked processes do, in one thread: sums over several round differently."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, from CLAN_SHARED or beside the checkout; skips without."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("CLAN_SHARED", beside)) / "data"
    if not folder.is_dir():
        pytest.skip("no shared data sets: set CLAN_SHARED to their folder")
    return folder
