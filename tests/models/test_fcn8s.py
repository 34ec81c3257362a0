"""VGG16-FCN8s: Long et al.'s network restated, two classifiers, torchvision's keys."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clan.data.classes import ClassSet
from clan.losses.alignment import weight_discrepancy
from clan.models.decoders.fcn8s import bilinear_kernel
from clan.models.encoders.vgg import VGG16
from clan.models.segmenter import ModelOptions, Segmenter

CLASSES = ClassSet("three", ("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (99, 9, 9)), {})
# torchvision's vgg16: position of every convolution in `features`
CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
POOLED_AFTER = (2, 7, 14, 21, 28)


def segmenter(classifiers: int = 2) -> Segmenter:
    torch.manual_seed(0)
    options = ModelOptions(encoder="vgg16", decoder="fcn8s", width=4, classifiers=classifiers)
    network = Segmenter(options, CLASSES).eval()
    for head in network.classifiers:
        # all three depths weigh alike, so that an error in one is seen
        for layer, std in ((head.score_fr, 1), (head.score_pool4, 100), (head.score_pool3, 1e4)):
            torch.nn.init.normal_(layer.weight, std=std)
            torch.nn.init.normal_(layer.bias)
    return network


def images(h: int, w: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (1, 3, h, w), dtype=torch.uint8, generator=generator)


def restated(t: dict[str, torch.Tensor], head: str, x: torch.Tensor) -> torch.Tensor:
    """FCN8s as its authors' Caffe model has it, with full (dense) deconvolution weights."""
    size = x.shape[-2:]
    pools = []
    for index in CONVS:
        key = f"encoder.features.{index}"
        x = F.conv2d(x, t[f"{key}.weight"], t[f"{key}.bias"], padding=100 if index == 0 else 1)
        x = x.relu()
        if index in POOLED_AFTER:
            x = F.max_pool2d(x, 2, ceil_mode=True)
            pools.append(x)
    _, _, pool3, pool4, x = pools
    for name in ("fc6", "fc7"):
        x = F.conv2d(x, t[f"encoder.{name}.weight"], t[f"encoder.{name}.bias"]).relu()

    def score(name: str, features: torch.Tensor) -> torch.Tensor:
        return F.conv2d(features, t[f"{head}.{name}.weight"], t[f"{head}.{name}.bias"])

    def deconvolve(x: torch.Tensor, factor: int) -> torch.Tensor:
        centre = factor - 0.5
        line = torch.tensor([1 - abs(i - centre) / factor for i in range(2 * factor)])
        weight = torch.zeros(len(CLASSES), len(CLASSES), 2 * factor, 2 * factor)
        for c in range(len(CLASSES)):
            weight[c, c] = torch.outer(line, line)
        return F.conv_transpose2d(x, weight, stride=factor)

    def crop(x: torch.Tensor, offset: int, size: torch.Size) -> torch.Tensor:
        assert x.shape[-2] >= offset + size[0]
        assert x.shape[-1] >= offset + size[1]
        return x[:, :, offset : offset + size[0], offset : offset + size[1]]

    x = deconvolve(score("score_fr", x), 2)
    x = x + crop(score("score_pool4", 0.01 * pool4), 5, x.shape[-2:])
    x = deconvolve(x, 2)
    x = x + crop(score("score_pool3", 0.0001 * pool3), 9, x.shape[-2:])
    return crop(deconvolve(x, 8), 31, size)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_logits_are_those_of_the_published_network(size):
    network, image = segmenter(), images(*size)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        found = network(image)
        for index, logits in enumerate(found):
            x = (image / 255 - mean) / std
            expected = restated(network.state_dict(), f"classifiers.{index}", x)
            assert logits.shape == (1, 3, *size)
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-3)
            assert expected.std() > 1
    assert not torch.allclose(*found)


def test_full_size_and_torchvisions_keys():
    with torch.device("meta"):
        encoder = VGG16()
    keys = {k for k in encoder.state_dict() if k.startswith("features.")}
    assert keys == {f"features.{i}.{p}" for i in CONVS for p in ("weight", "bias")}
    # torchvision's 138,357,544 less classifier.6, the 1000 classes of ImageNet
    assert sum(p.numel() for p in encoder.parameters()) == 138_357_544 - 1000 * (4096 + 1)
    assert encoder.fc6.weight.shape == (4096, 512, 7, 7)
    assert encoder.fc7.weight.shape == (4096, 4096, 1, 1)


def test_the_scoring_layers_are_what_there_are_two_of():
    torch.manual_seed(0)
    options = ModelOptions(encoder="vgg16", decoder="fcn8s", width=4, classifiers=2)
    network = Segmenter(options, CLASSES)
    assert {k for k in network.state_dict() if k.startswith("classifiers.1.")} == {
        f"classifiers.1.{layer}.{p}"
        for layer in ("score_fr", "score_pool4", "score_pool3")
        for p in ("weight", "bias")
    }
    first, second = network.heads()
    assert [f.shape[1] for f in first.filters()] == [256, 32, 16]
    # the published zero scores of the pools must not keep the classifiers together
    cosine = weight_discrepancy(first.filters(), second.filters()).item()
    assert abs(cosine) < 0.2
    assert not first.score_pool3.weight.any()
    assert sum(len(part) for part in network.groups().values()) == len(list(network.parameters()))


def test_dropout_hides_whole_channels_in_training_only():
    encoder = segmenter().encoder
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x)[-1], encoder(x)[-1])
        torch.manual_seed(0)
        dropped = encoder.train()(x.repeat(1, 1, 4, 4))[-1]
    silent = (dropped == 0).flatten(2).all(-1)
    assert 0.3 < silent.float().mean() < 0.9


def test_every_parameter_but_the_bilinear_kernels_learns():
    network = segmenter().train()
    sum(z.square().mean() for z in network(images(40, 40))).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert not any("kernel" in name for name in network.state_dict())


@pytest.mark.parametrize("factor", [2, 8])
def test_the_kernel_interpolates(factor):
    x = torch.ones(1, 1, 4, 4)
    y = F.conv_transpose2d(x, bilinear_kernel(factor), stride=factor)
    inside = y[..., factor:-factor, factor:-factor]
    torch.testing.assert_close(inside, torch.ones_like(inside))
