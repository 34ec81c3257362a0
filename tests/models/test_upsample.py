"""The plain decoder for vision transformers."""

from __future__ import annotations

import pytest
import torch

from clan.data.classes import CITYSCAPES
from clan.models.decoders.upsample import ChannelNorm, Upsample
from clan.models.encoders.contract import FeatureMap
from clan.models.options import ModelOptions
from clan.models.segmenter import Segmenter
from tests.models.test_hf import TINY

DINOV2 = {"encoder": "hf:dinov2", "hf": TINY["dinov2"], "decoder": "upsample"}


@pytest.mark.parametrize("classifiers", [1, 2])
def test_logits_come_at_four_times_the_map(classifiers: int) -> None:
    torch.manual_seed(0)
    network = Segmenter(ModelOptions(**DINOV2, classifiers=classifiers), CITYSCAPES)
    # 45 and 70 pixels: 4 and 5 patches of 14, the last of them cut
    image = torch.randint(0, 256, (2, 3, 45, 70), dtype=torch.uint8)
    features = network.encode(image)
    assert features[-1].shape == (2, 16, 4, 5)
    coarse = network.classify_coarsely(features, image.shape[-2:])
    assert [z.shape for z in coarse] == [(2, 19, 16, 20)] * classifiers
    logits = network(image)
    assert [z.shape for z in logits] == [(2, 19, 45, 70)] * classifiers
    sum(z.square().mean() for z in logits).backward()
    learning = [p for part in network.groups().values() for p in part]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learning)


def test_parameters() -> None:
    decoder = Upsample((FeatureMap(16, 14),), 19)
    own = 16 * 8 * 4 + 8 * 4 * 4 + 4 * 4 * 9 + 2 * (8 + 4 + 4)
    assert sum(p.numel() for p in decoder.parameters()) == own


def test_the_norm_is_over_the_channels_of_a_place() -> None:
    x = torch.randn(2, 6, 3, 5) * torch.rand(1, 1, 3, 5) * 10
    normed = ChannelNorm(6)(x)
    assert torch.allclose(normed.mean(dim=1), torch.zeros(2, 3, 5), atol=1e-6)
    assert torch.allclose(normed.var(dim=1, unbiased=False), torch.ones(2, 3, 5), atol=1e-3)


def test_of_several_stages_it_reads_the_deepest_alone() -> None:
    options = ModelOptions(encoder="hf:convnext", hf=TINY["convnext"], decoder="upsample")
    assert options.hf["out_indices"] == [4]


def test_a_decoder_of_four_maps_is_refused_on_a_plain_transformer() -> None:
    with pytest.raises(ValueError, match=r"daformer does not fit.*stride 14.*upsample"):
        ModelOptions(encoder="hf:dinov2", hf=TINY["dinov2"], decoder="daformer")


@pytest.mark.parametrize("size", [(56, 56), (28, 70), (61, 43)])
def test_any_size_gives_logits_of_that_size(size: tuple[int, int]) -> None:
    network = Segmenter(ModelOptions(**DINOV2, classifiers=1), CITYSCAPES).eval()
    (logits,) = network(torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8))
    assert logits.shape == (1, 19, *size)
