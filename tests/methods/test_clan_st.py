"""CLAN-ST: when it is CLAN, what the teacher labels, and what G learns from."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clan.losses.alignment import alignment_map
from clan.losses.pseudo_labels import (
    align_shares,
    argmax_labels,
    argmax_shares,
    balanced_labels,
    class_diversity,
)
from clan.methods import METHODS, Progress, Stage
from clan.methods.clan_st import SHARES_DECAY
from clan.models.batchnorm import POLICY
from clan.optim.options import OptimOptions
from tests.methods.helpers import PLAIN, batch, build, parameters
from tests.methods.test_cbst import Two

ROUND = Stage("round_1", 5, prepared=True)
LATER = Progress(6, 10)
Options = METHODS["clan_st"].Options
PLAIN_VIEW = {"mix": False, "strong_jitter": 0.0, "strong_blur": 0.0}


def begun(stage=ROUND, optim=PLAIN, **options):
    """Return a method in a round, its teacher's thresholds chosen."""
    method = build("clan_st", optim, **options)
    method.segmenter.eval()
    with torch.no_grad():
        method.begin_stage(stage, Two())
    return method


def step(method, progress=LATER):
    return method.step(batch(1), batch(2, labelled=False), progress)


def test_the_training_is_divided_into_clan_and_rounds():
    stages = Options(clan_steps=10, rounds=3).stages(30)
    found = [(s.name, s.steps, s.prepared) for s in stages]
    rounds = [("round_1", 6, True), ("round_2", 7, True), ("round_3", 7, True)]
    assert found == [("clan", 10, False), *rounds]
    assert [s.name for s in Options(rounds=2).stages(9)] == ["round_1", "round_2"]
    with pytest.raises(ValueError, match=r"leaves 2 for 3 rounds after method\.clan_steps 10"):
        Options(clan_steps=10, rounds=3).stages(12)


def test_the_portion_grows_to_its_end():
    portions = [Options().round_portion(r) for r in (1, 2, 5, 6)]
    assert portions == pytest.approx([0.3, 0.4, 0.7, 0.7])


