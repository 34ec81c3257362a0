"""Data sets from Python: the same training as from files, resumed, and bad ones refused."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from clan.config.tree import Config
from clan.core.errors import ClanError, ConfigError, DataError, RunError
from clan.data.classes import ClassSet
from clan.data.python import MapStyle, open_python
from clan.methods import Method
from clan.runs.folder import RunFolder
from clan.training.domains import open_domains
from clan.training.loop import Interrupted
from clan.training.train import resume, train
from tests.systems import SIZE, records, same, tensors, tiny

pytestmark = pytest.mark.usefixtures("one_thread")

Form = Callable[[np.ndarray, np.ndarray], Any]
FORMS: dict[str, Form] = {
    "arrays": lambda image, label: (image, label),
    "pictures": lambda image, label: (Image.fromarray(image), Image.fromarray(label)),
    "tensors": lambda image, label: [
        torch.from_numpy(image).permute(2, 0, 1),
        torch.from_numpy(label).long(),
    ],
}
"""The forms that an entry may have."""


class Pairs(Dataset[Any]):
    """The images and labels of a folder of the street, in the order of their names."""

    def __init__(self, folder: Path, split: str, form: Form = FORMS["arrays"]) -> None:
        self.form = form
        self.images = [np.array(Image.open(p)) for p in sorted((folder / split).glob("*.png"))]
        files = sorted((folder / "labels" / split).glob("*.png"))
        self.labels = [np.array(Image.open(p)) for p in files]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.form(self.images[index], self.labels[index])


def domains(street: Path, form: Form = FORMS["arrays"]) -> dict[str, Any]:
    return {
        "source": Pairs(street / "game", "train", form),
        "target": Pairs(street / "photos", "train", form),
        "validation": Pairs(street / "photos", "val", form),
    }


def python(street: Path, system: str, *changes: str) -> Config:
    """Return a configuration whose data come from Python."""
    classes = street / "classes.yaml"
    colors = "{sky: [70, 130, 180], building: [70, 70, 70], road: [128, 64, 128]}"
    classes.write_text(f"name: street\nclasses: {colors}\n")
    names = [f"data.{name}=python" for name in ("source", "target", "validation")]
    return tiny(street, system, *names, f"data.classes={classes}", *VIEWS, *changes)


VIEWS = (
    "data.source_view={scale: [0.8, 1.2], crop: [32, 48], jitter: 0.3}",
    "data.target_view={crop: [32, 48], jitter: 0.3}",
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("system", ["clan", "cbst"])
def test_a_run_equals_the_one_on_the_same_files_bit_for_bit(
    street: Path, tmp_path: Path, system: str, form: str
) -> None:
    files = train(tiny(street, system, *VIEWS), tmp_path / "files")
    given = domains(street, FORMS[form])
    before = [image.copy() for image in given["source"].images]
    run = train(python(street, system), tmp_path / "python", **given)
    assert same(tensors(run), tensors(files))
    assert records(run) == records(files)
    # views work on copies: the caller's arrays are as they were
    for image, kept in zip(given["source"].images, before, strict=True):
        np.testing.assert_array_equal(image, kept)


def test_workers_change_nothing(street: Path, tmp_path: Path) -> None:
    one = train(python(street, "clan"), tmp_path / "one", **domains(street))
    two = train(python(street, "clan", "data.workers=2"), tmp_path / "two", **domains(street))
    assert same(tensors(one), tensors(two))


def test_given_data_take_the_place_of_files(street: Path, tmp_path: Path) -> None:
    changed = f"data.classes={street / 'classes.yaml'}"
    python(street, "clan")  # writes the classes
    images = Pairs(street / "photos", "train", lambda image, label: image)
    run = train(tiny(street, "clan", changed), tmp_path / "run", target=images)
    data = run.config.data
    assert data.target is not None
    # the folder says where its data came from
    assert data.target.dataset == "python"
    assert data.source.dataset == str(street / "game/game.yaml")
    assert same(tensors(run), tensors(train(tiny(street, "clan"), tmp_path / "files")))


def interrupt(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the training be asked to stop in the update after ``step`` others."""
    original = Method.start_update

    def patched(self: Method, progress: Any) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, progress)

    monkeypatch.setattr(Method, "start_update", patched)


