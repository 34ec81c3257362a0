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
COUNTS = "<!-- promises: written by docs/make_reliability.py -->", "<!-- end of promises -->"
BUSY = ", machine busy"
"""Ending of the notices that `benchmarks.faults.kills` blames on the machine."""
KILLS = "<!-- kills: written by docs/make_reliability.py -->", "<!-- end of kills -->"
FUZZ = "<!-- fuzz: written by docs/make_reliability.py -->", "<!-- end of fuzz -->"


def main() -> None:
    """Bring the page up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(page: str) -> str:
    """Return the page with the tables of the results files between its marks."""
    counts, kills, fuzz = (
        json.loads((MEASURED / f"{name}.json").read_text()) for name in ("counts", "kills", "fuzz")
    )
    page = between(page, *COUNTS, _counts(counts))
    return between(between(page, *KILLS, _kills(kills)), *FUZZ, _fuzz(fuzz))


def _counts(promises: dict[str, dict[str, Any]]) -> str:
    rows = ["| promise | tests | last measured |", "| --- | --- | --- |"]
    for promise in promises.values():
        files = dict.fromkeys(test.partition("::")[0] for test in promise["tests"])
        tests = ", ".join(f"`{file}`" for file in files)
        rows.append(f"| {promise['promise']} | {tests} | {promise.get('measured', '-')} |")
    dates = sorted({promise["date"] for promise in promises.values() if "date" in promise})
    return "\n".join(
        [*rows, "", f"Last measured: {' to '.join(dates[:: len(dates) - 1 or 1])}.", ""]
    )


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
    late = sum(run["hits"].get("pre-emption, killed after 10 s", 0) for run in runs)
    busy = sum(run["hits"].get(f"pre-emption, killed after 10 s{BUSY}", 0) for run in runs)
    said = f"{total['notice'] - late - busy} of {total['notice']} notices were met"
    if busy:
        said += f"; {busy} ended before the training had two seconds of the processor"
    last = max(run["date"] for run in runs)
    return "\n".join([*rows, "", f"{said}. Last measured: {last}.", ""])


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
    noted = [run for run in runs if "processor_minutes" in run]
    used, of = (sum(run[key] for run in noted) for key in ("processor_minutes", "minutes"))
    shared = f" ({used:.1f} of the last {of:g} computing, on a busy machine)"
    last = max(run["date"] for run in runs)
    said = f"{minutes:g} minutes{shared if noted else ''}; last measured: {last}."
    return "\n".join([*rows, "", said, ""])


if __name__ == "__main__":
    main()
