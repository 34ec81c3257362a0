from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clan.core.console import Console
from clan.methods import Method
from clan.methods.tan import TAN
from clan.runs.folder import RunFolder
from clan.runs.health import KINDS, LONG, Verdict, Watcher, end_mean, examine
from clan.runs.health_table import read_health, show_health
from clan.training.display import Silent
from clan.training.train import train
from tests.systems import Spy, at_step, tiny

HEALTHY: dict[str, float] = {
    "loss_d_source": 0.5,
    "loss_d_target": 0.5,
    "d_accuracy": 0.75,
    "d_accuracy_source": 0.7,
    "d_accuracy_target": 0.8,
    "d_logit_source": -0.6,
    "d_logit_target": 0.8,
    "adv_share": 0.08,
    "target_diversity": 0.8,
}
SICK: dict[str, dict[str, float]] = {
    "d_wins": {"d_accuracy": 0.995, "d_accuracy_source": 0.99, "d_accuracy_target": 1.0},
    "d_one_sided": {
        "d_accuracy": 0.5,
        "d_accuracy_source": 0.0,
        "d_accuracy_target": 1.0,
        "d_logit_source": 1.0,
        "d_logit_target": 1.1,
    },
    "d_blind": {
        "d_accuracy": 0.51,
        "d_accuracy_source": 0.3,
        "d_accuracy_target": 0.72,
        "d_logit_source": 0.02,
        "d_logit_target": 0.03,
    },
    "adv_negligible": {"adv_share": 0.0004},
    "adv_dominates": {"adv_share": 0.8},
    "collapse": {"target_diversity": 0.4},
    "one_class": {"teacher_top_share": 0.97},
}


def curve(steps: int, every: int, *parts: tuple[int, dict[str, float]]) -> list[dict[str, Any]]:
    """Return lines up to ``steps``; each part's scalars replace the healthy ones from its step."""
    lines = []
    for step in range(every, steps + 1, every):
        changed: dict[str, float] = {}
        for since, scalars in parts:
            # the line of a step is of the steps before it
            changed = scalars if step > since else changed
        lines.append({"step": step, **HEALTHY, **changed})
    return lines


def kinds(lines: list[dict[str, Any]], steps: int) -> list[str]:
    return [verdict.kind for verdict in examine(lines, steps)]


def test_a_healthy_run_has_no_verdict() -> None:
    assert examine(curve(10_000, 10), 10_000) == []
    assert set(SICK) == set(KINDS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "collapse"])
def test_each_trouble_is_found_once_by_its_own_name(kind: str) -> None:
    lines = curve(20_000, 10, (0, SICK[kind]))
    (verdict,) = examine(lines, 20_000)
    assert verdict.kind == kind
    assert (verdict.since, verdict.held) == (0, 20_000)
    throughout = kind in ("d_blind", "adv_negligible")
    assert verdict.step == (5 * LONG if throughout else LONG)
    assert str(verdict).startswith(verdict.found)
    assert "optim." in str(verdict) or "method." in str(verdict)


def test_a_collapse_is_a_fall_from_what_was() -> None:
    # few classes from the first line on are what the images hold
    assert kinds(curve(20_000, 10, (0, SICK["collapse"])), 20_000) == []
    (verdict,) = examine(curve(20_000, 10, (500, SICK["collapse"])), 20_000)
    assert (verdict.kind, verdict.since, verdict.step) == ("collapse", 500, 500 + LONG)
    assert "from 0.80 to 0.40" in verdict.found
    assert kinds(curve(20_000, 10, (500, {"target_diversity": 0.61})), 20_000) == []
    # without an adversary too
    lines = [{"step": s, "target_diversity": 0.9 if s < 100 else 0.5} for s in range(10, 5000, 10)]
    assert kinds(lines, 5000) == ["collapse"]


def test_a_teacher_that_sees_one_class_is_told_from_the_first_line_on() -> None:
    lines = [{"step": s, "teacher_top_share": 0.99, "target_diversity": 0.01} for s in (50, 100)]
    lines += [{**lines[0], "step": s} for s in range(150, 5000, 50)]
    (verdict,) = examine(lines, 5000)
    assert (verdict.kind, verdict.since) == ("one_class", 0)
    assert "99.0 % of the target's pixels" in verdict.found
    assert kinds([{**line, "teacher_top_share": 0.9} for line in lines], 5000) == []


