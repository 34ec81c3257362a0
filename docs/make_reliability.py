"""Write the tables of docs/reliability.md from the results files of benchmarks/faults.

    python docs/make_reliability.py

A test fails when the page is out of date.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from generated import between, bring_up_to_date

PAGE = Path(__file__).with_name("reliability.md")
MEASURED = Path(__file__).parents[1] / "benchmarks" / "faults"
KILLS = "<!-- kills: written by docs/make_reliability.py -->", "<!-- end of kills -->"
FUZZ = "<!-- fuzz: written by docs/make_reliability.py -->", "<!-- end of fuzz -->"


def main() -> None:
    """Bring the page up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(page: str) -> str:
    """Return the page with the tables of the results files between its marks."""
    kills, fuzz = (
        json.loads((MEASURED / f"{name}.json").read_text()) for name in ("kills", "fuzz")
    )
    return between(between(page, *KILLS, _kills(kills)), *FUZZ, _fuzz(fuzz))


def _kills(runs: list[dict[str, Any]]) -> str:
    by_family: dict[str, tuple[str, Counter[str]]] = {}
    total: Counter[str] = Counter()
    for run in runs:
        counts = Counter(runs=run["runs"])
        for way, hits in run["hits"].items():
            counts[_column(way)] += hits
        by_family.setdefault(run["family"], (run["method"], Counter()))[1].update(counts)
        total += counts
    rows = [
        "| family | method | SIGKILL at a random time | SIGKILL in a write | signals | "
        "notice of 10 s | trainings, all equal |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *(_row(family, f"`{name}`", counts) for family, (name, counts) in by_family.items()),
        _row("all", "", total),
    ]
    return "\n".join([*rows, "", f"Last measured: {max(run['date'] for run in runs)}.", ""])


def _column(way: str) -> str:
    if way.startswith("pre-emption"):
        return "notice"
    return {"SIGKILL, processor time": "time", "SIGKILL, a write": "write"}.get(way, "signal")


def _row(family: str, method: str, counts: Counter[str]) -> str:
    numbers = (counts[key] for key in ("time", "write", "signal", "notice", "runs"))
    return f"| {family} | {method} | {' | '.join(map(str, numbers))} |"


def _fuzz(runs: list[dict[str, Any]]) -> str:
    kinds: dict[str, Counter[str]] = {}
    for run in runs:
        for kind, counts in run["counts"].items():
            kinds.setdefault(kind, Counter()).update(counts)
    kinds["all"] = sum(kinds.values(), Counter())
    rows = [
        "| kind of input | read | refused in words | faults |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {kind} | {counts['read']:,} | {counts['refused']:,} | {counts['fault']} |"
            for kind, counts in kinds.items()
        ),
    ]
    minutes = sum(run["minutes"] for run in runs)
    last = max(run["date"] for run in runs)
    return "\n".join([*rows, "", f"{minutes:g} minutes; last measured: {last}.", ""])


if __name__ == "__main__":
    main()
