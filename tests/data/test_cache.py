"""A cache of decoded pictures gives back what reading gives, bit by bit, whatever happens to it."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clan.core.errors import DataError
from clan.data import cache as caches
from clan.data import images
from clan.data.cache import Cache, open_cache
from clan.data.datasets import Dataset, open_dataset
from clan.data.loading import training_loader
from clan.data.views import ViewOptions
from clan.training.domains import open_domains
from clan.training.processes import launch
from clan.training.resuming import FREE_TO_CHANGE
from clan.training.stages import StageBatches
from clan.training.train import train
from tests.conftest import write_camvid, write_image
from tests.systems import records, same, tensors, tiny

VIEWS = {
    "sized": ViewOptions(size=(12, 20), jitter=0.3),
    "short side, crop": ViewOptions(size=12, crop=(10, 10)),
    "random scale": ViewOptions(size=(12, 20), scale=(0.5, 1.5), crop=(8, 8), strong=0.5),
    "images scaled": ViewOptions(size=(12, 20), image_scales=((0.5, 0.5), (2.0, 0.5))),
    "as stored": ViewOptions(),
}


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return open_dataset(str(write_camvid(tmp_path)))


def batches(dataset: Dataset, view: ViewOptions, cache: Cache | None, labels: bool = True) -> list:
    loader = training_loader(
        dataset,
        view,
        seed=1,
        stream=0,
        batch_size=1 if view.image_scales else 2,
        start_step=0,
        stop_step=12,
        with_labels=labels,
        cache=cache,
    )
    return [[batch["image"], batch.get("label"), batch["name"]] for batch in loader]


def alike(a: list, b: list) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x[0], y[0])
        and ((x[1] is None and y[1] is None) or torch.equal(x[1], y[1]))
        and x[2] == y[2]
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("where", ["memory", "folder"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_batches_are_the_same_and_files_are_read_once(
    data: Dataset, view: ViewOptions, where: str, labels: bool, tmp_path: Path, monkeypatch
) -> None:
    plain = batches(data, view, None, labels)
    read: list[Path] = []
    once = images.read_image
    monkeypatch.setattr(images, "read_image", lambda path: read.append(path) or once(path))
    cache = open_cache(data, view, "memory" if where == "memory" else str(tmp_path / "kept"), 1)
    assert alike(batches(data, view, cache, labels), plain)
    assert len(read) == len(set(read)) == len(data)
    read.clear()
    assert alike(batches(data, view, cache, labels), plain)
    assert not read


def test_another_process_finds_what_one_has_kept(
    data: Dataset, tmp_path: Path, monkeypatch
) -> None:
    view = VIEWS["sized"]
    plain = batches(data, view, open_cache(data, view, str(tmp_path / "kept"), 1))
    monkeypatch.setattr(images, "read_image", None)
    assert alike(batches(data, view, open_cache(data, view, str(tmp_path / "kept"), 1)), plain)


def test_a_changed_file_or_option_is_read_anew(data: Dataset, tmp_path: Path) -> None:
    cache = Cache(data, VIEWS["sized"], str(tmp_path / "kept"), 2**30)
    before = cache.read(0, True)
    write_image(data.items[0].image, 99)
    stat = os.stat(data.items[0].image)
    os.utime(data.items[0].image, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert not np.array_equal(cache.read(0, True)[0], before[0])
    larger = Cache(data, ViewOptions(size=(24, 40)), str(tmp_path / "kept"), 2**30)
    assert larger.read(0, True)[0].shape == (24, 40, 3)
    # a map that calls values otherwise has other labels
    other = replace(data, label_map=type(data.label_map)({0: 2, 1: 1, 3: 0, 11: 255}))
    label = Cache(other, VIEWS["sized"], str(tmp_path / "kept"), 2**30).read(0, True)[1]
    assert not np.array_equal(label, cache.read(0, True)[1])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_entry_is_read_anew(data: Dataset, tmp_path: Path, damage: str) -> None:
    cache = Cache(data, VIEWS["sized"], str(tmp_path / "kept"), 2**30)
    image, label = (part.copy() for part in cache.read(0, True))
    (path,) = (tmp_path / "kept").glob("*/*.pix")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(
        {"flip": content, "cut": content[:-9], "empty": b"", "other": b"x" * 99}[damage]
    )
    again = cache.read(0, True)
    assert np.array_equal(again[0], image)
    assert np.array_equal(again[1], label)
    assert caches._load(path) is not None


def test_what_is_given_may_be_changed_in_place(data: Dataset) -> None:
    cache = Cache(data, VIEWS["sized"], "memory", 2**30)
    first = cache.read(0, True)[0].copy()
    cache.read(0, True)[0][:] = 0
    assert np.array_equal(cache.read(0, True)[0], first)


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_it_holds_no_more_than_it_may(data: Dataset, where: str, tmp_path: Path) -> None:
    one = 12 * 20 * 4
    place = "memory" if where == "memory" else str(tmp_path / "kept")
    cache = Cache(data, VIEWS["sized"], place, 3 * one + 100)
    for index in range(len(data)):
        assert cache.read(index, True)[0].shape == (12, 20, 3)
    kept = len(cache._kept) if where == "memory" else len(list(tmp_path.glob("kept/*/*.pix")))
    assert kept == 3


def test_a_full_disk_only_means_that_files_are_read(
    data: Dataset, tmp_path: Path, monkeypatch
) -> None:
    cache = Cache(data, VIEWS["sized"], str(tmp_path / "kept"), 2**30)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for _ in range(2):
        assert cache.read(0, True)[0].shape == (12, 20, 3)
    assert list((tmp_path / "kept").glob("*/*")) == []


def test_a_folder_that_cannot_be_made_is_named(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"data\.cache: the folder .*file/kept cannot be made"):
        open_cache(data, VIEWS["sized"], str(tmp_path / "file/kept"), 1)
    assert open_cache(data, VIEWS["sized"], "none", 1) is None


def _fill(folder: str, file: str) -> None:
    data = open_dataset(file)
    cache = Cache(data, VIEWS["sized"], folder, 2**30)
    for _ in range(5):
        for index in range(len(data)):
            image, label = data.read(index)
            found = cache.read(index, True)
            fresh = Cache(data, VIEWS["sized"], "memory", 0).read(index, True)
            assert np.array_equal(found[0], fresh[0])
            assert np.array_equal(found[1], fresh[1])
            assert image is not None
            assert label is not None


def test_many_processes_fill_one_folder(tmp_path: Path) -> None:
    file = str(write_camvid(tmp_path / "data"))
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(str(tmp_path / "kept"), file)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(list((tmp_path / "kept").glob("*/*.pix"))) == len(open_dataset(file))


@pytest.mark.parametrize("where", ["memory", "folder"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_ends_bit_identical(
    street: Path, tmp_path: Path, where: str, workers: int
) -> None:
    plain = train(tiny(street, "cbst"), tmp_path / "plain")
    place = "memory" if where == "memory" else tmp_path / "kept"
    changes = [f"data.cache={place}", f"data.workers={workers}"]
    cached = train(tiny(street, "cbst", *changes), tmp_path / "cached")
    assert same(tensors(plain), tensors(cached))
    assert records(plain) == records(cached)
    assert (where == "memory") or list((tmp_path / "kept").glob("*/*.pix"))
    assert {"data.cache", "data.cache_gib"} <= set(FREE_TO_CHANGE)


def test_one_cache_for_each_domain_lasts_over_stages(street: Path, tmp_path: Path) -> None:
    config = tiny(street, "cbst", "data.cache=memory")
    domains = open_domains(config.data)
    batches = StageBatches(config, domains, launch(config.training), lambda *_: None)
    view = config.data.source_view
    first = batches._cache(0, domains.source, view)
    assert first is not None
    assert batches._cache(0, domains.source, view) is first
    other = replace(domains.source, items=domains.source.items[:2])
    assert batches._cache(0, other, view) is not first
    assert len(batches._caches) == 1
