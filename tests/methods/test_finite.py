"""A gradient that is not finite is refused before the update, with the term that it came from."""

from __future__ import annotations

import pytest
import torch

from clan.losses.alignment import alignment_map
from clan.losses.entropy import entropy_loss, robust_entropy_loss
from clan.methods import Progress
from clan.methods.finite import NotFinite
from clan.optim.options import OptimizerOptions
from tests.methods.helpers import batch, build, parameters

START = Progress(0, 10)
NAMES = ("source_only", "minent", "tan", "clan", "mcd", "fcns_wild", "dacs")


@pytest.mark.parametrize("name", NAMES)
def test_no_network_steps_by_a_gradient_that_is_not_finite(name: str) -> None:
    method = build(name)
    with torch.no_grad():
        first = next(p for n, p in method.segmenter.named_parameters() if "classifiers" in n)
        first.view(-1)[0] = float("inf")
    before = parameters(method)
    with pytest.raises(NotFinite, match=r"gradient of the segmenter.* is NaN .*loss_seg (nan|inf)"):
        method.step(batch(1), batch(2), START)
    after = parameters(method)
    assert all(torch.equal(before[k], after[k]) for k in before if not k.startswith("teacher"))


def test_the_network_whose_gradient_broke_is_named() -> None:
    method = build("tan", lambda_adv=0)
    with torch.no_grad():
        method.discriminator.convs[0].weight.view(-1)[0] = float("nan")
    with pytest.raises(NotFinite, match=r"gradient of the segmenter and the discriminator is NaN"):
        method.step(batch(1), batch(2), START)


@pytest.mark.parametrize("distance", ["cosine", "l1", "js"])
def test_gradients_of_certain_predictions_are_finite(distance: str) -> None:
    """Softmaxes of far logits are 0 and 1, where the slope of p log p is infinite."""
    z1 = torch.tensor([[200.0, 0, -200]]).view(1, 3, 1, 1).requires_grad_()
    z2 = torch.tensor([[-200.0, 0, 200]]).view(1, 3, 1, 1).requires_grad_()
    for other in (z2, z1):
        alignment_map(z1.softmax(1), other.softmax(1), distance).sum().backward()
        assert z1.grad is not None
        assert z1.grad.isfinite().all()


def test_one_class_has_no_entropy() -> None:
    z = torch.zeros(1, 1, 2, 2, requires_grad=True)
    for loss in (entropy_loss(z.softmax(1)), robust_entropy_loss(z.softmax(1), 2.0)):
        assert loss.item() == pytest.approx(0, abs=1e-12)
        loss.backward()
        assert z.grad is not None
        assert z.grad.isfinite().all()


@pytest.mark.parametrize("betas", [(0.9, 1.0), (1.5, 0.9), (-0.1, 0.9)])
def test_betas_without_an_average_are_refused(betas: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"betas\.\d\n.*(less than 1|greater than or equal to 0)"):
        OptimizerOptions(name="adam", betas=betas)
