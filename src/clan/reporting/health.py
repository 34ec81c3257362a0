"""The results of `clan health` for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clan.reporting.gather import System
from clan.runs.health import Kind, examine

JUDGED_BY = ("d_accuracy", "target_diversity")
"""A run that logs none of these has neither an adversary nor self-training, and is not checked."""


@dataclass(frozen=True)
class Trouble:
    """One kind of problem of a system.

    Attributes:
        name: the system.
        kind: of `clan.runs.health.KINDS`.
        found: what was found, one sentence per affected seed.
        advice: what to try, with the names of options.
    """

    name: str
    kind: Kind
    found: tuple[str, ...]
    advice: str


@dataclass(frozen=True)
class Health:
    """The results for all runs of a page.

    Attributes:
        troubles: problems by system and kind.
        healthy: systems with their seeds without problems, such as ``clan (seeds 0, 1)``.
    """

    troubles: tuple[Trouble, ...]
    healthy: tuple[str, ...]


def read_health(systems: Sequence[System]) -> Health | None:
    """Check the runs' logs; None if no run logs any of `JUDGED_BY`."""
    found: dict[tuple[str, Kind], Trouble] = {}
    healthy = []
    judged = False
    for system in systems:
        sound = []
        for run in system.runs:
            if not any(name in record for record in run.records for name in JUDGED_BY):
                continue
            judged = True
            verdicts = examine(run.records, run.config.training.steps)
            for v in verdicts:
                said = f"Seed {run.seed}: {v.found}, for {v.held} steps, from step {v.since} on."
                old = found.get((system.name, v.kind))
                seen = (*(old.found if old else ()), said)
                found[system.name, v.kind] = Trouble(system.name, v.kind, seen, v.advice)
            if not verdicts:
                sound.append(run.seed)
        if sound:
            seeds = f"{'seed' if len(sound) == 1 else 'seeds'} {', '.join(map(str, sound))}"
            healthy.append(f"{system.name} ({seeds})")
    return Health(tuple(found.values()), tuple(healthy)) if judged else None
