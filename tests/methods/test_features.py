"""The adversaries on features: their losses in closed form, and where gradients land."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric

from clan.losses.adversarial import confusion_loss
from clan.losses.shares import cell_shares, class_shares, size_bounds, size_constraint_loss
from clan.methods import METHODS, Progress
from clan.models.discriminator import FeatureDiscriminator
from clan.models.segmenter import ModelOptions, Segmenter
from tests.methods.helpers import CLASSES, PLAIN, batch, build, parameters

START = Progress(0, 10)
NAMES = ("fcns_wild", "cycada_feature", "cross_city")
BCE = F.binary_cross_entropy_with_logits


# --- losses -----------------------------------------------------------------------------------


def test_confusion_is_least_where_d_cannot_tell():
    assert confusion_loss(torch.zeros(1, 1, 2, 2)).item() == pytest.approx(math.log(2))
    z = torch.randn(2, 1, 3, 3)
    torch.testing.assert_close(confusion_loss(z), BCE(z, torch.full_like(z, 0.5)))


def test_class_shares_are_of_labelled_pixels():
    label = torch.tensor([[[0, 0, 1, 255]], [[255, 255, 255, 255]]], dtype=torch.uint8)
    expected = torch.tensor([[2 / 3, 1 / 3, 0], [0, 0, 0]])
    torch.testing.assert_close(class_shares(label, 3), expected)


def test_bounds_are_percentiles_over_the_images_that_have_the_class():
    sizes = np.linspace(0.1, 0.5, 9)
    shares = torch.zeros(20, 2)
    shares[3:12, 0] = torch.tensor(sizes, dtype=torch.float32)
    lower, upper = size_bounds(shares)
    assert lower.tolist() == pytest.approx([np.quantile(sizes, 0.1), 0])
    assert upper.tolist() == pytest.approx([np.quantile(sizes, 0.9), 1])


def maps(*sizes: float) -> torch.Tensor:
    """Return softmax maps (1, C, 1, 10) where class c is certain in ``sizes[c]`` of the pixels."""
    order = [c for c, size in enumerate(sizes) for _ in range(round(10 * size))]
    return F.one_hot(torch.tensor(order), len(sizes)).T.float()[None, :, None]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((0.5, 0.5, 0.0), 0.0),  # within bounds; the third class is absent and may be
        ((0.2, 0.8, 0.0), (math.log(0.4 / 0.2) + math.log(0.8 / 0.6)) / 2),
        ((0.9, 0.1, 0.0), (math.log(0.9 / 0.6) + math.log(0.4 / 0.1)) / 2),
        ((0.5, 0.4, 0.1), math.log(0.4 / 0.1) / 3),
    ],
)
def test_a_class_out_of_bounds_costs_the_logarithm_of_the_excess(sizes, expected):
    lower, upper = torch.full((3,), 0.4), torch.full((3,), 0.6)
    loss = size_constraint_loss(maps(*sizes), lower, upper, presence=0.1)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_a_class_that_hardly_wins_a_pixel_or_is_unknown_is_free():
    lower, upper = torch.tensor([0.4, 0.4, 0.0]), torch.tensor([0.6, 0.6, 1.0])
    assert size_constraint_loss(maps(0.5, 0.1, 0.4), lower, upper, presence=0.5).item() == 0


def test_the_constraint_has_finite_gradients_for_a_class_that_vanished():
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 0] = 500
    logits.requires_grad_()
    bound = torch.full((3,), 0.4)
    size_constraint_loss(logits.softmax(1), bound, bound, presence=0.0).backward()
    assert logits.grad.isfinite().all()


def test_cells_count_their_own_pixels():
    label = torch.full((1, 4, 4), 255, dtype=torch.uint8)
    label[0, :2, :2] = torch.tensor([[0, 0], [1, 255]])
    shares = cell_shares(label, 2, (2, 2))
    assert shares[0, :, 0, 0].tolist() == [0.5, 0.25]
    assert shares.sum().item() == pytest.approx(0.75)


def test_classifiers_side_by_side_share_nothing():
    d = FeatureDiscriminator(5, 4, outputs=3)
    x = torch.randn(2, 5, 4, 4)
    d(x)[:, 1].sum().backward()
    rows = d.hidden.weight.grad.abs().sum((1, 2, 3)).view(3, 4).sum(1)
    assert rows[1] > 0
    assert rows[0] == rows[2] == 0


# --- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_g_learns_against_a_d_that_stands_still_and_the_other_way_round(name):
    method = build(name, lambda_adv=0.5)
    if name == "cycada_feature":
        method.accuracies.fill_(1)
    if name == "fcns_wild":
        method.remember_sizes(batch(1)["label"])
    before, progress = parameters(method), Progress(5, 10)
    method.start_update(progress)
    shown = method.learn_source(batch(1), progress), method.learn_target(batch(2), progress)
    assert all(p.grad is None for p in method.discriminator.parameters())
    assert all(p.requires_grad for p in method.discriminator.parameters())
    assert all(p.grad is not None for p in method.segmenter.parameters())
    method.start_update(progress)
    method.learn_domains(*shown, last=True)
    assert all(p.grad is None for p in method.segmenter.parameters())
    assert all(p.grad is not None for p in method.discriminator.parameters())
    assert all(torch.equal(before[n], v) for n, v in parameters(method).items())


@pytest.mark.parametrize("name", NAMES)
def test_in_the_first_source_steps_only_d_listens_to_the_target(name):
    a, b = (build(name, source_steps=3, batch_norm="frozen") for _ in range(2))
    for index in range(3):
        a.step(batch(1), batch(2), Progress(index, 9))
        b.step(batch(1), batch(3), Progress(index, 9))
    for key, value in parameters(a).items():
        same = torch.equal(value, parameters(b)[key])
        assert same == key.startswith("segmenter"), key
    assert (a.strength(Progress(2, 9)), a.strength(Progress(3, 9))) == (0.0, 1.0)


def stepped_as(method, restated, g_loss, d_loss):
    """See that a step moved G and D down the gradients of the restated losses."""
    start, g, d = parameters(restated), restated.segmenter, restated.discriminator
    gradients = {}
    for prefix, network, loss in (("segmenter", g, g_loss), ("discriminator", d, d_loss)):
        names, learners = zip(*network.named_parameters(prefix=prefix), strict=True)
        found = torch.autograd.grad(loss, learners, retain_graph=True, allow_unused=True)
        gradients |= dict(zip(names, found, strict=True))
    for name, value in parameters(method).items():
        expected = start[name] - 0.1 * (0.0 if gradients[name] is None else gradients[name])
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6, msg=name)


def against(z, domain, weight=1.0):
    """Return BCE against a domain, 0 source or 1 target, in plain words."""
    return -(weight * torch.log(torch.sigmoid(z if domain else -z))).mean()


def test_an_fcns_wild_step_is_its_formula():
    options = {"lambda_adv": 0.3, "lambda_size": 0.2, "presence": 0, "batch_norm": "frozen"}
    method, restated = build("fcns_wild", **options), build("fcns_wild", **options)
    source, target = batch(1), batch(2)
    restated.eval()
    g, d = restated.segmenter, restated.discriminator
    (z1, z2), (t1, t2) = g(source["image"]), g(target["image"])
    f_s, f_t = g.encode(source["image"])[-1], g.encode(target["image"])[-1]
    confused = [BCE(d(f), torch.full_like(d(f), 0.5)) for f in (f_s, f_t)]
    shares = np.stack([[(y == c).double().mean() for c in range(3)] for y in source["label"]])
    size = 0.0
    for logits in t1 + t2:
        p, excess = logits.softmax(0), []
        for c in range(3):
            if (p.argmax(0) == c).any():
                low, high = np.quantile(shares[:, c], (0.1, 0.9))
                log = p[c].mean().log()
                excess.append(F.relu(math.log(low) - log) + F.relu(log - math.log(high)))
        size = size + sum(excess) / len(excess) / 2
    loss = F.cross_entropy(z1 + z2, source["label"].long()) + 0.3 * sum(confused) + 0.2 * size
    d_s, d_t = d(f_s.detach()), d(f_t.detach())
    l_d = BCE(d_s, torch.zeros_like(d_s)) / 2 + BCE(d_t, torch.ones_like(d_t)) / 2
    method.step(source, target, START)
    stepped_as(method, restated, loss, l_d)


def test_sizes_are_those_of_the_newest_source_images():
    method = build("fcns_wild", remembered=3)
    labels = torch.arange(3, dtype=torch.uint8).repeat(2)[:5].view(5, 1, 1).expand(5, 2, 2)
    for label in (labels[:2], labels[2:4], labels[4:]):
        method.remember_sizes(label)
    # 0 1 | 2 0 | 1 were seen: images 3, 4 and 2 of them fill the ring
    torch.testing.assert_close(method.sizes, torch.eye(3)[[0, 1, 2]])
    assert method.seen.item() == 5


@pytest.mark.parametrize("discriminate", ["features", "scores"])
def test_a_cycada_step_is_its_formula(discriminate):
    options = {"lambda_adv": 0.3, "batch_norm": "frozen", "discriminate": discriminate}
    method, restated = (build("cycada_feature", **options) for _ in range(2))
    # a D that has been right so far
    method.accuracies.fill_(0.9)
    restated.eval()
    g, d = restated.segmenter, restated.discriminator
    source, target = batch(1), batch(2)
    z_s, z_t = sum(g(source["image"])), sum(g(target["image"]))
    of_features = discriminate == "features"
    x_s = g.encode(source["image"])[-1] if of_features else z_s
    x_t = g.encode(target["image"])[-1] if of_features else z_t
    # G wants the target to be taken for the source
    g_loss = F.cross_entropy(z_s, source["label"].long()) + 0.3 * against(d(x_t), 0)
    d_loss = against(d(x_s.detach()), 0) / 2 + against(d(x_t.detach()), 1) / 2
    method.step(source, target, Progress(5, 10))
    stepped_as(method, restated, g_loss, d_loss)


def test_a_cross_city_step_is_its_formula():
    options = {"lambda_adv": 0.3, "lambda_class": 0.7, "batch_norm": "frozen"}
    method, restated = (build("cross_city", **options) for _ in range(2))
    restated.eval()
    g, d = restated.segmenter, restated.discriminator
    source, target = batch(1), batch(2)
    z_s, z_t = sum(g(source["image"])), sum(g(target["image"]))
    f_s, f_t = g.encode(source["image"])[-1], g.encode(target["image"])[-1]
    shares = [cell_shares(y, 3, f_s.shape[-2:]) for y in (source["label"], z_t.argmax(1))]

    def by_class(z, domain, share):
        return sum(against(z[:, 1 + c], domain, share[:, c]) for c in range(3))

    d_t = d(f_t)
    fooled = 0.3 * against(d_t[:, 0], 0) + 0.7 * by_class(d_t, 0, shares[1])
    g_loss = F.cross_entropy(z_s, source["label"].long()) + fooled
    d_loss = 0.0
    for f, domain, share in ((f_s, 0, shares[0]), (f_t, 1, shares[1])):
        z = d(f.detach())
        d_loss = d_loss + (against(z[:, 0], domain) + by_class(z, domain, share)) / 2
    method.step(source, target, START)
    stepped_as(method, restated, g_loss, d_loss)


@pytest.mark.parametrize("discriminate", ["features", "scores"])
def test_cycadas_gate_follows_ds_accuracy(discriminate):
    options = {"window": 4, "threshold": 0.6, "lambda_adv": 1.0, "batch_norm": "frozen"}
    method = build("cycada_feature", discriminate=discriminate, **options)
    assert method.gate(Progress(0, 10)).item() == 0
    method.accuracies.copy_(torch.tensor([0.9, 0.9, 0.1, 0.1]))
    # so far only the first two are known; later the mean is 0.5
    assert method.gate(Progress(2, 10)).item() == 1
    assert method.gate(Progress(4, 10)).item() == 0

    def reached(progress: Progress) -> bool:
        method.start_update(progress)
        method.learn_target(batch(2), progress)
        return any(bool(p.grad.abs().sum() > 0) for p in method.segmenter.encoder.parameters())

    assert reached(Progress(2, 10))
    assert not reached(Progress(4, 10))


def test_cycada_remembers_the_accuracies_of_the_last_updates():
    method = build("cycada_feature", window=2)
    seen = [method.step(batch(1), batch(2), Progress(i, 9))["d_accuracy"] for i in range(3)]
    torch.testing.assert_close(method.accuracies, torch.stack([seen[2], seen[1]]))


def test_cross_citys_class_loss_counts_each_class_where_it_is():
    method = build("cross_city")
    logits, shares = torch.randn(1, 4, 2, 3), torch.rand(1, 3, 2, 3)
    by_hand = 0.0
    for c in range(3):
        z = logits[:, 1 + c]
        by_hand += (shares[:, c] * BCE(z, torch.ones_like(z), reduction="none")).mean()
    torch.testing.assert_close(method.class_loss(logits, 1.0, shares), by_hand)
    overall = BCE(logits[:, :1], torch.ones(1, 1, 2, 3))
    torch.testing.assert_close(method.domain_loss(logits, 1.0, shares), overall + by_hand)


def test_cross_city_takes_source_cells_from_labels_and_target_cells_from_its_prediction():
    method = build("cross_city", batch_norm="frozen")
    source, target = batch(1), batch(2)
    method.start_update(START)
    shown_s, shown_t = method.learn_source(source, START), method.learn_target(target, START)
    grid = tuple(shown_s.x.shape[-2:])
    torch.testing.assert_close(shown_s.shares, cell_shares(source["label"], 3, grid))
    method.eval()
    predicted = sum(method.segmenter(target["image"])).argmax(1)
    torch.testing.assert_close(shown_t.shares, cell_shares(predicted, 3, grid))


@pytest.mark.parametrize("name", [*NAMES, "mcd"])
def test_vgg16_is_judged_by_its_fc7(name):
    model = ModelOptions(encoder="vgg16", decoder="fcn8s", width=4, classifiers=2)
    options = {} if name == "mcd" else {"discriminator_width": 4}
    torch.manual_seed(0)
    method = METHODS[name](Segmenter(model, CLASSES), METHODS[name].Options(**options), PLAIN)
    method.setup(Fabric(accelerator="cpu", devices=1))
    scalars = method.step(batch(1), batch(2), START)
    assert all(value.isfinite() for value in scalars.values())
    if name != "mcd":
        assert method.discriminator.hidden.in_channels == 64 * 4
