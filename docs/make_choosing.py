"""Write docs/choosing.md, "which method should I use", from the records of the benchmarks alone.

    python docs/make_choosing.py

Each `benchmarks/*/records.jsonl` is a benchmark. A system counts if it has the name of its method;
variants have other names. Nothing is typed: what the page says of a method follows from its runs.
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generated import between, bring_up_to_date
from make_overview import COSTS, relative

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
    time: float | None
    """Of an update at full size in the baseline's, where `benchmarks/step_cost.py` measured it."""

    @property
    def always(self) -> bool:
        """Whether it is better in every seed."""
        return self.better == self.seeds


LEAST = 3
"""Methods that make a benchmark a comparison; with fewer, its trainings have only begun."""


def main() -> None:
    """Bring the page up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(page: str) -> str:
    """Return the page with what today's records say."""
    found = {path.parent.name: read(path) for path in sorted(BENCHMARKS.glob("*/records.jsonl"))}
    tables = {name: rows(runs) for name, runs in found.items()}
    compared = {name: table for name, table in tables.items() if len(table) >= LEAST}
    return between(page, BEGIN, END, body(compared))


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
    return Row(
        name=name,
        seeds=len(seeds),
        gain=statistics.fmean(gains),
        better=sum(gain > 0 for gain in gains),
        closed=sum(part) / sum(gap) if gap and sum(gap) > 0 else None,
        lost=_lost(own, base, seeds),
        time=_time(name),
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


@functools.cache
def _costs() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(COSTS.read_text(encoding="utf-8"))
    return found


def _time(name: str) -> float | None:
    """Return what an update costs on ResNet-101, or else on MiT-B5."""
    for folder in ("gta5-cityscapes/paper/resnet101", "gta5-cityscapes/transformer/mitb5"):
        measured = relative(name, folder, _costs())
        if measured != "-":
            return float(measured.split(",")[0])
    return None


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
        cheapest = min(always, key=lambda row: row.time or float("inf"))
        least = f"; of these `{cheapest.name}` costs least" if cheapest.time else ""
        out.append(f"Better in every seed: {_listed([row.name for row in always])}{least}.")
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
        time = "-" if row.time is None else f"x{row.time:.1f}"
        lines.append(
            f"| `{row.name}` | {row.gain:+.1f} | {row.better} of {row.seeds} | {closed} "
            f"| {name} {points:+.1f} | {time} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