@settings(max_examples=40)
@given(
    st.sampled_from(["d_wins", "d_one_sided", "adv_dominates"]),
    st.integers(200, 12_000),
    st.sampled_from([3, 10, 50]),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_stretch_is_told_if_it_is_long(
    kind: str, steps: int, every: int, begin: float, length: float
) -> None:
    """A stretch of trouble anywhere is told exactly when it lasts, and when it has lasted."""
    long = min(1000, steps // 10)
    first = int(begin * steps) // every * every
    end = min(steps, first + int(2 * long * length) // every * every)
    lines = curve(steps, every, (first, SICK[kind]), (end, {}))
    held = [line["step"] for line in lines if first < line["step"] <= end]
    due = [s for n, s in enumerate(held, start=1) if s - first >= long and n >= 3]
    found = examine(lines, steps)
    assert [v.kind for v in found] == ([kind] if due else [])
    if due:
        assert (found[0].since, found[0].step) == (first, due[0])


@settings(max_examples=20)
@given(st.sampled_from(["d_blind", "adv_negligible"]), st.integers(1, 9))
def test_what_is_usual_at_first_is_told_only_if_it_stays(kind: str, tenths: int) -> None:
    steps = 2000
    lines = curve(steps, 10, (0, SICK[kind]), (tenths * steps // 10, {}))
    assert kinds(lines, steps) == ([kind] if tenths >= 5 else [])
    # a D that comes back to chance, or damping that fades the adversary, is no trouble
    assert kinds(curve(steps, 10, (20, SICK[kind])), steps) == []


def test_an_interruption_begins_the_stretch_anew() -> None:
    parts = [(0, SICK["d_wins"]), (900, {}), (910, SICK["d_wins"]), (1800, {})]
    assert kinds(curve(10_000, 10, *parts), 10_000) == []


def test_thresholds_are_where_users_were_told() -> None:
    def accuracy(value: float) -> dict[str, float]:
        return {"d_accuracy": value}

    assert kinds(curve(10_000, 10, (0, accuracy(0.98))), 10_000) == []
    assert kinds(curve(10_000, 10, (0, accuracy(0.981))), 10_000) == ["d_wins"]
    # accuracy at chance by its threshold alone: the logits separate
    apart = {**SICK["d_blind"], "d_logit_target": 0.5}
    assert kinds(curve(10_000, 10, (0, apart)), 10_000) == []


def test_the_side_is_named() -> None:
    for answer, (source, target) in {"source": (1.0, 0.01), "target": (0.01, 1.0)}.items():
        scalars = {"d_accuracy_source": source, "d_accuracy_target": target, "d_accuracy": 0.505}
        (verdict,) = examine(curve(1000, 10, (0, scalars)), 1000)
        assert f'D answers "{answer}" everywhere' in verdict.found


def test_a_d_that_never_learnt_is_blind_whatever_its_bias_says() -> None:
    bias = {**SICK["d_one_sided"], "d_logit_source": -0.0145, "d_logit_target": -0.0144}
    assert kinds(curve(1000, 10, (0, bias)), 1000) == ["d_blind"]


def test_lines_without_an_adversary_say_nothing() -> None:
    plain = [{"step": s, "loss_seg": 0.5} for s in range(10, 5000, 10)]
    assert examine(plain, 5000) == []
    # runs of old: no more than the mean accuracy
    old = [{"step": s, "d_accuracy": 1.0} for s in range(10, 5000, 10)]
    assert kinds(old, 5000) == ["d_wins"]
    assert examine([{**line, "d_accuracy": None} for line in old], 5000) == []
    # scores between the lines do not end a stretch
    scores = [{"step": line["step"], "miou": 0.3} for line in old]
    mixed = [line for pair in zip(old, scores, strict=True) for line in pair]
    assert kinds(mixed, 5000) == ["d_wins"]


def test_end_mean() -> None:
    lines = [{"step": s, "a": float(s), "b": 3.0 * s} for s in range(10, 201, 10)]
    assert end_mean(lines, ["a"]) == pytest.approx((190 + 200) / 2)
    assert end_mean(lines, ["a", "b"]) == pytest.approx(2 * (190 + 200) / 2)
    assert end_mean(lines, ["a"], share=0.001) == 200
    assert end_mean([*lines, {"step": 200, "miou": 0.1}], ["a"]) == pytest.approx(195)
    assert end_mean(lines, ["c"]) is None
    assert end_mean([], ["a"]) is None


@pytest.fixture
def winning(monkeypatch: pytest.MonkeyPatch) -> None:
    """D is said to win from the first step on."""
    original = TAN.finish_update

    def finish(self: TAN) -> dict[str, Any]:
        scalars = original(self)
        return {**scalars, "d_accuracy": scalars["d_accuracy"] * 0 + 1}

    monkeypatch.setattr(TAN, "finish_update", finish)


@pytest.mark.usefixtures("winning")
def test_a_warning_is_printed_once_also_over_a_resume(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    def stop() -> None:
        raise StoppedError

    changes = ("training.log_every=1", "training.steps=8", "method.lambda_adv=1")
    config = tiny(street, "tan", *changes)
    first, second, run = Spy(), Spy(), RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        # what `at_step` changes goes back with this context
        patch.setattr(Method, "start_update", Method.start_update)
        at_step(6, stop)
        with pytest.raises(StoppedError):
            train(config, run.path, display=first)
    train(config, run.path, resume=True, display=second)
    wins = [m for m in first.messages if "D tells the domains apart at 100.0 %" in m]
    assert len(wins) == 1
    assert wins[0].startswith("warning: ")
    assert "lower optim.discriminator.lr" in wins[0]
    assert not any("D tells" in m for m in second.messages)
    assert "d_wins" in read_health(run.path).word


def test_the_table_tells_runs_apart(
    street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = train(tiny(street, "source_only", "training.steps=1"), tmp_path / "s", display=Silent())
    healthy = train(tiny(street, "tan", "training.steps=1"), tmp_path / "t", display=Silent())
    sick = train(tiny(street, "tan", "training.steps=1"), tmp_path / "d", display=Silent())
    for run, scalars in ((healthy, {}), (sick, SICK["d_one_sided"])):
        lines = curve(7, 1, (0, scalars))
        run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = [read_health(run.path) for run in (plain, healthy, sick)]
    assert [h.word for h in found] == ["no adversary", "healthy", "d_one_sided"]
    assert found[1].numbers[0] == pytest.approx(0.75)
    show_health([h.run for h in found], Console(width=200))
    out = capsys.readouterr().out
    assert out.count("d_one_sided") == 1
    assert f"{plain.path}: no adversary" in out
    assert f"{healthy.path}: healthy" in out
    assert f'{sick.path}: d_one_sided: D answers "target" everywhere' in out


def test_a_watcher_keeps_its_verdicts() -> None:
    watcher = Watcher(1000)
    said = [watcher.feed(line["step"], line) for line in curve(1000, 10, (0, SICK["d_wins"]))]
    told: list[Verdict] = [verdict for news in said for verdict in news]
    assert [verdict.held for verdict in told] == [100]
    assert [verdict.held for verdict in watcher.verdicts] == [1000]
