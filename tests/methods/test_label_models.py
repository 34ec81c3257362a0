"""Labels from several finished trainings (FDA's multi-band transfer)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clan.config.loading import anchored
from clan.core.errors import ConfigError, WeightsError
from clan.data.classes import ClassSet
from clan.losses.pseudo_labels import argmax_labels
from clan.methods import METHODS
from clan.models.segmenter import Segmenter
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.train import resume, train
from clan.weights.model_files import save_model
from clan.weights.start import load_models
from tests.methods.helpers import CLASSES, build
from tests.methods.test_cbst import begin
from tests.systems import same, tensors, tiny

FDA = {"label": "winner", "threshold_max": 0.9, "portion": 0.34}


def others(count: int = 3) -> list[Segmenter]:
    return [build("cbst", seed=seed).segmenter.eval() for seed in range(1, count + 1)]


def test_the_target_is_labelled_by_the_mean_of_the_models() -> None:
    method = build("cbst", **FDA)
    method.models = others()
    domains = begin(method)
    for number, each in enumerate(domains.images):
        with torch.no_grad():
            maps = [m.ensemble(m(each["image"])).softmax(dim=1) for m in method.models]
        mean = sum(maps) / 3
        expected = argmax_labels(mean, method.thresholds)[0]
        assert torch.equal(domains.labels[f"t{number}"], expected)
        # G itself would label otherwise
        with torch.no_grad():
            own = method.segmenter.ensemble(method.segmenter(each["image"])).softmax(dim=1)
        assert not torch.equal(own.argmax(1), mean.argmax(1))


def thresholds(most: float) -> torch.Tensor:
    method = build("cbst", **{**FDA, "portion_step": 0, "threshold_max": most})
    method.models = others()
    begin(method)
    return method.thresholds.clone()


def test_thresholds_are_fdas() -> None:
    """The value at two thirds of the sorted confidences of a class's pixels, and no more."""
    free = thresholds(1.0)
    method = build("cbst")
    method.models = others()
    images = torch.cat([image["image"] for image in begin(method).images])
    best, winner = method.confidence(images).detach().max(dim=1)
    for index in range(3):
        won = best[winner == index].sort().values
        if len(won):
            published = won[min(len(won) - 1, round(0.66 * len(won)))]
            # confidences are counted in bins of 1/64 of log-odds
            assert free[index].item() == pytest.approx(published.item(), abs=0.005)
    most = free.min().item() + 1e-3
    assert torch.equal(thresholds(most), free.clamp(max=most))
    assert (free > most).any()


def test_the_models_are_no_part_of_the_state() -> None:
    method = build("cbst")
    keys = set(method.state_dict())
    method.models = others()
    assert set(method.state_dict()) == keys


def test_soft_labels_are_of_the_network_that_learns() -> None:
    with pytest.raises(ValueError, match="lrent's soft labels"):
        METHODS["cbst"].Options(label_models=("a",), regulariser="lrent")


def test_no_source_training_is_missed_where_others_label() -> None:
    stages = METHODS["cbst"].Options(label_models=("a",), rounds=1).stages(5)
    assert [stage.labelled_by for stage in stages] == [""]


def test_models_of_other_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(others(1)[0], path)
    (model,) = load_models([str(path)], CLASSES)
    assert not any(p.requires_grad for p in model.parameters())
    renamed = ClassSet("three", ("a", "c", "b"), CLASSES.colors, {})
    with pytest.raises(WeightsError, match="has the classes a, b, c, the training has a, c, b"):
        load_models([str(path)], renamed)
    with pytest.raises(WeightsError, match="no model file at"):
        load_models([str(tmp_path / "nothing.safetensors")], CLASSES)


def test_a_training_labels_by_two_runs_and_resumes_alike(street: Path, tmp_path: Path) -> None:
    paths = []
    for seed in (1, 2):
        out = tmp_path / f"source{seed}"
        train(
            tiny(street, "source_only", f"seed={seed}", "training.steps=2"), out, display=Silent()
        )
        paths.append(str(out))
    config = tiny(
        street,
        "cbst",
        f"method.label_models={paths}",
        "method.source_steps=0",
        "method.rounds=1",
        "training.steps=4",
        "training.checkpoint_every=2",
    )
    whole = RunFolder(tmp_path / "whole")
    train(config, whole.path, display=Silent())
    assert config.method.models == tuple(paths)
    written = RunFolder(whole.path).config.method.models
    assert written == tuple(f"{path}/model.safetensors" for path in paths)
    assert anchored(config).method.models == written
    first = tensors(whole)
    newest = whole.newest_checkpoint()
    assert newest is not None
    newest.unlink()
    whole.model_file.unlink()
    resume(whole.path, display=Silent())
    assert same(first, tensors(whole))


def test_a_missing_model_is_told_before_the_first_step(street: Path, tmp_path: Path) -> None:
    config = tiny(street, "cbst", "method.label_models=[nowhere]")
    with pytest.raises((WeightsError, ConfigError), match=r"no model file at .*nowhere"):
        train(config, tmp_path / "run", display=Silent())
