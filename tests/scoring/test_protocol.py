"""Protocols: named, carried by every result, and equal to plain restatements of what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clan.core.errors import ConfigError
from clan.data.classes import ClassSet
from clan.data.views import resize_image
from clan.models.segmenter import ModelOptions, Segmenter
from clan.scoring.inference import joint_logits, upsampled_argmax
from clan.scoring.protocol import PROTOCOLS, Protocol, choose_protocol, parse_scales

TRIO = ClassSet("trio", ("sky", "road", "car"), ((70, 130, 180), (128, 64, 128), (0, 0, 142)))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> Segmenter:
    torch.manual_seed(0)
    options = ModelOptions(encoder="resnet18", width=4, output_stride=8, aspp_rates=(1,))
    return Segmenter(options, TRIO).eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (1, 3, 64, 96), dtype=np.uint8))


def shown(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    return torch.from_numpy(resize_image(pixels, size)).permute(2, 0, 1)[None]


def test_names_and_texts() -> None:
    assert PROTOCOLS["paper"] == Protocol(size=(512, 1024), align_corners=True)
    assert choose_protocol("paper").name == "paper"
    assert choose_protocol("reference", flip=True).name == "reference"
    assert choose_protocol("paper", align_corners=False).name == "own"
    assert choose_protocol(size=(4, 8)).size == (4, 8)
    own_size = choose_protocol("reference", size=(4, 8))
    assert (own_size.size, own_size.direct, own_size.name) == ((4, 8), True, "own")
    both = choose_protocol("paper", flip=True, scales=(0.5, 1))
    assert both.views == 4
    assert both.text() == (
        "protocol paper (align_corners=true) + flip testing + multi-scale testing 0.5/1"
    )
    assert "once" in PROTOCOLS["reference"].text()
    assert Protocol().text() == "protocol own (align_corners=false)"
    assert (Protocol().size_text(), both.size_text()) == ("as stored", "512x1024")


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, 1.0), (11.0,), (float("nan"),)])
def test_scales_out_of_range_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="scales"):
        choose_protocol(scales=scales)


def test_unknown_names_and_scales_that_are_no_numbers() -> None:
    with pytest.raises(ConfigError, match="'paper'"):
        choose_protocol("papr")
    assert parse_scales("0.75,1") == (0.75, 1.0)
    with pytest.raises(ConfigError, match="commas"):
        parse_scales("0.75;1")


@torch.inference_mode()
def test_the_paper_goes_through_the_input_size(network: Segmenter, image: torch.Tensor) -> None:
    protocol = Protocol(size=(32, 48), align_corners=True)
    logits = joint_logits(network, image, protocol, CPU)
    expected = network.ensemble(network(shown(image, (32, 48))))
    assert torch.equal(logits, expected)
    full = F.interpolate(expected, size=(64, 96), mode="bilinear", align_corners=True)
    assert torch.equal(upsampled_argmax(logits, (64, 96), True).long(), full.argmax(1))


@torch.inference_mode()
def test_the_reference_up_samples_once(network: Segmenter, image: torch.Tensor) -> None:
    protocol = Protocol(size=(32, 48), align_corners=True, direct=True)
    logits = joint_logits(network, image, protocol, CPU)
    features = network.encode(shown(image, (32, 48)))
    size = features[-1].shape[-2:]
    expected = sum(head(features, size) for head in network.heads())
    assert logits.shape[-2:] == size == (4, 6)
    assert torch.allclose(logits, expected, atol=1e-6)


@torch.inference_mode()
def test_flip_and_scales_average_probabilities(network: Segmenter, image: torch.Tensor) -> None:
    protocol = Protocol(size=(32, 48), flip=True, scales=(0.5, 1.0, 1.5))
    logits = joint_logits(network, image, protocol, CPU)
    p = torch.zeros(1, 3, 32, 48)
    for size in ((16, 24), (32, 48), (48, 72)):
        for mirror in (False, True):
            seen = shown(image, size)
            out = network.ensemble(network(seen.flip(-1) if mirror else seen))
            out = out.flip(-1) if mirror else out
            p += F.interpolate(out, size=(32, 48), mode="bilinear").softmax(1) / 6
    assert torch.allclose(logits.softmax(1), p, atol=1e-6)
    assert torch.allclose(logits.exp().sum(1), torch.ones(1, 32, 48), atol=1e-5)


@torch.inference_mode()
def test_flip_testing_is_blind_to_mirrors(network: Segmenter, image: torch.Tensor) -> None:
    protocol = Protocol(flip=True)
    there = joint_logits(network, image, protocol, CPU)
    back = joint_logits(network, image.flip(-1), protocol, CPU).flip(-1)
    assert torch.allclose(there, back, atol=1e-5)
    plain = joint_logits(network, image, Protocol(), CPU)
    mirrored = joint_logits(network, image.flip(-1), Protocol(), CPU).flip(-1)
    assert not torch.allclose(plain, mirrored, atol=1e-3)
