"""Images scaled without their labels, as CLAN's published code does."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from pydantic import ValidationError

from clan.data.datasets import open_dataset
from clan.data.loading import training_loader
from clan.data.views import ViewOptions, draw_image_scale, scaled_size
from tests.conftest import SIZE

PUBLISHED = ((0.8, 0.3), (1.0, 0.4), (1.1, 0.3))


def test_sizes_are_rounded_down_as_published():
    found = [scaled_size(s, f) for s in ((720, 1280), (760, 1280), (512, 1024)) for f in (0.8, 1.1)]
    assert found == [(576, 1024), (792, 1408), (608, 1024), (836, 1408), (409, 819), (563, 1126)]
    # as int() of the product in the published code
    assert found[-1] == (int(512 * 1.1), int(1024 * 1.1))


def test_factors_come_with_their_chances():
    view = ViewOptions(image_scales=PUBLISHED)
    drawn = Counter(draw_image_scale(view, 0, step, 0) for step in range(4000))
    shares = {factor: count / 4000 for factor, count in drawn.items()}
    assert shares == pytest.approx(dict(PUBLISHED), abs=0.03)
    assert draw_image_scale(ViewOptions(), 0, 1, 0) == 1
    # domains draw for themselves, and the same step the same
    other = [draw_image_scale(view, 0, step, 1) for step in range(100)]
    assert other != [draw_image_scale(view, 0, step, 0) for step in range(100)]
    assert other == [draw_image_scale(view, 0, step, 1) for step in range(100)]


@pytest.mark.parametrize("with_labels", [True, False])
def test_batches_tell_the_size_of_their_predictions(gta5_root, with_labels):
    dataset = open_dataset("gta5", root=gta5_root)
    loader = training_loader(
        dataset,
        ViewOptions(size=(20, 30), image_scales=PUBLISHED),
        seed=0,
        stream=0,
        batch_size=2,
        start_step=0,
        stop_step=20,
        with_labels=with_labels,
    )
    sizes = set()
    for batch in loader:
        assert batch["size"] == (20, 30)
        sizes.add(tuple(batch["image"].shape[-2:]))
        if with_labels:
            assert batch["label"].shape[-2:] == (20, 30)
    assert sizes == {(16, 24), (20, 30), (22, 33)}


def test_without_it_batches_are_as_they_were(gta5_root):
    dataset = open_dataset("gta5", root=gta5_root)
    loader = training_loader(
        dataset, ViewOptions(), seed=0, stream=0, batch_size=1, start_step=0, stop_step=1
    )
    (batch,) = islice(loader, 1)
    assert "size" not in batch
    assert batch["image"].shape[-2:] == batch["label"].shape[-2:] == SIZE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": (8, 8)}, "are for whole images: leave crop and scale out"),
        ({"scale": (0.5, 1)}, "are for whole images: leave crop and scale out"),
        ({"image_scales": ((1, 0.5), (2, 0.4))}, "sum to 1; found"),
        ({"image_scales": ((0, 1),)}, "all above 0"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        ViewOptions(**{"image_scales": PUBLISHED, **change})
