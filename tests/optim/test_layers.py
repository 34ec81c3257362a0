"""Learning rates per layer of a transformer, and what weight decay leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from clan.core.errors import ConfigError
from clan.data.classes import CITYSCAPES
from clan.models.encoders.hf import HFEncoder
from clan.models.options import ModelOptions
from clan.models.segmenter import Segmenter
from clan.optim.groups import build_optimizer, segmenter_groups
from clan.optim.options import SegmenterOptimizerOptions
from tests.models.test_hf import TINY, encoder
from tests.systems import tiny


def network(kind: str, decoder: str) -> Segmenter:
    options = ModelOptions(encoder=f"hf:{kind}", hf=TINY[kind], decoder=decoder)
    return Segmenter(options, CITYSCAPES)


def rates(segmenter: Segmenter, key: str = "lr", **options: Any) -> dict[str, float]:
    """Return a setting of the group that each parameter is in, by the parameter's name."""
    rule = SegmenterOptimizerOptions(name="adamw", lr=1.0, weight_decay=0.01, **options)
    optimizer = build_optimizer(segmenter_groups(segmenter, rule), rule)
    named = {id(p): name for name, p in segmenter.named_parameters()}
    return {named[id(p)]: g[key] for g in optimizer.param_groups for p in g["params"]}


def test_blocks_of_a_plain_transformer() -> None:
    found = rates(network("dinov2", "upsample"), layer_decay=0.5, head_multiplier=3)
    before = "encoder.network."
    assert found[f"{before}embeddings.position_embeddings"] == 0.25
    assert found[f"{before}embeddings.patch_embeddings.projection.weight"] == 0.25
    first = {rate for name, rate in found.items() if f"{before}encoder.layer.0." in name}
    last = {rate for name, rate in found.items() if f"{before}encoder.layer.1." in name}
    assert (first, last) == ({0.5}, {1.0})
    assert found[f"{before}layernorm.weight"] == 1.0
    assert {rate for name, rate in found.items() if not name.startswith("encoder.")} == {3.0}


def test_blocks_of_a_transformer_of_stages() -> None:
    found = rates(network("segformer", "daformer"), layer_decay=0.5)
    stage = "encoder.network.stages."
    of_blocks = [found[f"{stage}{i}.blocks.0.mlp.fc1.weight"] for i in range(4)]
    assert of_blocks == [0.125, 0.25, 0.5, 1.0]
    assert found[f"{stage}0.patch_embeddings.proj.weight"] == 0.0625
    # between two stages: with the block before
    assert found[f"{stage}0.layer_norm.weight"] == 0.125
    assert found[f"{stage}1.patch_embeddings.proj.weight"] == 0.125


@pytest.mark.parametrize("kind", TINY)
def test_layers_hold_each_parameter_once(kind: str) -> None:
    found: HFEncoder = encoder(kind)
    layers = found.parameters_by_layer()
    listed = [id(p) for layer in layers for p in layer]
    assert sorted(listed) == sorted(id(p) for p in found.parameters())
    assert len(layers) > 2
    assert all(layers)


def test_alike_without_the_option() -> None:
    segmenter = network("dinov2", "upsample")
    groups = segmenter_groups(segmenter, SegmenterOptimizerOptions(name="adamw"))
    assert [group["name"] for group in groups] == ["encoder", "classifiers"]
    # in the encoder's own order, so that a checkpoint's optimizer fits
    learning = [p for p in segmenter.encoder.parameters() if p.requires_grad]
    assert all(a is b for a, b in zip(groups[0]["params"], learning, strict=True))


def test_the_deepest_rate_is_the_one_that_is_logged() -> None:
    groups = segmenter_groups(
        network("dinov2", "upsample"), SegmenterOptimizerOptions(lr=0.1, layer_decay=0.5)
    )
    assert groups[0]["lr"] == groups[0]["base_lr"] == 0.1


def test_norms_and_positions_can_be_free_of_decay() -> None:
    segmenter = network("dinov2", "upsample")
    assert set(rates(segmenter, "weight_decay").values()) == {0.01}
    found = rates(segmenter, "weight_decay", norm_decay=False)
    free = {name for name, decay in found.items() if decay == 0}
    norms = {
        f"encoder.{name}.{part}"
        for name, module in segmenter.encoder.named_modules()
        if isinstance(module, nn.LayerNorm)
        for part in ("weight", "bias")
    }
    assert free == norms | {"encoder.network.embeddings.position_embeddings"}


def test_published_daformer_decays_the_decoders_norms() -> None:
    found = rates(network("segformer", "daformer"), "weight_decay", norm_decay=False)
    # the published code goes by the word "norm" in a parameter's name
    assert {name for name, decay in found.items() if decay == 0} == {
        name for name in found if "norm" in name
    }
    assert found["decoder.bottleneck.1.weight"] == 0.01


def test_a_step_moves_the_layers_as_their_rates_say() -> None:
    torch.manual_seed(0)
    segmenter = network("dinov2", "upsample")
    rule = SegmenterOptimizerOptions(name="sgd", lr=0.1, weight_decay=0, layer_decay=0.5)
    optimizer = build_optimizer(segmenter_groups(segmenter, rule), rule)
    before = {name: p.detach().clone() for name, p in segmenter.named_parameters()}
    for parameter in segmenter.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    weight = "encoder.network.encoder.layer.{}.mlp.fc1.weight"
    moved = dict(segmenter.named_parameters())
    for index, rate in ((0, 0.05), (1, 0.1)):
        name = weight.format(index)
        assert torch.allclose(before[name] - moved[name], torch.tensor(rate), atol=1e-6)


def test_an_encoder_without_layers_is_refused(street: Path) -> None:
    with pytest.raises(ConfigError, match=r"layer_decay gives each layer.*resnet18 tells none"):
        tiny(street, "source_only", "optim.segmenter.layer_decay=0.9")
