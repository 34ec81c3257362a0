"""Architectures: shapes, strides, key layouts, batch-norm modes, ensembles."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from clan.data.classes import ClassSet
from clan.models.batchnorm import MOMENTUM, POLICY, set_statistics
from clan.models.decoders.deeplab import ASPP
from clan.models.discriminator import Discriminator
from clan.models.encoders.mobilenet import MobileNetV2
from clan.models.encoders.resnet import ResNet
from clan.models.segmenter import ModelOptions, Segmenter

CLASSES = ClassSet("three", ("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (99, 9, 9)), {})
SMALL = {"encoder": "resnet18", "width": 4, "aspp_rates": (1, 2)}
VGG = {"encoder": "vgg16", "decoder": "fcn8s", "width": 4}


def segmenter(**options) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(ModelOptions(**{**SMALL, **options}), CLASSES)


def images(n=2, h=32, w=48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, 3, h, w), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("depth", "channels", "parameters"),
    # torchvision's counts without the fc layer
    [
        ("resnet18", 512, 11_176_512),
        ("resnet50", 2048, 23_508_032),
        ("resnet101", 2048, 42_500_160),
    ],
)
def test_resnets_have_torchvisions_size(depth, channels, parameters):
    encoder = ResNet(depth)
    assert encoder.channels[-1] == channels
    assert sum(p.numel() for p in encoder.parameters()) == parameters


def test_resnet_has_torchvisions_keys():
    keys = set(ResNet("resnet50", width=4).state_dict())
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.weight",
        "layer3.5.conv3.weight",
        "layer4.2.bn3.bias",
    } <= keys
    assert "layer1.1.downsample.0.weight" not in keys


def test_mobilenet_has_torchvisions_keys_and_size():
    encoder = MobileNetV2()
    keys = set(encoder.state_dict())
    assert {
        "features.0.0.weight",
        "features.1.conv.0.0.weight",
        "features.1.conv.1.weight",
        "features.2.conv.2.weight",
        "features.17.conv.3.running_var",
    } <= keys
    # torchvision's 3,504,872 less features.18 (412,160) and the classifier (1,281,000)
    assert sum(p.numel() for p in encoder.parameters()) == 3_504_872 - 412_160 - 1_281_000


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("make", [lambda s: ResNet("resnet18", s, width=4), MobileNetV2])
def test_output_stride(make, stride):
    features = make(stride).eval()(torch.randn(1, 3, 64, 96))
    assert features[-1].shape[-2:] == (64 // stride, 96 // stride)


def test_a_dilated_network_has_the_strided_ones_features_on_its_grid():
    """Dilation replaces stride without changing what a filter sees: subsample and compare."""
    dilated, strided = ResNet("resnet18", 8, width=4), ResNet("resnet18", 32, width=4)
    strided.load_state_dict(dilated.state_dict())
    x = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        dense, sparse = dilated.eval()(x)[-1], strided.eval()(x)[-1]
    torch.testing.assert_close(dense[..., ::4, ::4], sparse)


def test_where_a_bottleneck_strides():
    for where, name in (("3x3", "conv2"), ("1x1", "conv1")):
        block = ResNet("resnet50", width=4, stride_in=where).layer2[0]
        assert getattr(block, name).stride == (2, 2)


def test_dilation_of_a_layers_first_block():
    assert ResNet("resnet18", width=4).layer3[0].conv1.dilation == (1, 1)
    assert ResNet("resnet18", width=4, dilate_first=True).layer3[0].conv1.dilation == (2, 2)


def test_ceil_mode_rounds_up():
    x = torch.randn(1, 3, 33, 33)
    encoders = [ResNet("resnet18", width=4, ceil_mode=mode).eval() for mode in (False, True)]
    sizes = [encoder(x)[-1].shape[-1] for encoder in encoders]
    assert sizes == [5, 5] or sizes[1] > sizes[0]
    x = torch.randn(1, 3, 36, 36)
    small, large = (
        ResNet("resnet18", width=4, ceil_mode=mode).maxpool(torch.randn(1, 4, 18, 18)).shape[-1]
        for mode in (False, True)
    )
    assert (small, large) == (9, 10)


@pytest.mark.parametrize("rates", [(6, 12), (6, 12, 18, 24)])
def test_aspp_is_the_sum_of_its_branches(rates):
    head = ASPP(5, 3, rates)
    assert len(head.conv2d_list) == len(rates)
    x = torch.randn(1, 5, 8, 8)
    expected = sum(conv(x) for conv in head.conv2d_list)
    torch.testing.assert_close(head([x], torch.Size((8, 8))), expected)


def test_discriminator_has_the_papers_size_and_answers_at_input_size():
    network = Discriminator(19)
    assert sum(p.numel() for p in network.parameters()) == 2_781_121
    assert Discriminator(3, width=4)(torch.rand(2, 3, 40, 70)).shape == (2, 1, 40, 70)


def test_discriminator_refuses_maps_that_it_would_shrink_to_nothing():
    with pytest.raises(ValueError, match="31x64"):
        Discriminator(3, width=4)(torch.rand(1, 3, 31, 64))


@pytest.mark.parametrize("classifiers", [1, 2])
def test_segmenter_gives_one_map_of_logits_per_classifier(classifiers):
    logits = segmenter(classifiers=classifiers)(images())
    assert len(logits) == classifiers
    assert all(z.shape == (2, 3, 32, 48) and z.dtype == torch.float32 for z in logits)


def test_segmenter_normalises_inside():
    network = segmenter().eval()
    seen = []
    network.encoder.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = images()
    network(image)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(seen[0], (image / 255 - mean) / std)


def test_caffe_input_is_blue_green_red_less_the_mean():
    network = segmenter(input="caffe").eval()
    seen = []
    network.encoder.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = images()
    network(image)
    blue, green, red = image[:, 2].float(), image[:, 1].float(), image[:, 0].float()
    expected = torch.stack([blue - 104.00698793, green - 116.66876762, red - 122.67891434], dim=1)
    torch.testing.assert_close(seen[0], expected)


def test_ensembles():
    network = segmenter()
    logits = network(images())
    p1, p2 = (z.softmax(1) for z in logits)
    product = (p1 * p2) / (p1 * p2).sum(1, keepdim=True)
    torch.testing.assert_close(network.ensemble(logits).softmax(1), product)
    paper = segmenter(ensemble="softmax")
    torch.testing.assert_close(paper.ensemble(logits).exp(), (p1 + p2) / 2)


def test_the_two_classifiers_start_apart():
    first, second = segmenter().classifiers
    assert not torch.equal(first.conv2d_list[0].weight, second.conv2d_list[0].weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "mobilenet_v2", "width": 16}, "encoder mobilenet_v2 does not read width"),
        (
            {"encoder": "mobilenet_v2", "ceil_mode": True},
            "does not read ceil_mode: it reads only output_stride",
        ),
        ({"encoder": "resnet18", "stride_in": "1x1"}, "encoder resnet18 does not read stride_in"),
        (
            {"encoder": "vgg16"},
            "deeplab does not fit encoder vgg16.*within 100 pixels.*fcn8s",
        ),
        (
            {"encoder": "resnet50", "decoder": "fcn8s"},
            "fcn8s does not fit encoder resnet50.* 8, .*256 .* 4, ",
        ),
        ({**VGG, "aspp_rates": (1,)}, "decoder fcn8s does not read aspp_rates: it has no options"),
        ({**VGG, "output_stride": 16}, "encoder vgg16 does not read output_stride"),
        ({**VGG, "freeze_affine": True}, "freeze_affine .* encoder vgg16 has none"),
        ({**VGG, "dilate_first": True}, "encoder vgg16 does not read dilate_first"),
        ({"input": "caffe", "mean": (0.0, 0.0, 0.0)}, "leave out mean and std"),
    ],
)
def test_options_that_the_network_would_not_read_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        ModelOptions(**options)


def statistics(network: nn.Module) -> list[torch.Tensor]:
    return [b.clone() for name, b in network.named_buffers() if "running" in name]


@pytest.mark.parametrize("mode", list(POLICY))
@pytest.mark.parametrize("domain", ["source", "target"])
def test_batch_norm_modes_remember_what_their_table_says(mode, domain):
    network = segmenter().train()
    before = statistics(network)
    set_statistics(network, POLICY[mode][domain])
    network(images())
    changed = any(not torch.equal(a, b) for a, b in zip(before, statistics(network), strict=True))
    expected = {
        "frozen": (),
        "source": ("source",),
        "target": ("target",),
        "both": ("source", "target"),
    }
    assert changed == (domain in expected[mode])


def test_own_batch_statistics_do_not_depend_on_running_ones():
    network = segmenter()
    set_statistics(network, POLICY["target"]["source"])
    first = network(images())[0]
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean += 5
    torch.testing.assert_close(network(images())[0], first)
    set_statistics(network, POLICY["frozen"]["source"])
    assert not torch.allclose(network(images())[0], first)


@pytest.mark.parametrize("mode", list(POLICY))
@pytest.mark.parametrize("domain", ["source", "target"])
def test_batch_norm_modes_normalise_by_what_their_table_says(mode, domain):
    """Moved running statistics show in what they normalise, and nowhere else."""
    network = segmenter()
    set_statistics(network, POLICY[mode][domain])
    first = network(images())[0]
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean += 5
    moved = not torch.allclose(network(images())[0], first, rtol=1e-4, atol=1e-5)
    by_running = {"frozen": ("source", "target"), "source": ("target",)}
    assert moved == (domain in by_running.get(mode, ()))


def test_remembering_is_an_average_with_momentum():
    layer = nn.BatchNorm2d(1)
    set_statistics(layer, POLICY["both"]["target"])
    layer(torch.full((1, 1, 2, 2), 10.0) + torch.tensor([[0.0, 1], [-1, 0]]))
    assert layer.running_mean.item() == pytest.approx(10 * MOMENTUM)


def test_frozen_affine_parameters_are_in_no_group():
    network = segmenter(freeze_affine=True)
    names = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert {"encoder.bn1.weight", "encoder.bn1.bias"} <= names
    grouped = {id(p) for part in network.groups().values() for p in part}
    assert grouped == {id(p) for p in network.parameters() if p.requires_grad}


def test_the_layout_on_the_cpu_is_fast_where_it_is_safe():
    """Channels last for MobileNetV2 alone, with the same logits as in the usual layout."""
    last = {"memory_format": torch.channels_last}
    assert not segmenter().encode(images())[-1].is_contiguous(**last)
    network = segmenter(encoder="mobilenet_v2", width=64, output_stride=8).eval()
    features = network.encode(images())
    assert all(each.is_contiguous(**last) for each in features)
    usual = network.encoder((images().float() - network.mean) / network.std)
    assert usual[-1].is_contiguous()
    for found, expected in zip(features, usual, strict=True):
        torch.testing.assert_close(found, expected)
