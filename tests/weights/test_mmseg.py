"""Checkpoints of DAFormer and MIC: each key has its place, the network is the published one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from clan.cli import app
from clan.core.errors import WeightsError
from clan.data.classes import CITYSCAPES
from clan.models.options import ModelOptions
from clan.models.segmenter import Segmenter
from clan.weights.convert import convert
from clan.weights.mmseg import choose_part
from clan.weights.model_files import load_segmenter
from clan.weights.start import load_encoder_weights
from tests.weights import mit

KEYS = Path(__file__).parents[3] / "shared" / "published"
# no multiple of a stride; larger than the widest reduction of the first stage
SIZE = (1, 3, 70, 101)


def file(folder: Path, content: object) -> Path:
    path = folder / "published.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("size", ["mitb0", "mitb5"])
def test_our_random_checkpoint_has_the_published_keys_and_shapes(size: str) -> None:
    keys = KEYS / f"daformer_{size}_keys.json"
    if not keys.is_file():
        pytest.skip(f"no list of the published keys at {keys}")
    found = {key: list(tensor.shape) for key, tensor in mit.state(size).items()}
    assert found == json.loads(keys.read_text())


@pytest.mark.parametrize(("part", "seed"), [(None, 0), ("student", 0), ("ema", 1), ("imagenet", 2)])
def test_logits_are_those_of_the_published_network(
    part: str | None, seed: int, tmp_path: Path
) -> None:
    path = file(tmp_path, mit.checkpoint("mitb0"))
    report = convert(path, tmp_path / "m.safetensors", part=part)
    tensors = mit.state("mitb0", seed=seed)
    assert report.layout.name == "daformer"
    assert sorted(report.loaded) == sorted(tensors)
    assert (report.missing, report.left, report.shape_differs) == ((), (), ())
    others = {"student", "ema", "imagenet"} - {part or "student"}
    assert report.other_parts == dict.fromkeys(report.other_parts, len(tensors))
    assert set(report.other_parts) == others
    network = load_segmenter(tmp_path / "m.safetensors").double()
    assert network.classes == CITYSCAPES
    assert network.evaluation_size == (512, 1024)
    image = torch.randint(0, 256, SIZE, dtype=torch.uint8)
    with torch.no_grad():
        (found,) = network(image)
        expected = mit.Plain(tensors).logits(image)
    scale = expected.std()
    # logits become float32 before they are enlarged
    torch.testing.assert_close(found.double() / scale, expected / scale, rtol=1e-5, atol=1e-5)


def test_features_have_both_eps_of_the_published_encoder(tmp_path: Path) -> None:
    """A wrong eps moves them by 1e-5 and more, which only double precision sees."""
    tensors = mit.state("mitb0")
    convert(file(tmp_path, tensors), tmp_path / "m.safetensors")
    encoder = load_segmenter(tmp_path / "m.safetensors").double().encoder
    x = torch.randn(SIZE, dtype=torch.float64)
    with torch.no_grad():
        for found, expected in zip(encoder(x), mit.Plain(tensors).maps(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_there_and_back_is_the_identity(tmp_path: Path) -> None:
    tensors = mit.state("mitb0")
    convert(file(tmp_path, tensors), tmp_path / "m.safetensors")
    report = convert(tmp_path / "m.safetensors", tmp_path / "back.pth", to="daformer")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[k], tensors[k]) for k in tensors)
    assert not report.left


def test_keys_come_before_values_in_kv(tmp_path: Path) -> None:
    tensors = mit.state("mitb0")
    convert(file(tmp_path, tensors), tmp_path / "m.safetensors")
    own = load_segmenter(tmp_path / "m.safetensors").state_dict()
    joined = tensors["backbone.block2.1.attn.kv.weight"]
    attention = "encoder.network.stages.1.blocks.1.attention"
    assert torch.equal(own[f"{attention}.k_proj.weight"], joined[:64])
    assert torch.equal(own[f"{attention}.v_proj.weight"], joined[64:])


def test_an_encoder_alone_starts_a_training(tmp_path: Path) -> None:
    tensors = {k.removeprefix("backbone."): t for k, t in mit.state("mitb0", head=False).items()}
    tensors["head.weight"] = torch.zeros(1000, 256)
    path = file(tmp_path, tensors)
    report = convert(path, tmp_path / "m.safetensors")
    assert report.layout.name == "mit"
    assert report.left == ("head.weight",)
    assert len(report.loaded) == len(tensors) - 1
    options = ModelOptions(encoder="hf:mit_b0", decoder="daformer", classifiers=1)
    for source in (path, tmp_path / "m.safetensors"):
        network = Segmenter(options, CITYSCAPES)
        loaded = load_encoder_weights(network, source)
        assert not loaded.missing
        found = network.state_dict()["encoder.network.stages.3.blocks.0.mlp.fc2.weight"]
        assert torch.equal(found, tensors["block4.0.mlp.fc2.weight"])


def test_a_training_starts_from_a_checkpoints_student(tmp_path: Path) -> None:
    path = file(tmp_path, mit.checkpoint("mitb0"))
    network = Segmenter(
        ModelOptions(encoder="hf:mit_b0", decoder="daformer", classifiers=1), CITYSCAPES
    )
    assert not load_encoder_weights(network, path).missing
    found = network.state_dict()["encoder.network.stages.0.layer_norm.weight"]
    assert torch.equal(found, mit.state("mitb0")["backbone.norm1.weight"])


def test_a_missing_tensor_is_told_by_its_published_key(tmp_path: Path) -> None:
    tensors = mit.state("mitb0")
    del tensors["backbone.block1.0.attn.kv.bias"]
    tensors["decode_head.spare"] = torch.zeros(1)
    path = file(tmp_path, tensors)
    with pytest.raises(WeightsError, match=r"missing: backbone\.block1\.0\.attn\.kv\.bias"):
        convert(path, tmp_path / "m.safetensors")
    report = convert(path, tmp_path / "m.safetensors", partial=True)
    assert report.missing == ("backbone.block1.0.attn.kv.bias",)
    assert report.left == ("decode_head.spare",)


def test_parts_that_are_not_there() -> None:
    bare = mit.state("mitb0", head=False)
    with pytest.raises(WeightsError, match=r"has no part ema: its keys begin with none of model\."):
        choose_part(bare, "ema", "f.pth")
    student = {f"model.{k}": t for k, t in bare.items()}
    with pytest.raises(WeightsError, match="has no part ema; it has student"):
        choose_part(student, "ema", "f.pth")
    with pytest.raises(WeightsError, match="unknown part 'teacher'"):
        choose_part(student, "teacher", "f.pth")


def test_hrda_is_refused_by_name() -> None:
    tensors = {
        **{f"model.{k}": t for k, t in mit.state("mitb0", head=False).items()},
        "model.decode_head.scale_attention.conv_seg.weight": torch.zeros(1),
    }
    with pytest.raises(WeightsError, match=r"network of HRDA.*not offered"):
        choose_part(tensors, None, "f.pth")


def test_the_command_names_the_other_networks(tmp_path: Path) -> None:
    path, out = file(tmp_path, mit.checkpoint("mitb0")), tmp_path / "m.safetensors"
    done = CliRunner().invoke(app, ["convert", str(path), "--out", str(out), "--part", "ema"])
    assert done.exit_code == 0, done.output
    assert "234 tensors of student (--part student)" in done.output
    assert "layout daformer" in done.output
