"""Balanced class weights: counted from the source's labels before the first step, then kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clan.losses.segmentation import balanced_weights
from clan.training.display import Silent
from clan.training.train import train
from tests.systems import same, tensors, tiny

CHANGES = ("method.loss.class_weights=balanced", "training.steps=4")


def test_balanced_weights_are_those_of_the_sources_labels(street: Path, tmp_path: Path) -> None:
    run = train(tiny(street, "tan", *CHANGES), tmp_path / "run", display=Silent())
    labels = sorted((street / "game" / "labels" / "train").glob("*.png"))
    counts = [np.bincount(np.asarray(Image.open(p)).ravel(), minlength=3)[:3] for p in labels]
    newest = run.newest_checkpoint()
    assert newest is not None
    kept = torch.load(newest, weights_only=True)["method"]["label_loss.class_weights"]
    torch.testing.assert_close(kept, balanced_weights(torch.from_numpy(np.array(counts))))
    assert kept.unique().numel() > 1
    plain = train(tiny(street, "tan", "training.steps=4"), tmp_path / "plain", display=Silent())
    assert not same(tensors(run), tensors(plain))
    # a run that goes on from its checkpoint has them too
    whole = tensors(run)
    run.model_file.unlink()
    newest.unlink()
    assert same(tensors(train(run.config, run.path, resume=True, display=Silent())), whole)
