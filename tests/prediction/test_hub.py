"""Pushing and pulling against a folder that stands for the hub; what the card says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import clan
from clan.core.errors import WeightsError
from clan.models.segmenter import ModelOptions, Segmenter
from clan.prediction.hub import model_card
from clan.weights.model_files import save_model
from tests.prediction.test_prediction import SMALL, noise
from tests.prediction.test_predictor import TRIO
from tests.systems import SETTINGS

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the hub."""
    folder = tmp_path / "remote"

    class Api:
        def create_repo(self, repo: str, **_: Any) -> None:
            (folder / repo).mkdir(parents=True, exist_ok=True)

        def upload_folder(self, repo_id: str, folder_path: str) -> str:
            shutil.copytree(folder_path, folder / repo_id, dirs_exist_ok=True)
            return f"https://hub/{repo_id}"

    def download(repo: str, file: str, revision: str | None = None) -> str:
        path = folder / repo / file
        if not path.is_file():
            raise OSError("404: no such repository")
        return str(path)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    return folder


@pytest.mark.usefixtures("one_thread")
def test_a_run_is_pushed_with_its_card_and_pulled_again(
    street: Path, tmp_path: Path, remote: Path
) -> None:
    settings = [*SETTINGS, "training.steps=2"]
    run = clan.train(clan.load_config(street / "clan.yaml", settings), tmp_path / "run")
    assert clan.push_to_hub(run.path, "me/street") == "https://hub/me/street"
    assert {p.name for p in (remote / "me/street").iterdir()} == {"model.safetensors", "README.md"}
    card = (remote / "me/street" / "README.md").read_text()
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head)["pipeline_tag"] == "image-segmentation"
    assert "license" not in yaml.safe_load(head)
    assert "the author of these weights has to name one" in text
    assert "Method: `clan`, 2 steps, seed 0" in text
    score = 100 * clan.evaluate(run.path).scores.miou()
    assert f"mIoU {score:.1f} on" in text
    assert "protocol own (align_corners=false)" in text
    assert str(tmp_path) not in card
    assert str(street) not in card
    pixels = noise()
    expected = clan.load(run.path).predict(pixels)
    for place in ("me/street", remote / "me/street"):
        assert np.array_equal(clan.from_hub(place).predict(pixels), expected)


def test_what_is_not_there_says_so(tmp_path: Path, remote: Path) -> None:
    with pytest.raises(WeightsError, match="me/none: cannot be downloaded: 404"):
        clan.from_hub("me/none")
    with pytest.raises(WeightsError, match="no model file"):
        clan.push_to_hub(tmp_path / "nowhere", "me/street")
    assert not remote.exists()


def test_a_file_alone_has_a_card_that_says_what_is_not_known(tmp_path: Path, remote: Path) -> None:
    torch.manual_seed(0)
    segmenter = Segmenter(ModelOptions(**SMALL), TRIO, (32, 48))
    save_model(segmenter, tmp_path / "net.safetensors")
    clan.push_to_hub(tmp_path / "net.safetensors", "me/net", licence="cc-by-4.0")
    card = (remote / "me/net" / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert "sky, road, car" in card
    assert "Not scored." in card
    assert "not known" in card
    assert "32x48 (height x width)" in model_card(segmenter)
