"""MCD's three steps against the paper's formulas, and where their gradients land."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clan.losses.alignment import classifier_discrepancy
from clan.methods import Progress
from clan.optim.options import OptimOptions, SegmenterOptimizerOptions
from tests.methods.helpers import batch, build, parameters

START = Progress(0, 10)


def parts(method) -> tuple[list, list]:
    """Return the parameters of E and of the classifiers."""
    g = method.segmenter
    return list(g.encoder.parameters()), list(g.classifiers.parameters())


def test_discrepancy_is_the_mean_absolute_difference():
    p1, p2 = torch.zeros(1, 4, 1, 2), torch.zeros(1, 4, 1, 2)
    p1[0, 0], p2[0, 0, 0, 0], p2[0, 3, 0, 1] = 1, 1, 1
    # equal in one pixel, sure of different classes in the other: 2 of 8 numbers differ by 1
    assert classifier_discrepancy(p1, p2).item() == pytest.approx(0.25)
    assert classifier_discrepancy(p1, p1).item() == 0


def test_discrepancy_is_float32():
    p = torch.randn(1, 3, 2, 2).softmax(1).bfloat16()
    assert classifier_discrepancy(p, p.flip(1)).dtype == torch.float32


def test_step_a_reaches_all_b_the_classifiers_and_c_the_encoder():
    mcd = build("mcd", batch_norm="source")
    before = parameters(mcd)
    encoder, classifiers = parts(mcd)
    for part, learns, stands in (
        (lambda: mcd.learn_source(batch(1)), encoder + classifiers, []),
        (lambda: mcd.raise_discrepancy(batch(1), batch(2)), classifiers, encoder),
        (lambda: mcd.lower_discrepancy(batch(2)), encoder, classifiers),
    ):
        mcd.start_update(START)
        part()
        assert all(p.grad is not None for p in learns)
        assert all(p.grad is None for p in stands)
        assert all(p.requires_grad for p in encoder + classifiers)
    assert all(torch.equal(before[n], v) for n, v in parameters(mcd).items())


@pytest.mark.parametrize("num_k", [1, 3])
def test_an_update_is_the_papers_steps(num_k):
    options = {"batch_norm": "frozen", "num_k": num_k}
    mcd, restated = build("mcd", **options), build("mcd", **options)
    source, target = batch(1), batch(2)
    restated.eval()
    encoder, classifiers = parts(restated)

    def l_seg():
        return sum(
            F.cross_entropy(z, source["label"].long()) for z in restated.segmenter(source["image"])
        )

    def d():
        p1, p2 = (z.softmax(1) for z in restated.segmenter(target["image"]))
        return (p1 - p2).abs().mean()

    def descend(loss, learners):
        for p, g in zip(learners, torch.autograd.grad(loss, learners), strict=True):
            p.data -= 0.1 * g

    descend(l_seg(), encoder + classifiers)
    descend(l_seg() - d(), classifiers)
    for _ in range(num_k):
        last = d()
        descend(last, encoder)
    scalars = mcd.step(source, target, START)
    for name, value in parameters(mcd).items():
        torch.testing.assert_close(
            value, parameters(restated)[name], rtol=1e-4, atol=1e-6, msg=name
        )
    torch.testing.assert_close(scalars["discrepancy"], last.detach())


def test_what_stands_still_is_moved_by_neither_momentum_nor_decay():
    rule = SegmenterOptimizerOptions(lr=0.1, momentum=0.9, weight_decay=0.1, schedule="constant")
    mcd = build("mcd", OptimOptions(segmenter=rule))
    mcd.step(batch(1), batch(2), START)
    encoder, classifiers = parts(mcd)
    for part, stands in (
        (lambda: mcd.raise_discrepancy(batch(1), batch(2)), encoder),
        (lambda: mcd.lower_discrepancy(batch(2)), classifiers),
    ):
        before = [p.detach().clone() for p in stands]
        mcd.start_update(START)
        part()
        mcd.finish_update()
        assert all(torch.equal(a, b) for a, b in zip(before, stands, strict=True))
