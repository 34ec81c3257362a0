from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clan.data.classes import CITYSCAPES
from clan.models.encoders.efficientnet import EfficientNetLite0, SameConv2d
from clan.models.options import ModelOptions
from clan.models.segmenter import Segmenter
from clan.weights.start import load_encoder_weights
from clan.weights.tensor_files import read_tensors

# kernel, stride and repeats of each stage, as the author's table has them
TABLE = ((3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1))


def convolve(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """TensorFlow's SAME padding, stated from its definition."""
    kernel = weight.shape[-1]
    pads: list[int] = []
    for size in (x.shape[-1], x.shape[-2]):
        out = (size + stride - 1) // stride
        total = max((out - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    depthwise = weight.shape[1] == 1 and x.shape[1] > 1
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=x.shape[1] if depthwise else 1)


def restated(tensors: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    def norm(x: Tensor, key: str) -> Tensor:
        mean, var = tensors[f"{key}.running_mean"], tensors[f"{key}.running_var"]
        return F.batch_norm(
            x, mean, var, tensors[f"{key}.weight"], tensors[f"{key}.bias"], eps=1e-3
        )

    x = norm(convolve(x, tensors["conv_stem.weight"], 2), "bn1").clamp(0, 6)
    maps = []
    for stage, (_, stride, repeats) in enumerate(TABLE):
        for block in range(repeats):
            at, before = f"blocks.{stage}.{block}", x
            step = stride if block == 0 else 1
            if stage == 0:
                x = norm(convolve(x, tensors[f"{at}.conv_dw.weight"]), f"{at}.bn1").clamp(0, 6)
                x = norm(convolve(x, tensors[f"{at}.conv_pw.weight"]), f"{at}.bn2")
                continue
            x = norm(convolve(x, tensors[f"{at}.conv_pw.weight"]), f"{at}.bn1").clamp(0, 6)
            x = norm(convolve(x, tensors[f"{at}.conv_dw.weight"], step), f"{at}.bn2").clamp(0, 6)
            x = norm(convolve(x, tensors[f"{at}.conv_pwl.weight"]), f"{at}.bn3")
            x = x + before if block else x
        if stage in (1, 2, 4, 6):
            maps.append(x)
    return maps


def lively(seed: int) -> EfficientNetLite0:
    """Return an encoder whose batch norms do something."""
    torch.manual_seed(seed)
    encoder = EfficientNetLite0(32).eval()
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.8, 1.2)
            torch.nn.init.normal_(layer.bias, 0, 0.1)
    return encoder


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 70)])
def test_the_features_are_those_of_a_plain_restatement(size: tuple[int, int]) -> None:
    encoder = lively(0)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        found, wanted = encoder(x), restated(encoder.state_dict(), x)
    assert [m.shape[1] for m in found] == list(encoder.channels)
    for a, b, stride in zip(found, wanted, encoder.strides, strict=True):
        assert a.shape[-2:] == tuple(-(-edge // stride) for edge in size)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_even_sizes_are_padded_at_the_end_alone() -> None:
    conv = SameConv2d(1, 1, 3, stride=2)
    torch.nn.init.zeros_(conv.weight)
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = 1
    x = torch.arange(16.0).view(1, 1, 4, 4)
    # the kernel's corner lies on pixels 0 and 2: nothing is padded before them
    assert conv(x).flatten().tolist() == [0, 2, 8, 10]
    five = torch.arange(25.0).view(1, 1, 5, 5)
    # of an odd size one pixel on either side
    assert conv(five).flatten().tolist() == [0, 0, 0, 0, 6, 8, 0, 16, 18]


@pytest.mark.parametrize(("stride", "stages"), [(8, (3, 4)), (16, (5, 6))])
def test_dilated_stages_have_the_strided_ones_values_on_their_grid(
    stride: int, stages: tuple[int, ...]
) -> None:
    strided, dilated = lively(1), EfficientNetLite0(stride).eval()
    dilated.load_state_dict(strided.state_dict())
    fine = coarse = torch.randn(1, {3: 40, 5: 112}[stages[0]], 64, 64)
    with torch.no_grad():
        for stage in stages:
            fine, coarse = dilated.blocks[stage](fine), strided.blocks[stage](coarse)
    assert (fine.shape[-1], coarse.shape[-1]) == (64, 32)
    # a strided kernel on an even size lies on odd places; near the border the padding differs
    within = slice(12, 20)
    at_their_places = fine[..., 1::2, 1::2][..., within, within]
    torch.testing.assert_close(at_their_places, coarse[..., within, within], rtol=1e-4, atol=1e-4)
    beside = fine[..., ::2, ::2][..., within, within]
    assert not torch.allclose(beside, coarse[..., within, within], atol=1e-2)


@pytest.mark.parametrize("stride", [8, 16])
def test_dilation_leaves_the_maps_before_it_alone(stride: int) -> None:
    strided, dilated = lively(1), EfficientNetLite0(stride).eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        whole, fine = strided(x), dilated(x)
    assert [m.shape[-1] for m in fine] == [96 // s for s in dilated.strides]
    for index in range(2 if stride == 8 else 3):
        torch.testing.assert_close(whole[index], fine[index])


def test_the_shared_weights_fit_key_by_key(shared_data: Path) -> None:
    path = shared_data / "weights" / "efficientnet_lite0_imagenet.safetensors"
    options = ModelOptions(encoder="efficientnet_lite0", output_stride=32, aspp_rates=(1,))
    segmenter = Segmenter(options, CITYSCAPES).eval()
    assert options.mean == options.std == (0.5, 0.5, 0.5)
    report = load_encoder_weights(segmenter, path)
    assert not report.missing
    assert not report.shape_differs
    assert {key.split(".")[0] for key in report.left} == {"conv_head", "bn2", "classifier"}
    tensors = read_tensors(path)
    image = torch.randint(0, 256, (1, 3, 80, 112), dtype=torch.uint8)
    with torch.no_grad():
        found = segmenter.encode(image)
        wanted = restated(tensors, image / 127.5 - 1)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
