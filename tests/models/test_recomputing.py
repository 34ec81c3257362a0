"""Encoders whose blocks run again in backward learn as before, in less memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clan.core.errors import ConfigError
from clan.models.batchnorm import POLICY, Mode, set_statistics
from clan.models.encoders.contract import EncoderOptions
from clan.models.encoders.table import build_encoder
from clan.models.recomputing import recompute

NAMES = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0")


def kept(loss_of, encoder) -> tuple[Tensor, int]:
    """Return a loss and the numbers that its graph keeps for backward."""
    sizes: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        sizes[x.data_ptr()] = x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = loss_of(encoder)
    parameters = {p.data_ptr() for p in encoder.parameters()}
    return loss, sum(size for place, size in sizes.items() if place not in parameters)


@pytest.mark.parametrize("mode", ["frozen", "source", "target", "both"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_statistics_are_those_of_before(name: str, mode: Mode):
    """Two domains in one backward, so that batch norm is told otherwise before blocks run again."""
    reads = {"width": 4} if name.startswith("resnet") else {}
    torch.manual_seed(0)
    plain = build_encoder(EncoderOptions(encoder=name, **reads)).train()
    again = build_encoder(EncoderOptions(encoder=name, **reads)).train()
    again.load_state_dict(plain.state_dict())
    recompute(again, name)
    assert again.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 2, 3, 32, 48)

    def loss_of(encoder) -> Tensor:
        total = torch.zeros(())
        for domain, image in zip(("source", "target"), images, strict=True):
            set_statistics(encoder, POLICY[mode][domain])
            total = total + sum(m.square().mean() for m in encoder(image))
        return total

    kept_before, kept_after = [], []
    for encoder, sizes in ((plain, kept_before), (again, kept_after)):
        loss, size = kept(loss_of, encoder)
        sizes.append(size)
        loss.backward()
    for (key, one), (_, other) in zip(
        plain.named_parameters(), again.named_parameters(), strict=True
    ):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad), key
    for key, value in plain.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    if mode == "both":
        fresh = build_encoder(EncoderOptions(encoder=name, **reads))
        assert not torch.equal(next(fresh.buffers()), next(again.buffers()))
    for layer in again.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.training == POLICY[mode]["target"].own_batch
            assert layer.momentum == (0.1 if POLICY[mode]["target"].updates_running else 0.0)
    # the hooks of the graph outside of the blocks see what they keep: their inputs
    assert kept_after[0] < 0.7 * kept_before[0]


def test_blocks_run_again_only_for_gradients(monkeypatch: pytest.MonkeyPatch):
    encoder = build_encoder(EncoderOptions(encoder="resnet18", width=4))
    recompute(encoder, "resnet18")
    runs = []
    for part in encoder.parts():
        part.conv1.register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        encoder(torch.randn(1, 3, 32, 32))
    assert len(runs) == 8
    sum(m.sum() for m in encoder(torch.randn(2, 3, 32, 32))).backward()
    assert len(runs) == 8 + 16


def test_an_encoder_without_parts_is_refused():
    encoder = build_encoder(EncoderOptions(encoder="vgg16", width=4))
    with pytest.raises(ConfigError, match="encoder vgg16 names no parts"):
        recompute(encoder, "vgg16")