@pytest.fixture
def stopped(street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of CBST, stopped in its second round."""
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(Interrupted, match=r"clan\.resume\('.*', source=\.\.\., target=\.\.\."):
            train(python(street, "cbst"), tmp_path / "stopped", **domains(street))
    return RunFolder.open(tmp_path / "stopped")


def test_resume_needs_the_same_data_and_ends_as_if_it_had_not_stopped(
    street: Path, tmp_path: Path, stopped: RunFolder
) -> None:
    with pytest.raises(DataError, match="stands for a data set that is passed"):
        resume(stopped.path)
    run = resume(stopped.path, **domains(street))
    whole = train(python(street, "cbst"), tmp_path / "whole", **domains(street))
    assert same(tensors(run), tensors(whole))
    assert records(run) == records(whole)
    # finished: nothing is read any more
    assert resume(stopped.path).finished


def test_resume_refuses_another_length_and_other_sizes(street: Path, stopped: RunFolder) -> None:
    given = domains(street)
    given["source"].images.pop()
    with pytest.raises(RunError, match=r"a source of 6 images.*now has 5 images"):
        resume(stopped.path, **given)
    given = domains(street)
    given["target"].images[0] = given["target"].images[0][:-8]
    with pytest.raises(RunError, match=r"first 32x64 .*now has 6 images, the first 24x64"):
        resume(stopped.path, **given)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint8)


CLASSES = ClassSet("two", ("sky", "road"), ((0, 0, 0), (9, 9, 9)))
IMAGE, LABEL = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.int64)
WRONG = LABEL.copy()
WRONG[0, :2] = 7

BAD: dict[str, tuple[Any, str]] = {
    "iterable": (Stream(), "source is Stream, which has no entries by index"),
    "generator": (iter([]), "has no entries by index"),
    "a path": ("mysim.yaml", "source='mysim.yaml' names files: put it into the configuration"),
    "empty": ([], "source is list of 0 without any entry"),
    "no label": ([IMAGE], r"source\[0\] is ndarray of uint8 \(4, 6, 3\); expected an \(image"),
    "three parts": ([(IMAGE, LABEL, 0)], r"source\[0\] is tuple of 3; expected an"),
    "floats": (
        [(torch.zeros(3, 4, 6), LABEL)],
        r"source\[0\] is Tensor of float32 \(3, 4, 6\).*neither scaled nor normalised",
    ),
    "channels first": ([(IMAGE.transpose(2, 0, 1), LABEL)], r"uint8 \(3, 4, 6\); expected a uint8"),
    "channels last": ([(torch.from_numpy(IMAGE), LABEL)], r"Tensor of uint8 \(4, 6, 3\)"),
    "label floats": ([(IMAGE, LABEL / 2)], r"label of source\[0\] is ndarray of float64 \(4, 6\)"),
    "label booleans": ([(IMAGE, LABEL > 0)], "label of source.* is ndarray of bool"),
    "label channels": ([(IMAGE, LABEL[None])], r"int64 \(1, 4, 6\); expected integers \(H, W\)"),
    "label colours": ([(IMAGE, Image.fromarray(IMAGE))], "Image of mode RGB; expected integers"),
    "label size": ([(IMAGE, LABEL[:2])], "the image is 4x6 .* but its label 2x6"),
    "class": ([(IMAGE, WRONG)], r"source\[0\] has 2 pixels of 7; expected 0 to 1 \(sky, road\)"),
    "minus one": ([(IMAGE, LABEL - 1)], "has 24 pixels of -1; expected 0 to 1"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_taken_is_named_with_its_index(kind: str) -> None:
    entries, said = BAD[kind]
    with pytest.raises(DataError, match=said):
        open_python(entries, "source", CLASSES, labelled=True)


def test_what_is_wrong_further_on_is_found_when_it_is_read() -> None:
    entries = [(IMAGE, LABEL), (IMAGE, WRONG), KeyError]

    class Raises(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            if index == 2:
                raise KeyError("moon")
            return super().__getitem__(index)

    dataset = open_python(Raises(entries), "source", CLASSES, labelled=True)
    with pytest.raises(DataError, match=r"source\[1\] has 2 pixels of 7"):
        dataset.read(1)
    with pytest.raises(DataError, match=r"source\[2\]: KeyError: 'moon'"):
        dataset.read(2)


@pytest.mark.parametrize("entry", [IMAGE, (IMAGE,), (IMAGE, WRONG), (IMAGE, "not looked at")])
def test_labels_of_a_target_are_not_looked_at(entry: Any) -> None:
    dataset = open_python([entry], "target", CLASSES, labelled=False)
    image, label = dataset.read(0)
    assert image.shape == (4, 6, 3)
    assert label is None
    assert not dataset.labelled
    with pytest.raises(DataError, match="'target' is unlabelled"):
        dataset.read_label(0)


def test_ignore_is_no_class_and_no_error() -> None:
    label = LABEL.astype(np.uint8)
    label[:] = 255
    dataset = open_python([(IMAGE, label)], "source", CLASSES, labelled=True)
    assert (dataset.read_label(0) == 255).all()


def test_classes_have_to_be_said(street: Path) -> None:
    options = python(street, "clan").data.model_copy(update={"classes": None})
    given: dict[str, MapStyle] = domains(street)
    with pytest.raises(ConfigError, match=r"set data\.classes"):
        open_domains(options, given)


def test_nothing_is_written_where_the_data_are_bad(street: Path, tmp_path: Path) -> None:
    for bad in (Stream(), []):
        with pytest.raises(ClanError):
            train(python(street, "clan"), tmp_path / "run", **{**domains(street), "source": bad})
        assert not (tmp_path / "run").exists()


def test_the_placeholder_means_no_folder_of_that_name(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "python").mkdir()
    run = train(python(street, "clan"), tmp_path / "run", **domains(street))
    assert run.config.data.source.dataset == "python"
