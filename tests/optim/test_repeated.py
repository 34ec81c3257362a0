"""The published optimizer groups: what is listed how often, and what a step then does."""

from __future__ import annotations

import copy
import warnings
from collections import Counter

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from clan.config.loading import load_config
from clan.core.errors import ConfigError
from clan.data.classes import CITYSCAPES
from clan.models.segmenter import ModelOptions, Segmenter
from clan.optim import repeated
from clan.optim.groups import build_optimizer, segmenter_groups
from clan.optim.options import SegmenterOptimizerOptions
from clan.optim.repeated import RepeatedSGD, published_repeats

RULE = {"momentum": 0.9, "weight_decay": 5e-4}


def resnet101(width: int = 4) -> Segmenter:
    options = ModelOptions(encoder="resnet101", width=width, freeze_affine=True)
    return Segmenter(options, CITYSCAPES)


def test_104_tensors_are_listed_314_times():
    """conv1 once, 99 convolutions of blocks three times, 4 of shortcuts four times."""
    segmenter = resnet101()
    times = published_repeats(segmenter.encoder)
    assert Counter(times.values()) == {1: 1, 3: 99, 4: 4}
    assert (len(times), times.total()) == (104, 314)
    assert times[segmenter.encoder.conv1.weight] == 1
    assert times[segmenter.encoder.layer3[0].downsample[0].weight] == 4


def test_published_groups_say_how_often_and_hold_each_tensor_once():
    segmenter = resnet101()
    options = SegmenterOptimizerOptions(step_repeats="published")
    groups = segmenter_groups(segmenter, options)
    found = [(g["name"], g["step_repeats"], len(g["params"]), g["base_lr"]) for g in groups]
    assert found == [
        ("encoder", 1, 1, 2.5e-4),
        ("encoder", 3, 99, 2.5e-4),
        ("encoder", 4, 4, 2.5e-4),
        ("classifiers", 1, 16, 2.5e-3),
    ]
    assert type(build_optimizer(groups, options)) is RepeatedSGD


@pytest.mark.parametrize("nesterov", [False, True])
def test_repeated_steps_are_those_of_torch_with_duplicates(nesterov):
    """The oracle is torch.optim.SGD, which only warns about a list with duplicates."""
    torch.manual_seed(0)
    ours = nn.ParameterList([torch.randn(5, dtype=torch.float64) for _ in range(3)])
    theirs = nn.ParameterList([p.detach().clone() for p in ours])
    times = (1, 3, 4)
    optimizer = RepeatedSGD(
        [{"params": [p], "step_repeats": n} for p, n in zip(ours, times, strict=True)],
        lr=0.1,
        nesterov=nesterov,
        **RULE,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # one group, in the order of the published walk: a layer, its blocks, their convolutions
        walk = [theirs[0], theirs[1], theirs[2], theirs[1], theirs[2], theirs[1], *[theirs[2]] * 2]
        oracle = torch.optim.SGD(walk, lr=0.1, nesterov=nesterov, foreach=False, **RULE)
    for _ in range(5):
        gradients = [torch.randn(5, dtype=torch.float64) for _ in times]
        for parameters, rule in ((ours, optimizer), (theirs, oracle)):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            rule.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("times", [1, 3, 4])
def test_in_the_long_run_a_step_is_as_many_times_as_large(times):
    parameter = nn.Parameter(torch.zeros(1))
    group = {"params": [parameter], "step_repeats": times}
    optimizer = RepeatedSGD([group], lr=1.0, momentum=0.9, weight_decay=0.0)
    for _ in range(200):
        before = parameter.item()
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert before - parameter.item() == pytest.approx(times * 10, rel=1e-3)


def test_a_resumed_optimizer_goes_on_alike():
    def step(parameter, optimizer):
        parameter.grad = parameter.detach().sin()
        optimizer.step()

    def make(value):
        parameter = nn.Parameter(value.clone())
        group = {"params": [parameter], "step_repeats": 3}
        return parameter, RepeatedSGD([group], lr=0.1, **RULE)

    torch.manual_seed(0)
    whole = make(torch.randn(4))
    step(*whole)
    second = make(whole[0].detach())
    second[1].load_state_dict(copy.deepcopy(whole[1].state_dict()))
    step(*whole)
    step(*second)
    assert torch.equal(whole[0], second[0])


def test_a_checkpoint_of_before_the_key_was_renamed_goes_on():
    parameter = nn.Parameter(torch.ones(2))
    state = RepeatedSGD([{"params": [parameter], "step_repeats": 3}], lr=0.1).state_dict()
    group = state["param_groups"][0]
    group["listings"] = group.pop("step_repeats")
    optimizer = RepeatedSGD([{"params": [parameter], "step_repeats": 1}], lr=0.1)
    optimizer.load_state_dict(state)
    parameter.grad = torch.ones(2)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((2,), 1 - 3 * 0.1))
    assert "listings" not in optimizer.param_groups[0]


def test_published_repeats_belong_to_sgd_and_resnets():
    with pytest.raises(ValidationError, match="belongs to sgd, not to adam"):
        SegmenterOptimizerOptions(name="adam", step_repeats="published")
    listed = "optim={segmenter: {step_repeats: published}}"
    with pytest.raises(ConfigError, match="mobilenet_v2 is listed once"):
        load_config("town/source_only", [listed, "model={encoder: mobilenet_v2}"])


def test_tensors_updated_together_take_the_steps_of_each_by_itself(monkeypatch):
    """As on a GPU, whose tensors are not at hand here; one gets its first gradient later."""
    torch.manual_seed(0)
    apart = [nn.Parameter(torch.randn(4)) for _ in range(3)]
    together = [nn.Parameter(p.detach().clone()) for p in apart]
    group = {"step_repeats": 3, "lr": 0.1}
    optimizers = [RepeatedSGD([{**group, "params": ps}], **RULE) for ps in (apart, together)]
    sizes = []
    for update in range(3):
        for index, (one, other) in enumerate(zip(apart, together, strict=True)):
            if index < 2 or update:
                one.grad, other.grad = (torch.full((4,), float(index + update)) for _ in range(2))
        optimizers[0].step()
        with monkeypatch.context() as patch:
            patch.setattr(
                repeated, "_portions", lambda ps: sizes.append(len(ps)) or [ps][: len(ps)]
            )
            optimizers[1].step()
    assert sizes == [0, 2, 2, 1, 3, 0]
    assert all(torch.equal(one, other) for one, other in zip(apart, together, strict=True))


def test_the_common_sgd_is_fused():
    """One launch a group on a GPU; on a CPU the same numbers as the plain loop."""
    optimizer = build_optimizer(
        segmenter_groups(resnet101(), SegmenterOptimizerOptions()), SegmenterOptimizerOptions()
    )
    assert type(optimizer) is torch.optim.SGD
    assert all(group["fused"] for group in optimizer.param_groups)
