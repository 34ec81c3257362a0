"""A short side keeps an image's shape wherever a size is asked for; a pair does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clan.config.loading import load_config
from clan.core.errors import ConfigError, DataError
from clan.data.datasets import open_dataset
from clan.data.loading import evaluation_loader, training_loader
from clan.data.sizes import input_size, read_size, size_text, stretched
from clan.data.views import ViewOptions, augment, random_generator
from clan.training.checking import check
from tests.conftest import write_image

PORTRAIT, LANDSCAPE = (64, 36), (36, 64)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A portrait and a landscape photograph."""
    write_image(tmp_path / "photos/a.png", 1, PORTRAIT)
    write_image(tmp_path / "photos/b.png", 2, LANDSCAPE)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("wanted", "stored", "shown"),
    [
        (18, PORTRAIT, (32, 18)),
        (18, LANDSCAPE, (18, 32)),
        (72, PORTRAIT, (128, 72)),
        (33, (100, 99), (33, 33)),
        (7, (3, 1000), (7, 2333)),
        ((18, 32), PORTRAIT, (18, 32)),
        (None, PORTRAIT, PORTRAIT),
    ],
)
def test_shown_size(wanted, stored, shown) -> None:
    assert input_size(wanted, stored) == shown
    # a picture that is at its size already stays there
    assert input_size(wanted, shown) == shown


def test_in_words_and_through_json() -> None:
    assert [size_text(s) for s in (None, 360, (360, 640))] == [
        "as stored",
        "short side 360",
        "360x640",
    ]
    assert [read_size(s) for s in (None, 360, [360, 640])] == [None, 360, (360, 640)]


def test_passes_over_a_data_set_keep_the_shape(photos: Path) -> None:
    shapes = [
        tuple(batch["image"].shape[2:])
        for batch in evaluation_loader(open_dataset(str(photos)), size=18)
    ]
    assert shapes == [(32, 18), (18, 32)]


def test_training_views_keep_the_shape_and_crops_make_a_batch(photos: Path) -> None:
    dataset = open_dataset(str(photos))
    batches = training_loader(
        dataset,
        ViewOptions(size=18, crop=(16, 16)),
        seed=0,
        stream=1,
        batch_size=2,
        start_step=0,
        stop_step=3,
    )
    assert [tuple(batch["image"].shape) for batch in batches] == [(2, 3, 16, 16)] * 3
    whole = training_loader(
        dataset, ViewOptions(size=18), seed=0, stream=1, batch_size=2, start_step=0, stop_step=1
    )
    with pytest.raises(DataError, match=r"need one size: set crop, or size as \[height, width\]"):
        list(whole)


def test_a_view_of_a_short_side_is_that_of_the_pair_it_makes() -> None:
    image = np.random.default_rng(3).integers(0, 256, (*PORTRAIT, 3), dtype=np.uint8)
    label = np.random.default_rng(4).integers(0, 3, PORTRAIT, dtype=np.uint8)
    options = {"scale": (0.8, 1.4), "crop": (16, 16), "jitter": 0.2}
    one, other = (
        augment(image, label, ViewOptions(size=size, **options), random_generator(0, 1, 2, 0))
        for size in (18, (32, 18))
    )
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0", "one number: the shorter side"),
        ("[0,5]", "expected"),
        ("[1,2,3]", "expected"),
        ("true", "expected"),
        ("1.5", "expected"),
        ("360x640", r"did you mean \[360, 640\]"),
    ],
)
@pytest.mark.parametrize("key", ["evaluation_size", "source_view.size"])
def test_what_is_no_size_is_one_sentence(key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        load_config("town/clan", [f"data.{key}={value}"])
    assert str(error.value).count("found") == 1


def test_a_check_says_what_a_fixed_size_does_to_portraits(photos: Path) -> None:
    config = load_config("town/clan", [f"data.target={photos}", "data.evaluation_size=[18,32]"])
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"validation": None, "root": None})}
    )
    report = next(s.report for s in check(config, workers=1).splits if s.title == "target")
    assert report is not None
    (note,) = report.notes
    assert note.what == (
        "data.evaluation_size: 1 image of another shape, such as 64x36 (height x width), "
        "stretched 3.2 times to 18x32; the short side alone keeps the shape: 18"
    )
    data = config.data.model_copy(update={"evaluation_size": 18})
    kept = check(config.model_copy(update={"data": data}), workers=1)
    assert all(not s.report.notes for s in kept.splits if s.report and s.title == "target")


def test_a_stretch_within_a_quarter_is_no_word() -> None:
    assert not stretched((360, 640), {(360, 600): 5})
    assert "7 images" in stretched((360, 640), {(360, 480): 7, (360, 640): 3})
    assert not stretched(360, {(360, 480): 7})


def test_images_alone_are_scaled_from_the_shape_kept(photos: Path) -> None:
    view = ViewOptions(size=18, image_scales=((2.0, 1.0),), flip=0)
    (batch,) = training_loader(
        open_dataset(str(photos)),
        view,
        seed=0,
        stream=1,
        batch_size=1,
        start_step=0,
        stop_step=1,
    )
    assert tuple(batch["image"].shape[2:]) == tuple(2 * side for side in batch["size"])
    assert isinstance(batch["image"], torch.Tensor)
