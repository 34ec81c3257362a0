"""Encoders of the library transformers, small and with random weights."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clan.core.errors import ConfigError, WeightsError
from clan.data.classes import CITYSCAPES
from clan.methods import Method, Progress
from clan.models.batchnorm import POLICY, set_statistics
from clan.models.encoders.hf import BATCH_NORM, HFEncoder, measure
from clan.models.encoders.hf_configuration import NAMED, complete
from clan.models.segmenter import ModelOptions, Segmenter
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.train import train
from clan.weights.model_files import load_segmenter, save_model
from clan.weights.start import load_encoder_weights
from tests.systems import same, tensors, tiny

TINY: dict[str, dict[str, Any]] = {
    "segformer": {
        "hidden_sizes": [8, 8, 16, 16],
        "num_attention_heads": [1, 1, 2, 2],
        "depths": [1, 1, 1, 1],
    },
    "dinov2": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
    },
    "convnext": {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]},
    "swin": {"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 3},
    "resnet": {
        "embedding_size": 8,
        "hidden_sizes": [8, 12, 16, 20],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
    },
}
MAPS = {
    "segformer": ((8, 8, 16, 16), (4, 8, 16, 32)),
    "dinov2": ((16,), (14,)),
    "convnext": ((8, 12, 16, 20), (4, 8, 16, 32)),
    "swin": ((8, 16, 32, 64), (4, 8, 16, 32)),
    "resnet": ((8, 12, 16, 20), (4, 8, 16, 32)),
}


def encoder(kind: str, **changes: Any) -> HFEncoder:
    torch.manual_seed(0)
    return HFEncoder(complete(kind, {**TINY[kind], **changes}, last_map_only=False))


def options(kind: str, **changes: Any) -> ModelOptions:
    return ModelOptions(encoder=f"hf:{kind}", hf={**TINY[kind], **changes}, aspp_rates=(1, 2))


def image(*size: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)


@pytest.mark.parametrize("kind", TINY)
def test_maps_are_as_declared_at_any_size(kind: str) -> None:
    network = encoder(kind)
    assert (network.channels, network.strides) == MAPS[kind]
    for size in ((32, 32), (33, 47), (70, 101)):
        maps = network(torch.randn(2, 3, *size))
        expected = [
            (2, c, math.ceil(size[0] / s), math.ceil(size[1] / s))
            for c, s in zip(*MAPS[kind], strict=True)
        ]
        assert [tuple(each.shape) for each in maps] == expected


@pytest.mark.parametrize("kind", ["convnext", "dinov2"])
def test_padding_is_mean_colour_on_the_right_and_below(kind: str) -> None:
    network = encoder(kind).eval()
    multiple = network.facts.multiple
    x = torch.randn(1, 3, multiple + 1, 2 * multiple)
    whole = torch.nn.functional.pad(x, (0, 0, 0, multiple - 1))
    cropped = [
        m[:, :, : -(-(multiple + 1) // s)]
        for m, s in zip(network(whole), network.strides, strict=True)
    ]
    assert all(torch.equal(a, b) for a, b in zip(network(x), cropped, strict=True))


@pytest.mark.parametrize("kind", TINY)
def test_every_trained_parameter_gets_a_gradient(kind: str) -> None:
    network = encoder(kind)
    torch.stack(
        [each.square().sum() for each in network(torch.randn(2, 3, 64, 64))]
    ).sum().backward()
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert trained
    assert not [name for name, p in trained.items() if p.grad is None]


@pytest.mark.parametrize("kind", TINY)
def test_batch_norm_is_told_truly(kind: str) -> None:
    norms = [m for m in encoder(kind).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert bool(norms) == (kind in BATCH_NORM)


def test_batch_norm_policies_hold_within() -> None:
    network = encoder("resnet")
    before = copy.deepcopy(network.state_dict())
    for mode, moves in (("source", False), ("both", True)):
        set_statistics(network, POLICY[mode]["target"])  # type: ignore[index]
        network(torch.randn(2, 3, 64, 64))
        after = network.state_dict()
        moved = [k for k in before if "running_mean" in k and not torch.equal(before[k], after[k])]
        assert bool(moved) == moves


def test_drop_path_acts_in_training_alone() -> None:
    network = encoder("segformer", drop_path_rate=0.5, hidden_dropout_prob=0.5)
    x = torch.randn(2, 3, 64, 64)
    assert not torch.equal(network(x)[-1], network(x)[-1])
    network.eval()
    assert torch.equal(network(x)[-1], network(x)[-1])


def test_position_embeddings_are_interpolated() -> None:
    network = encoder("dinov2").eval()
    own, larger = network(torch.zeros(1, 3, 56, 56))[0], network(torch.zeros(1, 3, 84, 112))[0]
    assert own.shape[-2:] == (4, 4)
    assert larger.shape[-2:] == (6, 8)
    # the same image everywhere: what differs between places comes of their embeddings
    assert larger.std(dim=(2, 3)).min() > 0


def test_several_maps_of_one_stride() -> None:
    network = encoder("dinov2", out_indices=[1, 2])
    assert (network.channels, network.strides) == ((16, 16), (14, 14))


def test_small_images_are_refused_with_the_size_that_fits() -> None:
    with pytest.raises(ValueError, match="got images of 31x64 pixels; it takes 32x32"):
        encoder("segformer")(torch.zeros(1, 3, 31, 64))


def test_published_sizes() -> None:
    assert measure(complete("mit_b5", {}, False)).channels == (64, 128, 320, 512)
    assert measure(complete("dinov2_large", {}, True)).channels == (1024,)
    assert all(complete(name, {}, True)["model_type"] for name in NAMED)


@pytest.mark.parametrize("kind", TINY)
def test_model_file_needs_nothing_else(kind: str, tmp_path: Path) -> None:
    network = Segmenter(options(kind), CITYSCAPES).eval()
    save_model(network, tmp_path / "model.safetensors")
    loaded = load_segmenter(tmp_path / "model.safetensors")
    assert loaded.options == network.options
    x = image(45, 66)
    for a, b in zip(network(x), loaded(x), strict=True):
        assert a.shape[-2:] == (45, 66)
        assert torch.equal(a, b)


def test_a_folder_is_read_once(tmp_path: Path) -> None:
    folder = tmp_path / "mit"
    torch.manual_seed(3)
    theirs = HFEncoder(complete("segformer", TINY["segformer"], False)).network
    theirs.save_pretrained(folder)  # type: ignore[operator]
    read = ModelOptions(encoder=f"hf:{folder}", aspp_rates=(1, 2))
    assert read == options("segformer")
    network = Segmenter(read, CITYSCAPES)
    report = load_encoder_weights(network, f"hf:{folder}")
    assert not report.missing
    assert same(dict(network.encoder.network.state_dict()), dict(theirs.state_dict()))  # type: ignore[union-attr,operator]
    (folder / "config.json").unlink()
    assert ModelOptions(**json.loads(read.model_dump_json())) == read


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    encoder("segformer").network.save_pretrained(tmp_path / "mit")  # type: ignore[operator]
    other = Segmenter(options("segformer", hidden_sizes=[8, 8, 16, 32]), CITYSCAPES)
    with pytest.raises(WeightsError, match="cannot start from hf:"):
        load_encoder_weights(other, f"hf:{tmp_path / 'mit'}")
    plain = Segmenter(ModelOptions(encoder="resnet18", width=4), CITYSCAPES)
    with pytest.raises(WeightsError, match="the encoder is none"):
        load_encoder_weights(plain, f"hf:{tmp_path / 'mit'}")
    (tmp_path / "mit" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot start from hf:"):
        load_encoder_weights(Segmenter(options("segformer"), CITYSCAPES), f"hf:{tmp_path}/mit")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("segformr", {}, "did you mean 'segformer'"),
        ("./nowhere", {}, "no folder of that name"),
        ("segformer", {"depth": [1]}, "did you mean 'depths'"),
        ("segformer", {"depths": "x"}, "does not take this configuration"),
        ("dinov2", {"model_type": "segformer"}, "whole configuration of a 'segformer'"),
    ],
)
def test_bad_configurations(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        complete(name, changes, True)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("dinov2", {"patch_size": 15}, "no square grid"),
        ("segformer", {"depths": [1]}, "cannot build"),
        ("vitpose_backbone", {}, "cannot take images"),
    ],
)
def test_configurations_that_make_no_encoder(
    kind: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        measure(complete(kind, changes, True))


def test_folder_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        complete(str(tmp_path), {}, True)


def test_without_the_extra() -> None:
    """It is imported by hf: encoders alone, and the error says how to install it."""
    code = """
