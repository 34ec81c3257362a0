"""MinEnt and AdvEnt: entropy as a loss, and as what D reads."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from clan.losses.entropy import entropy_loss, information_map, robust_entropy_loss
from clan.methods import Progress
from tests.methods.helpers import batch, build, parameters

START = Progress(0, 10)


@pytest.mark.parametrize("classes", [2, 19])
def test_entropy_is_one_for_a_uniform_prediction_and_zero_for_a_certain_one(classes):
    uniform = torch.full((1, classes, 2, 2), 1 / classes)
    certain = torch.zeros(1, classes, 2, 2)
    certain[:, 1] = 1
    assert entropy_loss(uniform).item() == pytest.approx(1, rel=1e-6)
    assert entropy_loss(certain).item() == 0
    assert information_map(uniform).shape == uniform.shape
    torch.testing.assert_close(information_map(uniform), uniform)


def test_information_follows_its_formula():
    p = torch.randn(2, 5, 3, 4).softmax(1)
    expected = -p * torch.log2(p) / math.log2(5)
    torch.testing.assert_close(information_map(p), expected)
    torch.testing.assert_close(entropy_loss(p), expected.sum(1).mean())
    assert information_map(p.bfloat16()).dtype == torch.float32


def test_the_entropy_of_an_underflown_probability_has_a_finite_gradient():
    logits = torch.tensor([0.0, 300.0]).view(1, 2, 1, 1).requires_grad_()
    entropy_loss(logits.softmax(1)).backward()
    assert logits.grad.isfinite().all()


def test_a_minent_step_is_its_formula():
    options = {"lambda_ent": 0.3, "batch_norm": "frozen"}
    method, restated = build("minent", **options), build("minent", **options)
    source, target = batch(1), batch(2)
    start = parameters(restated)
    restated.eval()
    z1, z2 = restated.segmenter(source["image"])
    t1, t2 = restated.segmenter(target["image"])
    p = (t1 + t2).softmax(1)
    entropy = -(p * p.log()).sum(1).mean() / math.log(3)
    (F.cross_entropy(z1 + z2, source["label"].long()) + 0.3 * entropy).backward()
    gradients = {n: p.grad for n, p in restated.named_parameters()}
    scalars = method.step(source, target, START)
    for name, value in parameters(method).items():
        expected = start[name] - 0.1 * gradients[name]
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6, msg=name)
    torch.testing.assert_close(scalars["entropy"], entropy.detach())


def test_advent_is_tan_but_for_what_d_reads():
    advent, tan = build("advent", lambda_adv=0), build("tan", lambda_adv=0)
    seen = []
    advent.discriminator.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    advent.step(batch(1), batch(2), START)
    tan.step(batch(1), batch(2), START)
    # G on the target, then D on source and target
    assert len(seen) == 3
    torch.testing.assert_close(seen[0], seen[2])
    assert all(x.min() >= 0 and x.sum(1).max() <= 1 + 1e-5 for x in seen)
    for name, value in parameters(advent).items():
        same = torch.equal(value, parameters(tan)[name])
        assert same == name.startswith("segmenter"), name


def test_advents_adversary_reaches_g_through_the_entropy():
    advent = build("advent", lambda_adv=0.5)
    advent.start_update(START)
    advent.fool_discriminator(batch(2), START, last=True)
    assert all(p.grad is None for p in advent.discriminator.parameters())
    assert all(p.grad.abs().sum() > 0 for p in advent.segmenter.classifiers.parameters())


def test_the_robust_entropy_is_its_formula() -> None:
    torch.manual_seed(0)
    p = torch.randn(2, 5, 3, 4).softmax(dim=1)
    entropy = -(p * p.log()).sum(dim=1) / math.log(5)
    wanted = ((entropy**2 + 1e-8) ** 2.0).mean()
    torch.testing.assert_close(robust_entropy_loss(p, 2.0), wanted)
    certain = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    robust_entropy_loss(certain, 2.0).backward()
    assert certain.grad is not None
    assert certain.grad.isfinite().all()
