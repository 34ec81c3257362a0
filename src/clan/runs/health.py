"""Checks of a training's logged scalars, with advice.

The paper takes D's loss as its sign of a stable training (section 4.5); accuracy, logits and the
adversary's share of G's gradient tell apart what that one number mixes. Only names of scalars are
looked at, so that any method which logs them is judged. Of self-training, the diversity of target
predictions tells a collapse without any label. A run that logs none of these has no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = ["KINDS", "Kind", "Verdict", "Watcher", "end_mean", "examine"]

Kind = Literal[
    "d_wins",
    "d_one_sided",
    "d_blind",
    "adv_negligible",
    "adv_dominates",
    "collapse",
    "one_class",
]
"""D is right nearly everywhere; gives one answer for both domains; cannot tell them apart; G hardly
feels D; G follows D more than the labels; a few classes take all of the target's pixels; the
teacher sees one class alone in the target."""
KINDS: tuple[Kind, ...] = (
    "d_wins",
    "d_one_sided",
    "d_blind",
    "adv_negligible",
    "adv_dominates",
    "collapse",
    "one_class",
)

LONG = 1000
"""Steps that are long, as users of the published codes count them; in a shorter training a tenth
of it is."""
LEAST_LINES = 3
"""A stretch has at least so many logged lines: one mean says nothing about how long."""
WINS, RIGHT, WRONG, CHANCE = 0.98, 0.95, 0.05, 0.05
"""Accuracies: of a D that has won; of the domain that a one-sided D gets right, and of the other;
distance from 0.5 that is chance."""
APART = 0.1
"""Of D's mean logits: closer together they do not separate the domains, closer to 0 they are no
answer; at most a change of 0.025 in probability."""
NEGLIGIBLE, DOMINATES = 0.005, 0.5
"""Shares of the adversary in G's gradient."""
JUDGED = ("d_accuracy", "adv_share", "target_diversity", "teacher_top_share")
"""A line without one of these says nothing about a training's health."""
ONE_CLASS = 0.95
"""Share of the target's pixels in a teacher's most frequent class from which there is no other."""
COLLAPSED = 0.75
"""Of the greatest diversity of target predictions so far: below it, self-training has collapsed."""


@dataclass(frozen=True)
class Verdict:
    """A problem of a training, reported once per run.

    Attributes:
        kind: the kind of problem.
        since: the step after which it began.
        step: the step at which it was reported.
        held: number of steps for which it was observed.
        found: the observation, a clause with numbers.
        advice: what to try, with the names of options.
    """

    kind: Kind
    since: int
    step: int
    held: int
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found} (for {self.held} steps, from step {self.since} on). {self.advice}"


ADVICE: dict[Kind, str] = {
    "d_wins": (
        "G gets no useful gradient from a D that is never wrong: lower optim.discriminator.lr, "
        "raise method.lambda_adv, or make D narrower (method.discriminator_width)."
    ),
    "d_one_sided": (
        "One domain's term outweighs the other's in D's loss, so that a constant is its cheapest "
        "answer and G is pushed without direction: bring method.lambda_local times the mean of the "
        "alignment map plus method.epsilon near 1, raise optim.discriminator.lr, or start with "
        "method.preheat_steps."
    ),
    "d_blind": (
        "D has learnt nothing that G could undo: raise optim.discriminator.lr or "
        "method.discriminator_width, lower method.lambda_adv, or train longer. A D that was better "
        "once and comes back to 0.5 is no fault: then the domains look alike to it."
    ),
    "adv_negligible": (
        "This trains like source only: raise method.lambda_adv; 0.001 is meant for 100,000 steps."
    ),
    "adv_dominates": (
        "G gives up the labels to please D: lower method.lambda_adv, or method.lambda_local."
    ),
    "collapse": (
        "G learns its own mistakes: begin self-training later (method.clan_steps or "
        "method.source_steps), label less (method.portion), or give each class a threshold of its "
        "own (method.thresholds: class); of a moving average as the teacher, raise "
        "method.teacher_decay or method.threshold, or start from a network trained on the source "
        "(weights_for: network)."
    ),
    "one_class": (
        "G learns that the target is this class: start from weights, better from a network trained "
        "on the source (weights_for: network), raise method.teacher_decay or method.threshold, or "
        "lower method.lambda_target. A target that shows one class nearly alone is no fault."
    ),
}


