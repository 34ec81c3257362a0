"""The norm of what one backward adds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clan.methods.gradients import LARGE, TOGETHER, GradientNorm, share
from tests.methods.helpers import batch, build
from tests.methods.test_methods import START, step


def test_it_measures_each_backward_apart_from_what_was_there():
    layer = nn.Linear(3, 2)
    x = torch.randn(5, 3)
    with GradientNorm(layer) as first:
        layer(x).sum().backward()
    expected = torch.cat([p.grad.flatten() for p in layer.parameters()]).norm()
    with GradientNorm(layer) as second:
        (2 * layer(x).sum()).backward()
    assert first.value == pytest.approx(expected.item(), rel=1e-6)
    assert second.value == pytest.approx(2 * expected.item(), rel=1e-6)


def test_a_backward_after_the_block_is_not_measured():
    layer = nn.Linear(3, 2)
    with GradientNorm(layer) as norm:
        pass
    layer(torch.ones(1, 3)).sum().backward()
    assert norm.value == 0
    assert not any(p._backward_hooks for p in layer.parameters())


def test_a_parameter_that_is_used_twice_counts_once_with_its_sum():
    weight = nn.Parameter(torch.ones(()))
    network = nn.Module()
    network.weight = weight
    with GradientNorm(network) as norm:
        (3 * weight + 4 * weight).backward()
    assert norm.value == 7


def test_the_share_lies_between_nothing_and_all():
    zero, one = torch.zeros(()), torch.ones(())
    assert share(zero, zero) == 0
    assert share(zero, one) == 0
    assert share(one, zero) == 1
    assert share(one, 3 * one) == 0.25


@pytest.mark.parametrize("name", ["tan", "clan"])
def test_the_adversarial_share_grows_with_its_weight(name):
    shares = [
        step(build(name, lambda_adv=weight), START)["adv_share"].item()
        for weight in (0.0, 0.01, 1.0)
    ]
    assert shares[0] == 0
    assert 0 < shares[1] < shares[2] < 1
    # the gradient is linear in the weight: odds of the share are, too
    odds = [s / (1 - s) for s in shares[1:]]
    assert odds[1] == pytest.approx(100 * odds[0], rel=1e-3)


def test_discriminator_and_map_are_noted_per_domain_and_quantile():
    scalars = step(build("clan"), START, source=batch(1), target=batch(2, labelled=False))
    both = (scalars["d_accuracy_source"] + scalars["d_accuracy_target"]) / 2
    assert scalars["d_accuracy"] == pytest.approx(both.item())
    assert {"d_logit_source", "d_logit_target"} <= scalars.keys()
    q10, q50, q90 = (scalars[f"alignment_q{q}"] for q in (10, 50, 90))
    assert 0 <= q10 <= q50 <= q90 <= 1


def test_many_small_and_large_gradients_are_all_measured(monkeypatch: pytest.MonkeyPatch):
    taken = []
    whole = torch._foreach_norm
    monkeypatch.setattr(torch, "_foreach_norm", lambda ts: taken.append(len(ts)) or whole(ts))
    parameters = [torch.ones(n, requires_grad=True) for n in (3, LARGE, 4)]
    parameters += [torch.ones(2, requires_grad=True) for _ in range(TOGETHER + 1)]
    network = nn.Module()
    network.all = nn.ParameterList(parameters)
    with GradientNorm(network) as norm:
        sum(2 * p.sum() for p in network.all).backward()
    numbers = sum(p.numel() for p in parameters)
    assert norm.value == pytest.approx(2 * numbers**0.5, rel=1e-6)
    assert sum(taken) == len(parameters)
    assert len(taken) in (2, 3)  # in whichever order they came
