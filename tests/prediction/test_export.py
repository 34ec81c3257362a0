"""Exported files do what their networks do, whatever the encoder, decoder, number and size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clan.core.errors import ConfigError, RunError
from clan.data.classes import CITYSCAPES, ClassSet
from clan.models.decoders.table import DECODERS
from clan.models.encoders.table import ENCODERS
from clan.models.segmenter import ModelOptions, Segmenter
from clan.prediction import export as exporting
from clan.prediction.export import NOT_TRACED, Plain, export
from clan.prediction.predictor import Predictor
from tests.models.test_hf import TINY

RATES = {"aspp_rates": (1, 2)}
SMALL: dict[str, Any] = {"encoder": "resnet18", "width": 4, "output_stride": 32, **RATES}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {**SMALL, "ensemble": "softmax"},
    "resnet50": {"encoder": "resnet50", "width": 4, "ceil_mode": True, **RATES},
    "resnet101": {"encoder": "resnet101", "width": 4, "classifiers": 1, **RATES},
    "mobilenet_v2": {"encoder": "mobilenet_v2", "output_stride": 32, "decoder": "daformer"},
    "efficientnet_lite0": {"encoder": "efficientnet_lite0", "decoder": "fusion", **RATES},
    "vgg16": {"encoder": "vgg16", "width": 4, "decoder": "fcn8s"},
    **{
        kind: {"encoder": f"hf:{kind}", "hf": TINY[kind], **RATES}
        for kind in TINY
        if f"hf:{kind}" not in NOT_TRACED
    },
    "dinov2": {"encoder": "hf:dinov2", "hf": TINY["dinov2"], "decoder": "upsample"},
}


def network(**options: Any) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(ModelOptions(**options), CITYSCAPES, (64, 96)).eval()


def test_every_shipped_part_is_exported_below() -> None:
    assert {o["encoder"] for o in NETWORKS.values()} >= set(ENCODERS)
    assert {o.get("decoder", "deeplab") for o in NETWORKS.values()} == set(DECODERS)


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_what_torch_would_trace_without_end_is_refused_at_once(form: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    segmenter = network(encoder="hf:swin", hf=TINY["swin"], **RATES)
    with pytest.raises(RunError, match=r"encoder hf:swin cannot be exported.*clan predict"):
        export(segmenter, tmp_path / "net", format=form)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_the_networks_logits_and_labels(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    found = export(network(**NETWORKS[name]), tmp_path / "net.onnx")
    assert found.sizes == ((64, 96), (49, 73), (33, 96))
    assert found.pixels == 64 * 96 + 2 * 49 * 73 + 2 * 33 * 96
    assert found.logits <= 1e-4 * found.largest
    # of a random network some pixels have two classes of nearly one logit
    assert found.differing <= 1e-3 * found.pixels


def test_the_onnx_file_needs_nothing_else(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    trio = ClassSet("trio", ("sky", "road", "car"), ((70, 130, 180), (128, 64, 128), (0, 0, 142)))
    torch.manual_seed(0)
    segmenter = Segmenter(ModelOptions(**SMALL), trio, (40, 72)).eval()
    export(segmenter, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    about = json.loads(session.get_modelmeta().custom_metadata_map["clan"])
    assert about["classes"] == ["sky", "road", "car"]
    assert about["colors"] == [[70, 130, 180], [128, 64, 128], [0, 0, 142]]
    assert about["evaluation_size"] == [40, 72]
    (given,) = session.get_inputs()
    assert (given.name, given.type) == ("image", "tensor(uint8)")
    assert given.shape == ["batch", 3, "height", "width"]
    pixels = np.random.default_rng(0).integers(0, 256, (40, 72, 3), np.uint8)
    (labels,) = session.run(["labels"], {"image": pixels.transpose(2, 0, 1)[None]})
    assert labels.dtype == np.uint8
    # what `clan predict` answers, at the evaluation size
    assert np.array_equal(labels[0], Predictor(segmenter).predict(pixels))


def test_a_torch_program_is_read_without_the_package(tmp_path: Path) -> None:
    segmenter = network(**SMALL)
    path = tmp_path / "net.pt2"
    found = export(segmenter, path, format="torch")
    assert found.logits <= 1e-5 * found.largest
    assert found.differing == 0
    extra = {"clan.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["clan.json"])["classes"] == list(CITYSCAPES.names)
    image = torch.randint(0, 256, (3, 3, 51, 67), dtype=torch.uint8)
    with torch.no_grad():
        logits, labels = program(image)
        expected = segmenter.ensemble(segmenter(image))
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.equal(labels, expected.argmax(1).to(torch.uint8))


def test_the_protocol_that_it_is_scored_by_is_inside(tmp_path: Path) -> None:
    segmenter = network(**SMALL)
    segmenter.evaluation_protocol = "reference"
    export(segmenter, tmp_path / "net.pt2", format="torch")
    extra = {"clan.json": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra).module()
    about = json.loads(extra["clan.json"])
    assert about["align_corners"]
    assert about["evaluation_size"] == [64, 96]
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    with torch.no_grad():
        logits, labels = program(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    assert logits.shape[-2:] == (2, 3)
    assert np.array_equal(labels[0], Predictor(segmenter, "cpu").predict(pixels))


def test_photographs_at_three_sizes_have_equal_labels(tmp_path: Path, shared_data: Path) -> None:
    pytest.importorskip("onnxruntime")
    photos = sorted((shared_data / "camvid" / "images" / "val").glob("*.jpg"))[:3]
    found = export(network(**SMALL), tmp_path / "net.onnx", images=photos)
    assert found.photographs == 3
    assert "photographs at 64x96, 49x73, 33x96" in found.text()
    assert found.differing == 0


def test_a_file_that_does_something_else_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Plain):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits, labels = super().forward(image)
            return logits + 1, labels

    monkeypatch.setattr(exporting, "Plain", Other)
    with pytest.raises(RunError, match="does not do what the network does"):
        export(network(**SMALL), tmp_path / "net.pt2", format="torch")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Host(Plain):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if image.float().mean().item() > 3:
                return image, image
            return super().forward(image)

    monkeypatch.setattr(exporting, "Plain", Host)
    with pytest.raises(RunError, match="encoder resnet18 and decoder deeplab could not be export"):
        export(network(**SMALL), tmp_path / "net.pt2", format="torch")
    with pytest.raises(ConfigError, match="did you mean 'onnx'"):
        export(network(**SMALL), tmp_path / "net.onnx", format="onx")
    (tmp_path / "there.pt2").write_text("mine")
    with pytest.raises(RunError, match="is there already"):
        export(network(**SMALL), tmp_path / "there.pt2", format="torch")
    assert (tmp_path / "there.pt2").read_text() == "mine"
