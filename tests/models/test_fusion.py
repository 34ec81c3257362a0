from __future__ import annotations

import pytest
import torch

from clan.data.classes import CITYSCAPES
from clan.models.options import ModelOptions
from clan.models.segmenter import Segmenter

SMALL = {"decoder": "fusion", "decoder_width": 16, "aspp_rates": (1, 2)}
NETWORKS = [
    {"encoder": "efficientnet_lite0", "output_stride": 16},
    {"encoder": "mobilenet_v2", "output_stride": 8},
    {"encoder": "resnet18", "width": 4, "output_stride": 32},
]


@pytest.mark.parametrize("classifiers", [1, 2])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n["encoder"])
def test_logits_come_at_stride_4_and_are_enlarged(network: dict, classifiers: int) -> None:
    torch.manual_seed(0)
    options = ModelOptions(**network, **SMALL, classifiers=classifiers)
    segmenter = Segmenter(options, CITYSCAPES)
    image = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    features = segmenter.encode(image)
    coarse = segmenter.classify_coarsely(features, image.shape[-2:])
    assert [z.shape for z in coarse] == [(2, 19, 16, 24)] * classifiers
    logits = segmenter(image)
    assert [z.shape for z in logits] == [(2, 19, 64, 96)] * classifiers
    sum(z.square().mean() for z in logits).backward()
    for name, parameter in segmenter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
    shared = {id(p) for p in segmenter.decoder.parameters()}
    assert shared
    assert shared <= {id(p) for p in segmenter.groups()["classifiers"]}


def test_the_classifiers_are_two_of_the_last_module() -> None:
    segmenter = Segmenter(ModelOptions(**NETWORKS[2], **SMALL), CITYSCAPES)
    first, second = segmenter.heads()
    assert [w.shape for w in first.filters()] == [(19, 16, 1, 1)]
    assert not torch.equal(first.filters()[0], second.filters()[0])


def test_what_is_fine_reaches_the_logits_where_it_is() -> None:
    torch.manual_seed(0)
    segmenter = Segmenter(ModelOptions(**NETWORKS[2], **SMALL, classifiers=1), CITYSCAPES).eval()
    image = torch.randint(0, 256, (1, 3, 64, 128), dtype=torch.uint8)
    with torch.no_grad():
        features = segmenter.encode(image)
        plain = segmenter.classify_coarsely(features, image.shape[-2:])[0]
        features[0][..., 8, 15] += 5 * features[0].std() * torch.randn(features[0].shape[1])
        moved = segmenter.classify_coarsely(features, image.shape[-2:])[0]
    change = (moved - plain).abs().sum(dim=1)[0]
    near = change[6:11, 13:18]
    # the norms over groups spread a little of it everywhere
    assert near.min() > 0
    assert near.max() > 20 * change[:, 24:].max()


def test_it_needs_a_map_of_stride_4() -> None:
    with pytest.raises(ValueError, match=r"fusion does not fit encoder vgg16.*stride 4"):
        ModelOptions(encoder="vgg16", decoder="fusion")
    with pytest.raises(ValueError, match="does not read decoder_width"):
        ModelOptions(encoder="resnet18", decoder="deeplab", decoder_width=64)
