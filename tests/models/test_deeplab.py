"""DeepLab's classifier: both ways to compute it are one function, and each is used where told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clan.models.decoders import deeplab
from clan.models.decoders.deeplab import ASPP, MERGED_WIDTH, branches, one_product


@pytest.mark.parametrize("rates", [(1,), (6, 12, 18, 24)])
@pytest.mark.parametrize("size", [(5, 7), (32, 20)])
def test_one_product_is_the_sum_of_the_branches(rates: tuple[int, ...], size: tuple[int, int]):
    """With its gradients; kernels reach beyond the map on all sides."""
    torch.manual_seed(0)
    convs = ASPP(6, 3, rates).conv2d_list
    for parameter in convs.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 6, *size, requires_grad=True)
    asked = [x, *convs.parameters()]
    upstream = torch.randn(2, 3, *size)
    found, expected = one_product(x, convs), branches(x, convs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(
        torch.autograd.grad(found, asked, upstream),
        torch.autograd.grad(expected, asked, upstream),
        strict=True,
    ):
        assert (one - other).norm() <= 2e-6 * other.norm()


@pytest.mark.parametrize(
    ("width", "learning", "merged"),
    [(MERGED_WIDTH, True, True), (MERGED_WIDTH - 8, True, False), (MERGED_WIDTH, False, False)],
)
def test_wide_maps_are_learnt_from_by_one_product(
    monkeypatch: pytest.MonkeyPatch, width: int, learning: bool, merged: bool
):
    used = []
    monkeypatch.setattr(deeplab, "one_product", lambda *a: used.append(1) or one_product(*a))
    classifier = ASPP(width, 3, (1, 2))
    with torch.set_grad_enabled(learning):
        logits = classifier([torch.randn(1, width, 4, 4)], torch.Size((8, 8)))
    assert logits.shape == (1, 3, 8, 8)
    assert bool(used) == merged