class Watcher:
    """Checks a training's scalars at its log steps and reports each kind of problem once.

    Some problems (D wins, is one-sided or dominates; self-training has collapsed, or a teacher
    predicts one class only) are reported when they lasted for at least ``long`` steps without a
    break. Others (D is blind, or its gradient is negligible) are usual at first; they are reported
    when they lasted from the first step to the middle of the training or five times ``long``,
    whichever is less.

    Args:
        steps: the training's length.
    """

    def __init__(self, steps: int) -> None:
        self.long = min(LONG, max(1, steps // 10))
        self.throughout = min(5 * LONG, max(1, steps // 2))
        self._verdicts: list[Verdict] = []
        self._since: dict[Kind, int] = {}
        self._lines: dict[Kind, int] = {}
        self._held: dict[Kind, int] = {}
        self._over: set[Kind] = set()
        self._step = 0
        self._most_diverse = 0.0

    def feed(self, step: int, scalars: Mapping[str, Any]) -> list[Verdict]:
        """Check the means since the last log step; return new problems.

        Args:
            step: the log step, above that of the last call.
            scalars: by name; of a line without any of `JUDGED` nothing is judged.
        """
        new = []
        diversity = _number(scalars, "target_diversity")
        self._most_diverse = max(self._most_diverse, diversity or 0.0)
        for kind, found in _symptoms(scalars, self._most_diverse).items():
            if found is not None:
                self._held[kind] = self._held.get(kind, 0) + step - self._step
            if kind in self._over:
                continue
            if found is None:
                self._break(kind)
                continue
            since = self._since.setdefault(kind, self._step)
            self._lines[kind] = lines = self._lines.get(kind, 0) + 1
            needed = self.throughout if kind in _THROUGHOUT else self.long
            if step - since >= needed and lines >= LEAST_LINES:
                held = self._held[kind]
                new.append(Verdict(kind, since, step, held, found, ADVICE[kind]))
                self._over.add(kind)
        if any(name in scalars for name in JUDGED):
            self._step = step
        self._verdicts += new
        return new

    @property
    def verdicts(self) -> list[Verdict]:
        """All verdicts so far; ``held`` counts up to the last call."""
        return [replace(verdict, held=self._held[verdict.kind]) for verdict in self._verdicts]

    def _break(self, kind: Kind) -> None:
        self._since.pop(kind, None)
        self._lines.pop(kind, None)
        if kind in _THROUGHOUT:
            # it did not last from the first step on
            self._over.add(kind)


def examine(records: Iterable[Mapping[str, Any]], steps: int) -> list[Verdict]:
    """Return the verdicts on a run, finished or not.

    Args:
        records: the lines of metrics.jsonl, as of `RunFolder.read_metrics`.
        steps: ``training.steps`` of its configuration.
    """
    watcher = Watcher(steps)
    for record in records:
        watcher.feed(int(record["step"]), record)
    return watcher.verdicts


def end_mean(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], share: float = 0.1
) -> float | None:
    """Return the mean of scalars near a run's end, None where it logs none of them.

    Args:
        records: the lines of metrics.jsonl.
        names: of scalars; several are averaged, as D's two losses are.
        share: of the steps that count as the end; the last logged line always does.
    """
    lines = [r for r in records if all(r.get(name) is not None for name in names)]
    if not lines:
        return None
    begin = (1 - share) * lines[-1]["step"]
    end = [r for r in lines if r["step"] > begin] or lines[-1:]
    return sum(float(r[name]) for r in end for name in names) / (len(end) * len(names))


_THROUGHOUT: tuple[Kind, ...] = ("d_blind", "adv_negligible")


def _symptoms(scalars: Mapping[str, Any], most_diverse: float) -> dict[Kind, str | None]:
    """Return the observation for each kind of problem in one log line, None if there is none."""
    found: dict[Kind, str | None] = {}
    diversity = _number(scalars, "target_diversity")
    if diversity is not None:
        fallen = (
            f"the diversity of target predictions fell from {most_diverse:.2f} to {diversity:.2f}"
        )
        found["collapse"] = fallen if diversity < COLLAPSED * most_diverse else None
    top = _number(scalars, "teacher_top_share")
    if top is not None:
        alone = f"the teacher gives {100 * top:.1f} % of the target's pixels to one class"
        found["one_class"] = alone if top > ONE_CLASS else None
    accuracy, share = _number(scalars, "d_accuracy"), _number(scalars, "adv_share")
    if accuracy is not None:
        wins = f"D tells the domains apart at {100 * accuracy:.1f} % of all places"
        found["d_wins"] = wins if accuracy > WINS else None
        found["d_one_sided"] = one_sided = _one_sided(scalars)
        found["d_blind"] = None if one_sided else _blind(scalars, accuracy)
    if share is not None:
        seen = f"the adversary's share of G's gradient is {100 * share:.2g} %"
        found["adv_negligible"] = seen if share < NEGLIGIBLE else None
        found["adv_dominates"] = seen if share > DOMINATES else None
    return found


def _one_sided(scalars: Mapping[str, Any]) -> str | None:
    """Describe a D that gives one answer for both domains, if so; older runs do not log it.

    An untrained D gives one answer too, by the sign of its bias, but with logits near 0.
    """
    source, target = (_number(scalars, f"d_accuracy_{name}") for name in ("source", "target"))
    if source is None or target is None:
        return None
    logits = [_number(scalars, f"d_logit_{name}") for name in ("source", "target")]
    undecided = any(logit is not None and abs(logit) < APART for logit in logits)
    if min(source, target) > WRONG or max(source, target) < RIGHT or undecided:
        return None
    answer = "source" if source > target else "target"
    return (
        f'D answers "{answer}" everywhere: right at {100 * source:.1f} % of the source\'s places '
        f"and {100 * target:.1f} % of the target's"
    )


def _blind(scalars: Mapping[str, Any], accuracy: float) -> str | None:
    """Describe a D that cannot tell the domains apart, if so; its mean logits must be close too, as
    a low accuracy alone may come from a shifted threshold."""
    source, target = (_number(scalars, f"d_logit_{name}") for name in ("source", "target"))
    if source is None or target is None:
        return None
    if abs(accuracy - 0.5) > CHANCE or target - source > APART:
        return None
    return (
        f"D is at chance: accuracy {accuracy:.2f}, mean logits of the two domains "
        f"{abs(target - source):.2g} apart"
    )


def _number(scalars: Mapping[str, Any], name: str) -> float | None:
    value = scalars.get(name)
    return None if value is None else float(value)
