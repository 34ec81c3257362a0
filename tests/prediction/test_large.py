"""Large pictures: the same results in strips as whole, and no more memory for a taller one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clan.core.errors import DataError
from clan.data import strips
from clan.data.images import read_image, read_label
from clan.prediction.files import predict_files
from clan.prediction.predictor import Predictor
from tests.prediction.test_predictor import Painter, scene

pytest.importorskip("pyvips")

GROWTH = """
import resource, sys
from pathlib import Path
from clan.prediction.files import predict_files
from clan.prediction.predictor import Predictor
from tests.prediction.test_predictor import Painter

def peak(name):
    predict_files(Predictor(Painter(), "cpu"), [Path(name)], Path(f"{name}-out"), tile=512)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

print(peak("short.jpg"), peak("tall.jpg"))
"""


@pytest.mark.parametrize("name", ["drüben 1.JPG", "b.png", "c.tif"])
def test_strips_and_the_whole_have_the_same_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = scene(700, 430)
    image[300:] = image[300:, ::-1]
    Image.fromarray(image).save(tmp_path / name)
    stem = Path(name).stem
    model = Predictor(Painter(), "cpu")
    done: list[tuple[int, int]] = []
    predict_files(
        model,
        [tmp_path / name],
        tmp_path / "strips",
        tile=128,
        alpha=0.3,
        progress=lambda *now: done.append(now),
    )
    monkeypatch.setattr(strips, "find_spec", lambda _: None)
    predict_files(model, [tmp_path / name], tmp_path / "whole", tile=128, alpha=0.3)
    label, whole = (
        read_label(tmp_path / kind / f"{stem}_label.png") for kind in ("strips", "whole")
    )
    assert np.array_equal(label, whole)
    assert set(np.unique(label)) == {0, 1, 2}
    assert done == [(number, done[-1][1]) for number in range(1, done[-1][1] + 1)]
    ours, other = (
        read_image(tmp_path / kind / f"{stem}_overlay.jpg") for kind in ("strips", "whole")
    )
    # a legend is below both; the two encoders of JPEG round differently
    assert ours.shape == other.shape
    assert ours.shape[0] > 700
    assert np.abs(ours.astype(int) - other).mean() < 1


def test_label_ids_are_written_in_strips(tmp_path: Path) -> None:
    image, label = scene(300, 150)
    path = tmp_path / "ulm_000000_000019_leftImg8bit.png"
    Image.fromarray(image).save(path)
    predict_files(
        Predictor(Painter(), "cpu"), [path], tmp_path / "out", tile=128, style="cityscapes"
    )
    (found,) = (tmp_path / "out").iterdir()
    assert np.array_equal(read_label(found), np.array([23, 7, 26])[label])


def test_a_damaged_picture_costs_the_others_nothing(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(scene(300, 400)[0]).save(tmp_path / name)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    painter = Painter()
    with pytest.raises(DataError, match="1 of 2 images could not be read") as caught:
        predict_files(Predictor(painter, "cpu"), [tmp_path], tmp_path / "out", tile=128)
    assert str(caught.value).count("a.jpg") == 1
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "b_label.png",
        "b_overlay.jpg",
        "classes.json",
    }


def test_an_overlay_that_no_jpeg_can_hold_is_made_smaller(tmp_path: Path) -> None:
    image = np.zeros((130, 66_000, 3), np.uint8)
    image[..., 0] = 100
    Image.fromarray(image).save(tmp_path / "roll.png")
    predict_files(Predictor(Painter(), "cpu"), [tmp_path / "roll.png"], tmp_path / "out", tile=1024)
    assert read_label(tmp_path / "out" / "roll_label.png").shape == (130, 66_000)
    with Image.open(tmp_path / "out" / "roll_overlay.jpg") as overlay:
        assert 60_000 < overlay.width <= 65_500


def test_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    strip = scene(500, 3000)[0]
    Image.fromarray(strip).save(tmp_path / "short.jpg")
    Image.fromarray(np.tile(strip, (16, 1, 1))).save(tmp_path / "tall.jpg")
    run = subprocess.run(
        [sys.executable, "-c", GROWTH],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    short, tall = map(int, run.stdout.split())
    # as a whole, the tall one would be 68 MiB more of pixels, and as much again of its overlay
    assert tall - short < 40 * 1024