def test_the_first_steps_are_clans():
    ours, clan = build("clan_st", clan_steps=3), build("clan")
    clan.load_state_dict(ours.state_dict(), strict=False)
    for index in range(3):
        progress = Progress(index, 10)
        a, b = (m.step(batch(1), batch(2, labelled=False), progress) for m in (ours, clan))
        assert a.keys() == b.keys()
    theirs = parameters(clan)
    own = {k: v for k, v in parameters(ours).items() if not k.startswith("teacher.")}
    assert all(torch.equal(own[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("confidence", ["agreement", "mean", "ensemble"])
def test_confidence(confidence):
    method = begun(confidence=confidence)
    image = batch(2)["image"]
    with torch.no_grad():
        z1, z2 = method.teacher(image)
    p1, p2 = z1.softmax(1), z2.softmax(1)
    expected = {
        "agreement": (p1 + p2) / 2 * (1 - alignment_map(p1, p2)),
        "mean": (p1 + p2) / 2,
        "ensemble": (z1 + z2).softmax(1),
    }[confidence]
    assert torch.allclose(method.confidence(image), expected, atol=1e-6)


def test_a_round_labels_its_portion_of_each_class_on_all_target_images():
    method = begun(portion=0.4)
    q = torch.cat([method.confidence(image["image"]) for image in Two().images])
    best, winner = q.max(dim=1)
    for c in range(3):
        won = best[winner == c]
        if len(won):
            share = (won >= method.thresholds[c]).float().mean().item()
            assert 0.4 <= share <= 0.4 + 0.05 + 2 / len(won)


@pytest.mark.parametrize(("label", "give"), [("ratio", balanced_labels), ("winner", argmax_labels)])
def test_labels_are_given_as_asked(label, give, monkeypatch):
    method = begun(label=label, batch_norm="frozen", **PLAIN_VIEW)
    method.thresholds.copy_(torch.tensor([0.6, 0.3, 0.05]))
    target = batch(2, labelled=False)
    learnt, own = [], method.segmentation_loss

    def watched(logits, label, domain):
        learnt.append(label.clone())
        return own(logits, label, domain)

    monkeypatch.setattr(method, "segmentation_loss", watched)
    expected = give(method.confidence(target["image"]), method.thresholds)
    method.step(batch(1), target, LATER)
    # the source's labels first
    assert torch.equal(learnt[1], expected)


def test_fixed_thresholds_are_one_for_all():
    method = begun(thresholds="fixed", threshold=0.8)
    assert torch.allclose(method.thresholds, torch.tensor(0.8))


def test_the_first_shares_are_those_of_all_target_images():
    method = begun(keep_shares=1.0)
    q = torch.cat([method.confidence(image["image"]) for image in Two().images])
    expected = F.one_hot(q.argmax(dim=1), 3).float().mean(dim=(0, 1, 2))
    assert torch.allclose(method.first_shares, expected)
    assert torch.equal(method.shares, method.first_shares)
    # a later round starts from the same
    method.shares.fill_(1 / 3)
    with torch.no_grad():
        method.begin_stage(Stage("round_2", 5, prepared=True), Two())
    assert torch.allclose(method.first_shares, expected)
    assert torch.allclose(method.shares, torch.tensor(1 / 3))


def test_shares_follow_the_target_and_lead_its_labels_back():
    plain = {"thresholds": "fixed", "threshold": 0.3, "batch_norm": "frozen", **PLAIN_VIEW}
    method, free = begun(keep_shares=1.0, **plain), begun(**plain)
    free.load_state_dict(method.state_dict())
    image = batch(2)["image"]
    q = method.confidence(image)
    assert torch.equal(free.aligned_confidence(image), q)
    # the class that wins most had little when the rounds began
    much = int(argmax_shares(q).argmax())
    method.first_shares.copy_(F.one_hot(torch.tensor(much), 3) * -0.4 + 0.45)
    before = method.shares.clone()
    # half of the pixels are labelled
    thresholds = method.thresholds.fill_(q.amax(dim=1).median())
    found = step(method)["pseudo_share"]
    expected = before + (1 - SHARES_DECAY) * (argmax_shares(q) - before)
    assert torch.allclose(method.shares, expected, atol=1e-6)
    led = align_shares(q, method.first_shares, method.shares, 1.0)
    assert argmax_shares(led)[much] < argmax_shares(q)[much]
    # what is learnt from are the labels of what was led back
    labelled = [(balanced_labels(each, thresholds) != 255).float().mean() for each in (led, q)]
    assert labelled[0] != labelled[1]
    assert torch.isclose(found, labelled[0])


def test_only_the_first_round_takes_g_for_its_teacher():
    for number, same in ((1, True), (2, False)):
        method = build("clan_st")
        with torch.no_grad():
            for parameter in method.segmenter.parameters():
                parameter.add_(0.1)
        method.segmenter.eval()
        with torch.no_grad():
            method.begin_stage(Stage(f"round_{number}", 5, prepared=True), Two())
        pairs = zip(method.teacher.parameters(), method.segmenter.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same


def test_the_teacher_is_a_moving_average_and_has_gs_statistics():
    method = begun(teacher_decay=0.75)
    before = [p.clone() for p in method.teacher.parameters()]
    step(method)
    after = zip(before, method.segmenter.parameters(), method.teacher.parameters(), strict=True)
    for old, new, kept in after:
        assert torch.allclose(kept, 0.75 * old + 0.25 * new, atol=1e-6)
    assert any((a != b).any() for a, b in zip(before, method.teacher.parameters(), strict=True))
    for kept, new in zip(method.teacher.buffers(), method.segmenter.buffers(), strict=True):
        assert torch.equal(kept, new)


def test_a_plain_round_is_the_documented_equation():
    """Without mixing, strong views and weight discrepancy: cross-entropy on both domains."""
    method = begun(**PLAIN_VIEW, lambda_weight=0.0, lambda_target=0.5, batch_norm="frozen")
    reference = build("clan_st", batch_norm="frozen")
    reference.load_state_dict(method.state_dict())
    source, target = batch(1), batch(2, labelled=False)
    scalars = step(method)
    labels = balanced_labels(method.confidence(target["image"]), method.thresholds)
    # the teacher has moved by a hundredth of the step: the labels are those of before
    labels = balanced_labels(reference.confidence(target["image"]), reference.thresholds)
    network = reference.segmenter
    z_s = torch.stack(reference.forward_domain("source", source["image"])).sum(0)
    z_t = torch.stack(reference.forward_domain("target", target["image"])).sum(0)
    loss_s = F.cross_entropy(z_s, source["label"].long())
    loss_t = F.cross_entropy(z_t, labels.long(), ignore_index=255)
    (loss_s + 0.5 * loss_t).backward()
    assert scalars["loss_seg"].item() == pytest.approx(loss_s.item(), rel=1e-5)
    assert scalars["loss_target"].item() == pytest.approx(loss_t.item(), rel=1e-5)
    for own, p in zip(method.segmenter.parameters(), network.parameters(), strict=True):
        assert torch.allclose(own, p.detach() - 0.1 * p.grad, atol=1e-5)


@pytest.mark.parametrize("turns", [1, 2])
def test_in_turn_g_learns_the_target_after_the_source(turns):
    """All are plain gradient steps here (SGD, rate 0.1), each from where the one before ended."""
    options = {**PLAIN_VIEW, "lambda_weight": 0.0, "lambda_target": 0.5, "batch_norm": "frozen"}
    method, reference = begun(turns=turns, **options), build("clan_st", **options)
    reference.load_state_dict(method.state_dict())
    source, target = batch(1), batch(2, labelled=False)
    labels = balanced_labels(reference.confidence(target["image"]), reference.thresholds)
    scalars = step(method)
    network = reference.segmenter
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    both = (
        ("source", source["image"], source["label"], 1.0),
        ("target", target["image"], labels, 0.5),
    )
    losses = []
    for domain, image, label, strength in both * turns:
        logits = torch.stack(reference.forward_domain(domain, image)).sum(0)
        losses.append(F.cross_entropy(logits, label.long(), ignore_index=255))
        optimizer.zero_grad()
        (strength * losses[-1]).backward()
        optimizer.step()
    assert scalars["loss_seg"].item() == pytest.approx(losses[-2].item(), rel=1e-5)
    assert scalars["loss_target"].item() == pytest.approx(losses[-1].item(), rel=1e-5)
    for own, p in zip(method.segmenter.parameters(), network.parameters(), strict=True):
        assert torch.allclose(own, p, atol=1e-5)


def test_an_adversary_that_stays_takes_part_in_the_last_turn(monkeypatch):
    method, calls = begun(turns=3, keep_adversary=True, **PLAIN_VIEW), []
    for name in ("step_alone", "learn_domains"):
        own = getattr(method, name)

        def watched(*arguments, name=name, own=own):
            calls.append(name)
            own(*arguments)

        monkeypatch.setattr(method, name, watched)
    assert step(method)["loss_adv"] > 0
    assert calls == ["step_alone"] * 4 + ["learn_domains"] + ["step_alone"] * 2


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("turns", [0, 2])
def test_accumulated_parts_are_one_update(turns, kept):
    halves = OptimOptions(**{**dict(PLAIN), "accumulate": 2})
    options = {**PLAIN_VIEW, "batch_norm": "frozen", "turns": turns, "keep_adversary": kept}
    whole, split = build("clan_st", **options), build("clan_st", halves, **options)
    for method in (whole, split):
        # everything is labelled, so that the parts count alike
        method.thresholds.fill_(0.01)
        scalars = method.step(batch(1, 4), batch(2, 4, labelled=False), LATER)
        assert scalars["pseudo_share"] == 1
    pairs = zip(parameters(whole).values(), parameters(split).values(), strict=True)
    for x, y in pairs:
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


def test_pasted_pixels_are_learnt_with_the_sources_labels():
    """Without a single label of the teacher, what is left are the pasted classes."""
    method = build("clan_st", thresholds="fixed", threshold=0.999, batch_norm="frozen")
    method.thresholds.fill_(1.0)
    torch.manual_seed(0)
    scalars = step(method)
    assert scalars["pseudo_share"] == 0
    assert scalars["loss_target"] > 0
    unmixed = build("clan_st", batch_norm="frozen", **PLAIN_VIEW)
    assert step(unmixed)["loss_target"] == 0


@pytest.mark.parametrize("mode", ["frozen", "source", "target", "both"])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("turns", [0, 3])
def test_each_turn_remembers_one_plain_pass_of_the_target(mode, kept, turns):
    """Strong views normalise by their own batch, and leave no trace."""
    # a rate so small that the batches' statistics stay what they are
    still = OptimOptions(
        segmenter=PLAIN.segmenter.model_copy(update={"lr": 1e-12}),
        discriminator=PLAIN.discriminator,
    )
    method = begun(optim=still, batch_norm=mode, keep_adversary=kept, turns=turns)
    first = next(m for m in method.segmenter.modules() if isinstance(m, nn.BatchNorm2d))
    passes = {"source": [], "target": []}
    with torch.no_grad(), capture(first) as inputs:
        for domain, seed in (("source", 1), ("target", 2)):
            method.segmenter(batch(seed)["image"])
            passes[domain] = inputs[-1].mean(dim=(0, 2, 3))
    assert (passes["source"] - passes["target"]).abs().max() > 1e-3
    expected = first.running_mean.clone()
    for _ in range(max(1, turns)):
        for domain in ("source", "target"):
            if POLICY[mode][domain].updates_running:
                expected = expected.lerp(passes[domain], 0.1)
    step(method)
    torch.testing.assert_close(first.running_mean, expected, rtol=1e-4, atol=1e-7)


@contextmanager
def capture(layer):
    """Collect the inputs of a layer."""
    inputs = []
    hook = layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    yield inputs
    hook.remove()


@pytest.mark.parametrize("kept", [False, True])
def test_the_adversary_rests_in_the_rounds_unless_kept(kept):
    method = begun(keep_adversary=kept)
    before = parameters(method)
    scalars = step(method)
    moved = {n.split(".")[0] for n, p in parameters(method).items() if (p != before[n]).any()}
    assert moved == {"segmenter", "teacher"} | ({"discriminator"} if kept else set())
    assert ("loss_adv" in scalars) == kept


def test_the_target_may_be_of_another_size():
    method = begun()
    target = batch(2, labelled=False)
    target["image"] = target["image"][..., :24, :]
    scalars = method.step(batch(1), target, LATER)
    assert all(torch.isfinite(value) for value in scalars.values())


def test_diversity_falls_as_a_class_takes_all_pixels():
    even, one = torch.full((1, 4, 2, 2), 0.25), torch.zeros(1, 4, 2, 2)
    one[:, 2] = 1
    assert class_diversity(even).item() == pytest.approx(1)
    assert class_diversity(one).item() == pytest.approx(0, abs=1e-6)
    assert 0.4 < class_diversity((even + one) / 2).item() < 0.9
    # of images, not of the batch: parts add up
    assert class_diversity(torch.cat([even, one])).item() == pytest.approx(0.5)
