"""What stands in the files beside labels and overlays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clan.core.errors import ConfigError
from clan.prediction.files import predict_files
from tests.prediction.test_prediction import noise, predictor
from tests.prediction.test_predictor import write_scenes


def grey(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(noise()).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_classes_json_says_what_labels_mean(tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", "sub/a.png")
    predict_files(predictor(), [tmp_path / "in"], tmp_path / "out")
    about = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert about["ignore"] == 255
    assert about["classes"][2] == {"index": 2, "name": "car", "color": [0, 0, 142]}


@pytest.mark.parametrize("kind", ["npz", "png"])
def test_probabilities_are_read_back(photo: Path, tmp_path: Path, kind: str) -> None:
    model, out = predictor(), tmp_path / "out"
    predict_files(model, [photo], out, probabilities=kind)
    expected = model.probabilities(photo)
    if kind == "npz":
        with np.load(out / "a_probabilities.npz") as stored:
            assert stored["classes"].tolist() == ["sky", "road", "car"]
            p = stored["probabilities"].astype(np.float32)
    else:
        names = ("00_sky", "01_road", "02_car")
        layers = [grey(out / "a_probabilities" / f"{name}.png") for name in names]
        assert layers[0].dtype == np.uint16
        p = np.stack(layers) / 65535
    assert np.allclose(p, expected, atol=1e-3)


def test_uncertainty_and_disagreement_are_pictures(photo: Path, tmp_path: Path) -> None:
    model, out = predictor(), tmp_path / "out"
    predict_files(model, [photo], out, uncertainty=True)
    found = model.predict(photo)
    assert np.abs(grey(out / "a_entropy.png") / 255 - found.uncertainty).max() < 0.003
    assert np.abs(grey(out / "a_disagreement.png") / 255 - found.disagreement).max() < 0.003
    predict_files(predictor(classifiers=1), [photo], tmp_path / "one", uncertainty=True)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"a_label.png", "a_overlay.jpg", "a_entropy.png", "classes.json"}


def test_the_summary_has_shares_and_confidence(photo: Path, tmp_path: Path) -> None:
    model = predictor()
    predict_files(model, [photo], tmp_path / "out", summary=True)
    found = json.loads((tmp_path / "out" / "a_summary.json").read_text())
    p = model.probabilities(photo)
    assert found["size"] == [40, 56]
    assert found["image"] == str(photo)
    assert found["mean_confidence"] == pytest.approx(p.max(0).mean(), abs=1e-4)
    assert found["shares"] == pytest.approx(
        {name: (p.argmax(0) == i).mean() for i, name in enumerate(("sky", "road", "car"))},
        abs=1e-6,
    )


def test_what_does_not_go_together_is_refused_before_work(photo: Path, tmp_path: Path) -> None:
    for wrong, said in (
        ({"probabilities": "np"}, "did you mean 'npz'"),
        ({"tile": 128, "uncertainty": True, "summary": True}, "uncertainty, json cannot be"),
    ):
        with pytest.raises(ConfigError, match=said):
            predict_files(predictor(), [photo], tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
