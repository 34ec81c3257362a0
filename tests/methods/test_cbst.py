"""CBST's rounds: what is labelled, what is learnt, and how the training is divided."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clan.losses.pseudo_labels import balanced_labels, soft_labels
from clan.methods import METHODS, Progress, Reading, Stage
from tests.methods.helpers import batch, build, parameters

START = Progress(0, 10)
ROUND = Stage("round_2", 5, prepared=True)
Options = METHODS["cbst"].Options


class Two:
    """Both domains of a stage, in memory."""

    def __init__(self) -> None:
        self.labels: dict[str, torch.Tensor] = {}
        self.images = [batch(seed, images=1, labelled=False) for seed in (2, 3, 4)]
        for number, image in enumerate(self.images):
            image["name"] = [f"t{number}"]

    def source(self):
        return iter([batch(1)])

    def target(self):
        return iter(self.images)

    def write_label(self, name, label):
        self.labels[name] = label


def begin(method, stage=ROUND) -> Two:
    domains = Two()
    method.segmenter.eval()
    with torch.no_grad():
        method.begin_stage(stage, domains)
    return domains


def test_the_training_is_divided_into_source_steps_and_rounds():
    options = Options(source_steps=10, rounds=3)
    stages = options.stages(30)
    assert [(s.name, s.steps) for s in stages] == [
        ("source", 10),
        ("round_1", 6),
        ("round_2", 7),
        ("round_3", 7),
    ]
    assert [s.prepared for s in stages] == [False, True, True, True]
    assert [s.name for s in Options(rounds=2).stages(9)] == ["round_1", "round_2"]
    with pytest.raises(ValueError, match=r"leaves 2 for 3 rounds after method\.source_steps 10"):
        options.stages(12)


def test_the_portion_grows_to_its_end():
    options = Options()
    portions = [options.round_portion(r) for r in (1, 2, 6, 7, 8)]
    assert portions == pytest.approx([0.2, 0.25, 0.45, 0.5, 0.5])


def test_a_round_labels_the_portion_of_each_class():
    method = build("cbst", portion=0.2, portion_step=0.1)
    domains = begin(method)
    p = torch.cat([method.confidence(image["image"]) for image in domains.images])
    labels = torch.stack([domains.labels[f"t{i}"] for i in range(3)])
    assert torch.equal(labels, balanced_labels(p, method.thresholds))
    best, winner = p.max(dim=1)
    for c in range(3):
        won = best[winner == c]
        if len(won):
            share = (won >= method.thresholds[c]).float().mean().item()
            assert 0.3 <= share <= 0.3 + 0.05 + 2 / len(won)


def test_rare_classes_are_those_with_the_fewest_target_pixels():
    method = build("cbst", rare_classes=2)
    domains = begin(method)
    p = torch.cat([method.confidence(image["image"]) for image in domains.images])
    pixels = p.argmax(1).flatten().bincount(minlength=3).tolist()
    expected = sorted(range(3), key=lambda c: (pixels[c] == 0, pixels[c], c))[:2]
    assert method.reading(ROUND) == Reading(True, tuple(expected), 0.8)
    assert method.reading(Stage("source", 3)) == Reading()


def test_beginning_a_stage_again_changes_nothing():
    method = build("cbst", spatial_prior=True)
    first = begin(method)
    state = {k: v.clone() for k, v in method.state_dict().items()}
    again = begin(method)
    assert all(torch.equal(state[k], v) for k, v in method.state_dict().items())
    assert all(torch.equal(first.labels[n], again.labels[n]) for n in first.labels)


def test_the_prior_is_where_classes_are_in_the_source():
    method = build("cbst", spatial_prior=True)
    begin(method)
    prior = method.prior
    torch.testing.assert_close(prior.amax((1, 2)), torch.ones(3))
    cells = F.one_hot(batch(1)["label"].long(), 3).permute(0, 3, 1, 2).float().mean(0)
    expected = F.adaptive_avg_pool2d(cells, prior.shape[-2:])
    expected = expected / expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(prior, expected)
    image = batch(2)["image"]
    plain = build("cbst")
    plain.segmenter.eval()
    full = F.interpolate(prior[None], (32, 32), mode="bilinear")
    torch.testing.assert_close(method.confidence(image), plain.confidence(image) * full)


@pytest.mark.parametrize("regulariser", ["none", "mrkld", "lrent"])
def test_a_step_of_a_round_is_its_formula(regulariser):
    options = {
        "lambda_target": 0.5,
        "regulariser": regulariser,
        "batch_norm": "frozen",
        **({} if regulariser == "none" else {"alpha": 0.3}),
    }
    method, restated = build("cbst", **options), build("cbst", **options)
    for each in (method, restated):
        begin(each)
    source, target = batch(1), batch(2)
    target["label"][:, ::2] = 255
    counted = target["label"] != 255
    start = parameters(restated)
    z1, z2 = restated.segmenter(source["image"])
    t1, t2 = restated.segmenter(target["image"])
    log_p = (t1 + t2).log_softmax(1)
    y = F.one_hot(torch.where(counted, target["label"], 0).long(), 3).permute(0, 3, 1, 2)
    if regulariser == "lrent":
        y = soft_labels((t1 + t2).softmax(1).detach(), restated.thresholds, 0.3)
    loss = -(y * log_p).sum(1)
    if regulariser == "mrkld":
        loss = loss - 0.3 * log_p.mean(1)
    l_seg = F.cross_entropy(z1 + z2, source["label"].long())
    (l_seg + 0.5 * loss[counted].mean()).backward()
    gradients = {n: p.grad for n, p in restated.named_parameters()}
    scalars = method.step(source, target, START)
    for name, value in parameters(method).items():
        if name.startswith("segmenter"):
            expected = start[name] - 0.1 * gradients[name]
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6, msg=name)
    assert scalars["pseudo_share"].item() == pytest.approx(0.5)


def test_the_labelling_network_of_lrent_is_that_of_the_rounds_start():
    method = build("cbst", regulariser="lrent")
    assert {k.split(".")[0] for k in method.state_dict()} > {"segmenter", "labeller"}
    before = {k: v.clone() for k, v in method.segmenter.state_dict().items()}
    begin(method)
    method.step(batch(1), batch(2), START)
    after = method.segmenter.state_dict()
    held = method.labeller.state_dict()
    assert all(torch.equal(held[k], before[k]) for k in held)
    assert any(not torch.equal(after[k], before[k]) for k in held)
    assert not any(p.requires_grad for p in method.labeller.parameters())


def test_before_the_rounds_the_target_moves_nothing_but_statistics():
    a, b = build("cbst", batch_norm="both"), build("cbst", batch_norm="both")
    for seed, method in ((2, a), (3, b)):
        scalars = method.step(batch(1), batch(seed, labelled=False), START)
        assert "loss_target" not in scalars
    for name, value in parameters(a).items():
        assert torch.equal(value, parameters(b)[name])
    means = "segmenter.encoder.bn1.running_mean"
    assert not torch.equal(a.state_dict()[means], b.state_dict()[means])
