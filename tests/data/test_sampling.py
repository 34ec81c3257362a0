"""Drawing source images by class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clan.core.errors import DataError
from clan.data.datasets import open_dataset
from clan.data.loading import class_counts, training_loader
from clan.data.sampling import ClassDraw
from clan.data.views import ViewOptions

COUNTS = np.array([[90, 5, 0, 0], [80, 0, 0, 1], [99, 0, 0, 0], [99, 4, 0, 0]])


def test_chances_are_those_of_the_formula() -> None:
    draw = ClassDraw.of(COUNTS, temperature=0.5)
    f = COUNTS.sum(axis=0) / COUNTS.sum()
    expected = np.exp((1 - f) / 0.5)
    expected[2] = 0  # no image shows it
    assert draw.chances == pytest.approx(expected / expected.sum())
    assert [held.tolist() for held in draw.holders] == [[0, 1, 2, 3], [0, 3], [], [1]]


def test_a_low_temperature_draws_the_rarest_class_and_does_not_overflow() -> None:
    draw = ClassDraw.of(COUNTS, temperature=1e-6)
    assert draw.chances.tolist() == pytest.approx([0, 0, 0, 1])
    assert {draw(0, step, 0, 0) for step in range(20)} == {(3, 1)}


def test_a_draw_is_a_function_of_its_place_and_shows_its_class() -> None:
    draw = ClassDraw.of(COUNTS, temperature=1.0)
    places = [(seed, step, slot) for seed in (0, 1) for step in range(150) for slot in (0, 1)]
    drawn = [draw(*place, 0) for place in places]
    assert drawn == [draw(*place, 0) for place in places]
    assert drawn != [draw(*place, 1) for place in places]
    assert all(COUNTS[image, shown] > 0 for shown, image in drawn)
    counted = Counter(shown for shown, _ in drawn)
    shares = [counted[c] / len(drawn) for c in range(4)]
    assert shares == pytest.approx(draw.chances.tolist(), abs=0.08)


def test_nothing_labelled_is_said() -> None:
    with pytest.raises(DataError, match="none has a labelled pixel"):
        ClassDraw.of(np.zeros((3, 2), np.int64), 1.0)


def test_crops_show_the_class_that_their_image_was_drawn_for(camvid_file: Path) -> None:
    dataset = open_dataset(str(camvid_file))
    counts = class_counts(dataset, range(len(dataset)))
    label = [dataset.read_label(i) for i in range(len(dataset))]
    classes = len(dataset.classes)
    assert counts.tolist() == [
        np.bincount(own.ravel(), minlength=256)[:classes].tolist() for own in label
    ]
    draw = ClassDraw.of(counts, temperature=0.5)
    view = ViewOptions(crop=(3, 3), flip=0.0)
    loader = training_loader(
        dataset, view, seed=3, stream=0, batch_size=2, start_step=4, stop_step=10, by_class=draw
    )
    for step, batch in enumerate(loader, start=4):
        for slot in range(2):
            shown, image = draw(3, step, slot, 0)
            assert batch["index"][slot] == image
            assert (batch["label"][slot] == shown).any()
