"""How a network is scored travels with its file: training, evaluation and prediction agree."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import clan
from clan.prediction.evaluate import evaluate
from clan.runs.folder import RunFolder
from clan.scoring.evaluation_file import read_evaluation
from clan.scoring.protocol import choose_protocol
from clan.training.display import Silent
from clan.training.train import train
from tests.systems import tiny


@pytest.fixture(scope="module")
def run(street: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run trained in half precision, scored by the published code's protocol at another size."""
    changes = (
        *("training.steps=4", "training.precision=bf16-mixed"),
        *("data.evaluation_protocol=reference", "data.evaluation_size=[40, 72]"),
    )
    out = tmp_path_factory.mktemp("run") / "run"
    return train(tiny(street, "clan", *changes), out, display=Silent())


def predicted(model: Path, street: Path) -> np.ndarray:
    """Return the confusion matrix of predictions, image by image."""
    predictor = clan.load(model, device="cpu")
    data = clan.open_dataset(str(street / "photos/photos.yaml"), split="val")
    counts = np.zeros((3, 3), np.int64)
    for index in range(len(data)):
        image, label = data.read(index)
        np.add.at(counts, (label, predictor.predict(image)), 1)
    return counts


def test_training_evaluation_and_prediction_give_the_same_pixels(
    run: RunFolder, street: Path, tmp_path: Path
) -> None:
    in_training = read_evaluation(run.path)
    found = evaluate(run.path, device="cpu")
    assert found.protocol == in_training.protocol
    assert found.protocol.size == (40, 72)
    assert found.protocol.direct
    np.testing.assert_array_equal(found.scores.confusion, in_training.scores.confusion)
    # the file alone, away from its run
    alone = shutil.copy(run.model_file, tmp_path / "model.safetensors")
    dataset = str(street / "photos/photos.yaml")
    of_file = evaluate(alone, dataset=dataset, split="val", device="cpu")
    assert of_file.protocol == in_training.protocol
    np.testing.assert_array_equal(of_file.scores.confusion, in_training.scores.confusion)
    for model in (run.path, Path(alone)):
        np.testing.assert_array_equal(predicted(model, street), in_training.scores.confusion)
    # the conditions tell: by another protocol other pixels are counted
    other = evaluate(run.path, device="cpu", protocol=choose_protocol("own", size=(40, 72)))
    assert (other.scores.confusion != in_training.scores.confusion).any()


def test_probabilities_are_those_of_the_labels(run: RunFolder, street: Path) -> None:
    predictor = clan.load(run.path, device="cpu")
    path = street / "photos/val/000.png"
    probabilities = predictor.probabilities(path)
    np.testing.assert_array_equal(probabilities.argmax(axis=0), predictor.predict(path))
