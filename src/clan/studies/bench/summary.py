"""A comparison in short: tables that fit a screen, and the sentences that follow from them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from clan.comparison.table import ABSENT, Line
from clan.methods import METHODS
from clan.studies.bench.cost import LOGGED
from clan.studies.bench.facts import Facts
from clan.studies.bench.notes import verdict
from clan.studies.bench.table import BenchTable
from clan.studies.bench.task import System

MOST_CLASSES = 12
"""With more classes their table is too wide for a screen and is left out."""


def scores(table: BenchTable) -> Facts:
    """Return the table of means over seeds.

    The gain has its sample standard deviation over the seeds that the system and the baseline
    share. Time is there only if it was measured: logs of trainings that shared a machine mislead.
    """
    comparison = table.comparison
    lines = {line.heading: line for line in comparison.lines()}
    rows = comparison.rows
    columns = [
        Line("seeds", lines["seeds"].texts, set()),
        lines["mIoU"],
    ]
    if "gain" in lines:
        gains = [_spread(table, row.name) for row in rows]
        columns += [Line("gain", gains, lines["gain"].best)]
        columns += [Line("better in", [_better(table, row.name) for row in rows], set())]
    if "gap closed" in lines:
        columns.append(lines["gap closed"])
    if "time" in lines and _timed(table):
        columns.append(lines["time"])
    return _facts([row.name for row in rows], columns)


def class_scores(table: BenchTable) -> Facts | None:
    """Return the IoU of each class, mean over seeds; None if the table would be too wide."""
    comparison = table.comparison
    if len(comparison.classes) > MOST_CLASSES:
        return None
    lines = [line for line in comparison.lines() if line.heading in comparison.classes]
    return _facts([row.name for row in comparison.rows], lines)


def findings(table: BenchTable, systems: Sequence[System], seeds: Sequence[int]) -> list[str]:
    """Return what the table shows, a sentence each.

    Systems that do not read the target, such as one that others start from, are not compared.

    Args:
        table: the comparison.
        systems: those that were asked for.
        seeds: of each.
    """
    names = [system.name for system in systems]
    apart = (table.comparison.baseline, table.comparison.oracle)
    adapted = [
        system.name
        for system in systems
        if METHODS[system.config.method.name].uses_target and system.name not in apart
    ]
    return [
        *_unfinished(table, names, seeds),
        *_gains(table, adapted),
        *_losses(table, adapted),
        _test(table),
        *(note for note in table.comparison.notes if note.startswith("time ") and _timed(table)),
    ]


def differences(table: BenchTable, name: str) -> list[float]:
    """Return mIoU minus the baseline's, in points, for each seed that both have."""
    base = table.scored.get(table.comparison.baseline or "", {})
    own: Mapping[int, float] = table.scored[name]
    return [own[seed] - base[seed] for seed in sorted(own.keys() & base.keys())]


def _timed(table: BenchTable) -> bool:
    """Whether more than the baseline's time was measured."""
    times = [m.values for m in table.comparison.measures if m.heading == "time"]
    known = sum(value is not None for values in times for value in values)
    return known > 1 and not table.how.startswith(LOGGED)


def _facts(names: Sequence[str], columns: Sequence[Line]) -> Facts:
    rows = tuple(
        (name, *(_cell(column, index) for column in columns)) for index, name in enumerate(names)
    )
    return Facts(("system", *(column.heading for column in columns)), rows)


def _cell(column: Line, index: int) -> str:
    text = column.texts[index]
    return f"**{text}**" if index in column.best else text


def _spread(table: BenchTable, name: str) -> str:
    found = differences(table, name)
    if name == table.comparison.baseline or not found:
        return ABSENT
    mean = f"{statistics.fmean(found):+.1f}"
    return f"{mean} ± {statistics.stdev(found):.1f}" if len(found) > 1 else mean


def _better(table: BenchTable, name: str) -> str:
    found = differences(table, name)
    if name == table.comparison.baseline or not found:
        return ABSENT
    return f"{sum(gain > 0 for gain in found)} of {len(found)}"


def _unfinished(table: BenchTable, systems: Sequence[str], seeds: Sequence[int]) -> Iterable[str]:
    started = [name for name in systems if 0 < len(table.scored.get(name, {})) < len(seeds)]
    absent = [name for name in systems if name not in table.scored]
    parts = []
    if started:
        parts.append(f"with fewer seeds than {len(seeds)}: {_listed(started)}")
    if absent:
        parts.append(f"without a run: {_listed(absent)}")
    if parts:
        yield f"Not complete; {'; '.join(parts)}."


def _gains(table: BenchTable, adapted: Sequence[str]) -> Iterable[str]:
    comparison = table.comparison
    gains = {
        name: found
        for name in adapted
        if name in table.scored and (found := differences(table, name))
    }
    if comparison.baseline is None or not gains:
        return
    best = max(gains, key=lambda name: statistics.fmean(gains[name]))
    row = next(row for row in comparison.rows if row.name == best)
    part = "" if row.gap_closed is None else f", {row.gap_closed:.0f} % of the gap to the oracle"
    if statistics.fmean(gains[best]) > 0:
        yield f"Greatest mean gain: `{best}`, {_spread(table, best)} points{part}."
    else:
        yield f"No system gains on average; `{best}` loses least, {_spread(table, best)} points."
    above = [name for name, found in gains.items() if min(found) > 0]
    below = [name for name, found in gains.items() if max(found) < 0]
    yield f"Above `{comparison.baseline}` in every seed: {_listed(above) or 'no system'}."
    yield f"Below it in every seed: {_listed(below) or 'no system'}."


def _losses(table: BenchTable, adapted: Sequence[str]) -> Iterable[str]:
    transfer = table.comparison.negative_transfer
    if transfer is None:
        return
    sure = {
        key: loss.points
        for key, loss in transfer.losses.items()
        if loss.everywhere and key[0] in adapted
    }
    if sure:
        system, name = min(sure, key=lambda key: sure[key])
        points = sure[system, name]
        yield f"Largest loss of a class in every seed: {name} with `{system}`, {points:+.1f}."


def _test(table: BenchTable) -> str:
    if table.test is None:
        return "No test of differences: it needs two seeds that all systems have."
    said = verdict(table.test)
    return f"Rank test over {len(table.test.seeds)} seeds: {said[:1].lower()}{said[1:]}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
