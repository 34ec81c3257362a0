"""Schedules in closed form; every parameter in exactly one group."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from clan.data.classes import CITYSCAPES
from clan.models.segmenter import ModelOptions, Segmenter
from clan.optim.groups import build_optimizer, segmenter_groups
from clan.optim.options import OptimizerOptions, SegmenterOptimizerOptions
from clan.optim.schedules import schedule_factor, set_learning_rate


def test_poly_falls_from_one_to_zero():
    options = OptimizerOptions(schedule="poly", power=0.9)
    assert schedule_factor(options, 0, 100) == 1
    assert schedule_factor(options, 50, 100) == pytest.approx(0.5**0.9)
    assert schedule_factor(options, 100, 100) == 0


def test_a_warmup_that_jumps_is_the_published_rate():
    options = OptimizerOptions(warmup_steps=5000, warmup="jump")
    assert schedule_factor(options, 0, 100_000) == 0
    assert schedule_factor(options, 4999, 100_000) == pytest.approx(4999 / 5000)
    # "jump to .955x": the poly schedule has been falling all along
    assert schedule_factor(options, 5000, 100_000) == pytest.approx(0.95**0.9)
    assert schedule_factor(options, 5000, 100_000) == pytest.approx(0.955, abs=1e-3)
    with pytest.raises(ValidationError, match="read only with warmup_steps"):
        OptimizerOptions(warmup="jump")


def test_warmup_rises_linearly_under_any_schedule():
    options = OptimizerOptions(schedule="constant", warmup_steps=4)
    assert [schedule_factor(options, s, 10) for s in range(5)] == [0.25, 0.5, 0.75, 1, 1]


def test_groups_hold_each_parameter_once_with_its_rate():
    segmenter = Segmenter(ModelOptions(encoder="resnet18", width=4), CITYSCAPES)
    options = SegmenterOptimizerOptions(lr=0.1, head_multiplier=10)
    optimizer = build_optimizer(segmenter_groups(segmenter, options), options)
    listed = [p for g in optimizer.param_groups for p in g["params"]]
    assert len(listed) == len(set(listed)) == len(list(segmenter.parameters()))
    assert type(optimizer) is torch.optim.SGD
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 1.0]
    set_learning_rate(optimizer, 0.5)
    assert [g["lr"] for g in optimizer.param_groups] == [0.05, 0.5]


def test_a_parameter_listed_twice_is_refused():
    layer = nn.Linear(2, 2)
    group = {"params": [layer.weight, layer.weight], "lr": 1.0, "base_lr": 1.0}
    with pytest.raises(ValueError, match="more than once"):
        build_optimizer([group], OptimizerOptions())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_rules_by_name(name, kind):
    layer = nn.Linear(2, 2)
    groups = [{"params": list(layer.parameters()), "lr": 1e-3, "base_lr": 1e-3}]
    options = OptimizerOptions(name=name, lr=1e-3, weight_decay=0.01, betas=(0.8, 0.9))
    optimizer = build_optimizer(groups, options)
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["weight_decay"] == 0.01
    if name != "sgd":
        assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)
