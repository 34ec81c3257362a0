"""Notes below a comparison's table: missing runs, results of the tests, how costs were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clan.comparison.ranks import LEVEL, RankTest
from clan.runs.folder import RunFolder
from clan.studies.bench.cost import Cost
from clan.studies.bench.task import System

TIMES = "\N{MULTIPLICATION SIGN}"
PERCENT = f"{100 * LEVEL:.0f} %"


def lacking(
    systems: Sequence[System],
    seeds: Sequence[int],
    runs: Mapping[str, Mapping[int, RunFolder]],
    failed: Mapping[tuple[str, int], str],
) -> Iterable[str]:
    """Yield notes on missing runs, with the reason."""

    def reason(system: System, seed: int) -> str:
        return failed.get((system.name, seed), "is not trained")

    untouched: list[str] = []
    for system in systems:
        there = runs.get(system.name, {})
        absent = [seed for seed in seeds if seed not in there]
        if not there and not any((system.name, seed) in failed for seed in absent):
            untouched.append(system.name)
        elif absent:
            why = "; ".join(f"seed {seed} {reason(system, seed)}" for seed in absent)
            row = "" if there else " It has no row."
            yield f"{system.name}: {len(seeds) - len(absent)} of {len(seeds)} seeds; {why}.{row}"
    if untouched:
        yield f"Not trained, so without a row: {', '.join(untouched)}."


def rank_notes(
    test: RankTest | None, scored: Mapping[str, Mapping[int, float]], control: str
) -> Iterable[str]:
    """Yield notes on the results of the rank tests over seeds."""
    if test is None:
        if control not in scored:
            yield f"No test of differences: there is no run of {control}."
        else:
            yield "No test of differences: it needs two seeds that all systems have."
        return
    n, seeds = len(test.seeds), ", ".join(map(str, test.seeds))
    yield (
        f"rank: mean rank over {n} seeds ({seeds}) among {len(test.names)} systems, 1 for the "
        f"best. Friedman's test of equal ranks: chi square {test.chi_square:.1f}, "
        f"p {_equals(test.p)}."
    )
    yield (
        f"p: two-sided z-test of the mean rank against {control}'s, with Holm's correction for "
        f"{len(test.names) - 1} tests. {verdict(test)}"
    )
    yield (
        f"Any two systems differ significantly at {PERCENT} if their mean ranks are more than "
        f"{test.critical:.1f} apart (Nemenyi)."
    )
    yield _reach(test)


def p_text(p: float) -> str:
    """Return a p value with three decimals, or ``<0.001``."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _equals(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def verdict(test: RankTest) -> str:
    """Return a sentence with the systems that differ significantly from the control."""
    control = test.control
    better = [name for name in test.significant if test.better(name)]
    worse = [name for name in test.significant if not test.better(name)]
    if not test.significant:
        return f"At {PERCENT} no system differs significantly from {control}."
    told = ((f"better than {control}", better), (f"worse than {control}", worse))
    found = "; ".join(f"{how}: {', '.join(n)}" for how, n in told if n)
    return f"Significantly {found} (at {PERCENT})."


def _reach(test: RankTest) -> str:
    """Return a note on the smallest p that the test can give for this number of seeds."""
    n = len(test.seeds)
    hopeless = (
        f" So no difference can be significant at {PERCENT}, however large: use more seeds."
        if test.least >= LEVEL
        else ""
    )
    return (
        f"With {n} seeds and {len(test.names)} systems, the smallest possible p is "
        f"{p_text(test.least)}; that of a sign test of two systems is "
        f"{p_text(2.0 ** (1 - n))}. With so few seeds p is an approximation.{hopeless}"
    )


def cost_notes(costs: Mapping[str, Cost], baseline: str, how: str) -> Iterable[str]:
    """Yield a note on the baseline of time and memory, and on how they were measured."""
    base = costs.get(baseline)
    parts = []
    if base is not None and base.time:
        parts.append(f"time {TIMES}1 is {base.time:.2f} s per step")
    if base is not None and base.memory:
        parts.append(f"memory {TIMES}1 is {base.memory:.0f} MiB")
    if not parts:
        return
    yield f"{' and '.join(parts)} ({baseline}); {how}."
