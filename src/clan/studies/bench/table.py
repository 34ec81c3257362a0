"""The comparison in the form of the paper's Table 1, with costs and ranks added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from clan.comparison.compare import compare
from clan.comparison.ranks import RankTest, compare_ranks
from clan.comparison.table import ABSENT, Comparison, Measure
from clan.figures.scores import draw_scores
from clan.runs.folder import RunFolder
from clan.scoring.evaluation_file import read_evaluation
from clan.studies.bench.cost import LOGGED, UNKNOWN, Cost
from clan.studies.bench.notes import TIMES, cost_notes, lacking, p_text, rank_notes
from clan.studies.bench.task import System

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class BenchTable:
    """The result of a comparison.

    Attributes:
        comparison: scores, costs and ranks, a row for each system with a finished run.
        test: the rank tests over seeds, None if nothing can be tested.
        scored: mIoU in percent of each system by seed.
        how: how the costs were measured.
    """

    comparison: Comparison
    test: RankTest | None
    scored: Mapping[str, Mapping[int, float]]
    how: str

    def to_dict(self) -> dict[str, Any]:
        """Return the table and the mIoU of each seed as a dictionary for JSON."""
        seeds = {name: dict(sorted(by_seed.items())) for name, by_seed in self.scored.items()}
        return {**self.comparison.to_dict(), "scores": seeds}

    def draw(self) -> Figure:
        """Draw the mIoU of each seed."""
        families = {row.name: row.family for row in self.comparison.rows}
        return draw_scores(self.scored, families, self.comparison.baseline, self.comparison.oracle)


def bench_table(
    systems: Sequence[System],
    seeds: Sequence[int],
    runs: Mapping[str, Mapping[int, RunFolder]],
    costs: Mapping[str, Cost],
    *,
    baseline: str,
    oracle: str,
    control: str,
    how: str = LOGGED,
    failed: Mapping[tuple[str, int], str] | None = None,
) -> BenchTable:
    """Compare the finished runs.

    Args:
        systems: in the order of the table.
        seeds: the requested seeds.
        runs: finished and scored runs, by system and seed.
        costs: cost of an update of each system.
        baseline: the row that gains and costs are relative to.
        oracle: the row that is trained on target labels; it is left out of the test.
        control: the row that the others are tested against.
        how: how the costs were measured.
        failed: why runs are missing, by system and seed.

    Raises:
        RunError: no run, or runs that were not scored alike.
    """
    present = [system for system in systems if runs.get(system.name)]
    folders = [runs[s.name][seed].path for s in present for seed in sorted(runs[s.name])]
    comparison = compare(folders, baseline=baseline, oracle=oracle)
    families = {system.name: system.family for system in present}
    rows = tuple(replace(row, family=families[row.name]) for row in comparison.rows)
    scored = {
        system.name: {
            seed: 100 * read_evaluation(run.path).scores.mean_iou(comparison.classes)
            for seed, run in runs[system.name].items()
        }
        for system in present
    }
    test = _test(scored, oracle, control)
    measures = [*_ranks([row.name for row in rows], test)]
    measures += _costs([row.name for row in rows], costs, baseline)
    notes = [
        *lacking(systems, seeds, runs, failed or {}),
        *comparison.notes,
        *rank_notes(test, scored, control),
        *cost_notes(costs, baseline, how),
    ]
    comparison = replace(
        comparison, rows=rows, measures=tuple(measures), notes=tuple(notes), by_row=True
    )
    return BenchTable(comparison, test, scored, how)


def _test(scored: Mapping[str, Mapping[int, float]], oracle: str, control: str) -> RankTest | None:
    """Test the systems on the seeds that all of them have; the oracle is left out."""
    names = [name for name in scored if name != oracle]
    if not names:
        return None
    seeds = sorted(set.intersection(*(set(scored[name]) for name in names)))
    scores = np.array([[scored[name][seed] for name in names] for seed in seeds])
    return compare_ranks(names, seeds, scores.reshape(len(seeds), len(names)), control)


def _ranks(names: Sequence[str], test: RankTest | None) -> Iterable[Measure]:
    if test is None:
        return
    ranks = dict(zip(test.names, test.mean_ranks, strict=True))
    p = dict(zip(test.names, test.adjusted, strict=True))
    yield _measure("rank", "mean_rank", [ranks.get(name) for name in names], "{:.1f}".format)
    yield _measure("p", "p", [p.get(name) for name in names], p_text)


def _costs(names: Sequence[str], costs: Mapping[str, Cost], baseline: str) -> Iterable[Measure]:
    """Yield time and memory of an update: relative to the baseline, or absolute without one."""
    base = costs.get(baseline, UNKNOWN)
    for heading, key, form in (
        ("time", "seconds_per_step", "{:.2f} s".format),
        ("memory", "memory_mib", "{:.0f} MiB".format),
    ):
        values = [getattr(costs.get(name, UNKNOWN), heading) for name in names]
        own = getattr(base, heading)
        if own:
            form = partial(_relative, own)
        if any(value is not None for value in values):
            yield _measure(heading, key, values, form)


def _relative(own: float, value: float) -> str:
    return f"{TIMES}{value / own:.1f}"


def _measure(
    heading: str, key: str, values: Sequence[float | None], form: Callable[[float], str]
) -> Measure:
    texts = tuple(ABSENT if value is None else form(value) for value in values)
    return Measure(heading, key, tuple(values), texts)
