"""DAFormer's decoder."""

from __future__ import annotations

import pytest
import torch

from clan.data.classes import CITYSCAPES
from clan.models.decoders.daformer import DAFormer
from clan.models.encoders.contract import FeatureMap
from clan.models.options import ModelOptions
from clan.models.segmenter import Segmenter

MAPS = (FeatureMap(8, 4), FeatureMap(8, 8), FeatureMap(16, 16), FeatureMap(16, 32))
SEGFORMER = {
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "depths": [1, 1, 1, 1],
}


def features(height: int, width: int) -> list[torch.Tensor]:
    return [torch.randn(2, c, -(-height // s), -(-width // s)) for c, s in MAPS]


def test_shapes_and_parameters() -> None:
    decoder = DAFormer(MAPS, 19)
    (shared,) = decoder(features(64, 96))
    assert shared.shape == (2, 256, 16, 24)
    logits = decoder.classifier()([shared], torch.Size((64, 96)))
    assert logits.shape == (2, 19, 64, 96)
    assert decoder.own_size(features(64, 96), torch.Size((64, 96))) == (16, 24)
    # 4 embeddings; branches of 1024 -> 256: 1x1, and three of depthwise 3x3 and 1x1; 3x3 to 256
    embeds = sum(c * 256 + 256 for c, _ in MAPS)
    pyramid = 4 * (1024 * 256 + 512) + 3 * (1024 * 9 + 2048)
    bottleneck = 1024 * 256 * 9 + 512
    assert sum(p.numel() for p in decoder.parameters()) == embeds + pyramid + bottleneck


def test_every_map_counts() -> None:
    decoder, maps = DAFormer(MAPS, 3).eval(), [f.requires_grad_() for f in features(64, 64)]
    decoder(maps)[0].square().sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in maps)


def test_two_classifiers_on_a_segformer() -> None:
    options = ModelOptions(encoder="hf:segformer", hf=SEGFORMER, decoder="daformer")
    network = Segmenter(options, CITYSCAPES).eval()
    first, second = network(torch.randint(0, 256, (1, 3, 45, 70), dtype=torch.uint8))
    assert first.shape == second.shape == (1, 19, 45, 70)
    assert not torch.equal(first, second)


def test_encoders_of_other_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="any channels at stride 32; the encoder has maps of"):
        ModelOptions(encoder="resnet18", decoder="daformer", output_stride=8)
