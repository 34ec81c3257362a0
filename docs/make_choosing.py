"""Write docs/choosing.md, "which method should I use", from the records of the benchmarks alone.

    python docs/make_choosing.py

Each `benchmarks/*/records.jsonl` is a benchmark. A system counts if it has the name of its method;
variants have other names. Nothing is typed: what the page says of a method follows from its runs.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generated import between, bring_up_to_date

DOCS = Path(__file__).parent
PAGE = DOCS / "choosing.md"
BENCHMARKS = DOCS.parent / "benchmarks"
BEGIN = "<!-- begin: written by docs/make_choosing.py -->"
END = "<!-- end: written by docs/make_choosing.py -->"
BASELINE, ORACLE = "source_only", "oracle"

Runs = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Records by system and seed."""


@dataclass(frozen=True)
class Row:
    """A method on one benchmark, over the seeds that it and the baseline have."""

    name: str
    seeds: int
    gain: float
    """Mean over seeds of its mIoU less the baseline's, in points."""
    better: int
    """Seeds in which it is above the baseline."""
    closed: float | None
    """Share of the way to the oracle; None without one."""
    lost: tuple[str, float]
    """The class that loses most against the baseline, by the mean over seeds, and its points."""
    time: float
    """Seconds of an update in the baseline's, as the trainings logged them."""

    @property
    def always(self) -> bool:
        """Whether it is better in every seed."""
        return self.better == self.seeds


def main() -> None:
    """Bring the page up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(page: str) -> str:
    """Return the page with what today's records say."""
    found = {path.parent.name: read(path) for path in sorted(BENCHMARKS.glob("*/records.jsonl"))}
    return between(page, BEGIN, END, body({name: rows(runs) for name, runs in found.items()}))


def read(path: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the records of a file that are systems of their methods' names, or the oracle."""
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["system"] in (record["config"]["method.name"], ORACLE):
            runs.setdefault(record["system"], {})[record["seed"]] = record
    return runs


def rows(runs: Runs) -> list[Row]:
    """Return the methods of a benchmark, the greatest gain first; empty without a baseline."""
    base = runs.get(BASELINE, {})
    found = [
        _row(name, own, base, runs.get(ORACLE, {}))
        for name, own in runs.items()
        if name not in (BASELINE, ORACLE) and own.keys() & base.keys()
    ]
    return sorted(found, key=lambda row: -row.gain)


def _row(
    name: str, own: Mapping[int, Any], base: Mapping[int, Any], oracle: Mapping[int, Any]
) -> Row:
    seeds = sorted(own.keys() & base.keys())
    gains = [_miou(own[seed]) - _miou(base[seed]) for seed in seeds]
    shared = [seed for seed in seeds if seed in oracle]
    gap = [_miou(oracle[seed]) - _miou(base[seed]) for seed in shared]
    part = [_miou(own[seed]) - _miou(base[seed]) for seed in shared]
    times = [_pace(runs[seed]) for runs in (own, base) for seed in seeds]
    ratio = statistics.median(times[: len(seeds)]) / statistics.median(times[len(seeds) :])
    return Row(
        name=name,
        seeds=len(seeds),
        gain=statistics.fmean(gains),
        better=sum(gain > 0 for gain in gains),
        closed=sum(part) / sum(gap) if gap and sum(gap) > 0 else None,
        lost=_lost(own, base, seeds),
        time=ratio,
    )


def _miou(record: Mapping[str, Any]) -> float:
    """Return the mIoU over all classes of the benchmark, in percent."""
    evaluation = record["evaluation"]
    return 100 * float(evaluation["miou"][evaluation["classes"]["name"]])


def _lost(
    own: Mapping[int, Any], base: Mapping[int, Any], seeds: Sequence[int]
) -> tuple[str, float]:
    changes = {
        name: statistics.fmean(
            100 * (own[seed]["evaluation"]["iou"][name] - base[seed]["evaluation"]["iou"][name])
            for seed in seeds
        )
        for name in own[seeds[0]]["evaluation"]["iou"]
        if all(
            runs[seed]["evaluation"]["iou"].get(name) is not None
            for runs in (own, base)
            for seed in seeds
        )
    }
    return min(changes.items(), key=lambda item: item[1])


def _pace(record: Mapping[str, Any]) -> float:
    """Return the median seconds of an update over a run's log."""
    log, last, paces = record["log"], 0, []
    for step, seconds in zip(log["step"], log["seconds"], strict=True):
        if seconds is not None and step > last:
            paces.append(seconds / (step - last))
            last = step
    return statistics.median(paces)


def body(tables: Mapping[str, Sequence[Row]]) -> str:
    """Return what stands between the marks."""
    parts = [_summary(tables)]
    for name, table in tables.items():
        parts += [f"## {name}", _sentences(table), _table(table)]
    return "\n\n".join(parts) + "\n"


def _summary(tables: Mapping[str, Sequence[Row]]) -> str:
    """Return methods by benchmarks: the gain, in bold where every seed is better."""
    gains = {name: {row.name: row for row in table} for name, table in tables.items()}
    names = {row.name for table in tables.values() for row in table}

    def mean(name: str) -> float:
        return statistics.fmean(of[name].gain for of in gains.values() if name in of)

    lines = [
        "| method | " + " | ".join(gains) + " |",
        "| --- |" + " ---: |" * len(gains),
    ]
    for name in sorted(names, key=lambda each: (-mean(each), each)):
        cells = [_gain(of[name]) if name in of else "-" for of in gains.values()]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    sure = [
        name
        for name in sorted(names)
        if all(name in of and of[name].always for of in gains.values())
    ]
    said = (
        f"Better than `{BASELINE}` in every seed of every benchmark: {_listed(sure)}."
        if sure
        else f"No method is better than `{BASELINE}` in every seed of every benchmark."
    )
    return "\n".join([*lines, "", said])


def _gain(row: Row) -> str:
    text = f"{row.gain:+.1f}"
    return f"**{text}**" if row.always else text


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _sentences(table: Sequence[Row]) -> str:
    """Return what the table says: the best, the cheapest that always helps, and what harms."""
    if not table:
        return f"No run of `{BASELINE}` to compare with."
    best = table[0]
    always = [row for row in table if row.always]
    never = [row.name for row in table if row.better == 0]
    out = [f"Greatest mean gain: `{best.name}`, {best.gain:+.1f} points over {best.seeds} seeds."]
    if always:
        cheapest = min(always, key=lambda row: row.time)
        out.append(
            f"Better in every seed: {_listed([row.name for row in always])}; of these "
            f"`{cheapest.name}` costs least."
        )
    else:
        out.append("No method is better in every seed.")
    if never:
        out.append(f"Better in no seed: {_listed(never)}.")
    return " ".join(out)


def _table(table: Sequence[Row]) -> str:
    lines = [
        "| method | gain | better in seeds | gap closed | worst class | time |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for row in table:
        closed = "-" if row.closed is None else f"{100 * row.closed:.0f} %"
        name, points = row.lost
        lines.append(
            f"| `{row.name}` | {row.gain:+.1f} | {row.better} of {row.seeds} | {closed} "
            f"| {name} {points:+.1f} | x{row.time:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