import importlib.util, sys
import clan
from clan.models.options import ModelOptions
from clan.models.encoders.table import build_encoder
build_encoder(ModelOptions(encoder="resnet18"))
assert "transformers" not in sys.modules
real = importlib.util.find_spec
gone = lambda name, *rest: None if name == "transformers" else real(name, *rest)
import clan.core.extras
clan.core.extras.find_spec = gone
try:
    ModelOptions(encoder="hf:segformer")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'clan[transformers]'" in done.stdout


@pytest.mark.parametrize("kind", ["segformer", "dinov2"])
def test_trains_and_resumes_bit_identically(
    kind: str, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = (f"model.encoder=hf:{kind}", f"model.hf={json.dumps(TINY[kind])}")
    # the tiny network's width is of a ResNet
    config = tiny(street, "tan", *changes, "model.width=64", "training.steps=4")
    assert config.model.hf["model_type"] == kind
    whole = train(config, tmp_path / "whole", display=Silent())
    original = Method.start_update

    def fail(self: Method, progress: Progress) -> None:
        if progress.step == 3:
            raise ZeroDivisionError("a bug")
        original(self, progress)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Method, "start_update", fail)
        with pytest.raises(ZeroDivisionError):
            train(config, out, display=Silent())
    resumed = train(RunFolder(out).config, out, resume=True, display=Silent())
    assert same(tensors(resumed), tensors(whole))
    torch.manual_seed(0)
    fresh = Segmenter(config.model, load_segmenter(whole.model_file).classes).state_dict()
    assert any(not torch.equal(fresh[k], t) for k, t in tensors(whole).items() if "network." in k)


def test_fusion_reads_a_stage_of_stride_4() -> None:
    network = Segmenter(
        ModelOptions(encoder="hf:convnext", hf=TINY["convnext"], decoder="fusion"), CITYSCAPES
    )
    assert network.encoder.strides == (4, 8, 16, 32)
    assert [z.shape for z in network(image(40, 70))] == [(2, 19, 40, 70)] * 2
