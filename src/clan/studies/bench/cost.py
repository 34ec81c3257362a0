"""Time and memory of an update, from the trainings' logs or measured on an idle machine.

`python -m clan.studies.bench.cost UPDATES PRESET KEY=VALUE...` measures one configuration and
prints JSON. Each configuration is measured in its own process, as the peak of memory is that of a
process.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clan.config.flat import flat
from clan.config.loading import load_config
from clan.config.tree import Config
from clan.core.errors import RunError
from clan.core.files import write_whole
from clan.data.sizes import input_size
from clan.methods import METHODS
from clan.runs.folder import RunFolder
from clan.studies.bench.task import System
from clan.training.domains import open_domains
from clan.training.resuming import FREE_TO_CHANGE

FILE = "cost.json"
UPDATES = 9
"""Updates per kind of stage; the first includes set-up and is not timed."""
ROUNDS = 3
"""Number of measurements of each system, in rounds over all systems: a machine's speed changes over
minutes, and in rounds this affects all systems equally."""
LOGGED = "medians of the trainings' logs; trainings may have shared the machine"
"""Note on costs that come from the logs of the trainings."""
MIXED = "; they ran on several machines, so ratios mean little"
"""Added to `LOGGED` if the runs were trained on different machines."""


@dataclass(frozen=True)
class Cost:
    """Seconds and peak of memory in MiB of one update; None if unknown."""

    time: float | None
    memory: float | None


UNKNOWN = Cost(None, None)
MIB = 2**20


def recorded(runs: Iterable[RunFolder]) -> Cost:
    """Return the medians over the logs of a system's runs."""
    seconds: list[float] = []
    memory: list[float] = []
    for run in runs:
        last, peak = 0, 0.0
        for record in run.read_metrics():
            if "seconds" in record and record["step"] > last:
                seconds.append(record["seconds"] / (record["step"] - last))
                last, peak = record["step"], max(peak, record.get("memory", 0.0))
        memory += [peak / MIB] if peak else []
    return Cost(
        statistics.median(seconds) if seconds else None,
        statistics.median(memory) if memory else None,
    )


def measured(path: Path, systems: Sequence[System]) -> tuple[dict[str, Cost], str] | None:
    """Return what `measure_all` wrote for these systems into a file, and a note on how.

    Returns:
        None if it has measured none of them. If the processor was shared during the measurement,
        times are processor time instead of wall time.
    """
    kept = _read(path)
    found = {
        system.name: entry["rounds"]
        for system in systems
        if (entry := kept.get(system.name, {})).get("rounds")
        and entry["of"] == digest(system.config)
    }
    if not found:
        return None
    busy = any(had_to_wait(one) for rounds in found.values() for one in rounds)
    clock = "processor_seconds" if busy else "seconds"
    counts = sorted({len(rounds) for rounds in found.values()})
    how = "one round" if counts == [1] else f"medians of {' to '.join(map(str, counts))} rounds"
    how += " over the systems, each measured alone, in its most expensive stage"
    if busy:
        how += "; the machine was shared, so time is processor time, summed over threads"
    costs = {
        name: Cost(
            statistics.median(one[clock] for one in rounds),
            statistics.median(one["memory"] for one in rounds) / MIB,
        )
        for name, rounds in found.items()
    }
    return costs, how


def outdated(path: Path, systems: Sequence[System]) -> list[str]:
    """Return the systems that were measured with another configuration."""
    kept = _read(path)
    return [
        system.name
        for system in systems
        if (entry := kept.get(system.name))
        and not (entry.get("rounds") and entry["of"] == digest(system.config))
    ]


def on_cpu(entry: Mapping[str, Any]) -> bool:
    """Whether a measurement was made on a CPU."""
    return str(entry["device"]).startswith("cpu")


def had_to_wait(entry: Mapping[str, Any]) -> bool:
    """Whether the processor was shared during a measurement, so that wall time is too long."""
    return on_cpu(entry) and bool(entry["processor_seconds"] < 0.9 * entry["seconds"])


def measure_all(path: Path, systems: Sequence[System], tell: Any) -> list[str]:
    """Measure each system alone, in rounds over all of them; write a JSON file.

    Measurements of the same configuration and machine are not repeated. A system that fails is not
    tried again in later rounds.

    Args:
        path: the file; what it has already is not measured again.
        systems: to be measured.
        tell: called with a line before each measurement.

    Returns:
        The failures, a sentence each.
    """
    # imported here, as it imports torch's compiler, which a table does not need
    from clan.runs.environment import machine

    place = machine()
    kept = _read(path)
    failures: dict[str, str] = {}
    for turn in range(ROUNDS):
        for system in systems:
            key = {"of": digest(system.config), "machine": place}
            entry = kept.get(system.name, {})
            rounds = entry.get("rounds", []) if key.items() <= entry.items() else []
            if len(rounds) > turn or system.name in failures:
                continue
            tell(f"measuring {system.name}, round {turn + 1} of {ROUNDS}")
            try:
                found = measure_apart(system.preset, [*system.overrides, *_sizes(system.config)])
            except RunError as error:
                failures[system.name] = f"cost of {system.name}: {error}"
                continue
            kept[system.name] = {**key, "rounds": [*rounds, found]}
            write_whole(path, (json.dumps(kept, indent=1) + "\n").encode())
    return list(failures.values())


def measure_apart(preset: str, overrides: Sequence[str], updates: int = UPDATES) -> dict[str, Any]:
    """Measure a configuration in its own process; the keys are those of `measure`.

    Raises:
        RunError: it failed; with the last line of its output.
    """
    command = [sys.executable, "-m", "clan.studies.bench.cost", str(updates), preset, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        killed = " (killed; out of memory?)" if done.returncode == -9 else ""
        raise RunError(f"failed{killed}: {last}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measure(preset: str, overrides: Sequence[str], updates: int) -> dict[str, Any]:
    """Time updates of each kind of stage in this process; the most expensive stage counts."""
    from clan.training.dry_run import dry_run

    result = dry_run(load_config(preset, overrides), updates)
    return {
        "seconds": round(result.seconds, 5),
        "processor_seconds": round(result.processor_seconds, 5),
        "memory": result.peak_bytes,
        "stages": {name: round(seconds, 5) for name, seconds in result.stages.items()},
        "device": result.device,
        "images": {name: list(shape) for name, shape in result.shapes.items()},
        "parameters": sum(total for _, total in result.parameters.values()),
        "hours": round(result.hours, 2),
    }


def digest(config: Config) -> str:
    """Return a hash of all settings that may change the cost, so without name, seed and places."""
    values = {
        key: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for key, value in flat(config).items()
        if key not in (*FREE_TO_CHANGE, "name", "seed")
    }
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sizes(config: Config) -> list[str]:
    """Return overrides with the image size of views that have none of their own."""
    uses_target = METHODS[config.method.name].uses_target
    views = {"source": config.data.source_view}
    if uses_target:
        views["target"] = config.data.target_view
    open_ended = [
        name
        for name, view in views.items()
        if not isinstance(view.size, tuple) and view.crop is None
    ]
    if not open_ended:
        return []
    domains = open_domains(config.data)
    sizes = {
        name: input_size(views[name].size, getattr(domains, name).image_size(0))
        for name in open_ended
    }
    return [f"data.{name}_view.size=[{h},{w}]" for name, (h, w) in sizes.items()]


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        kept: Mapping[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return dict(kept)
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is not valid JSON ({error}); delete it to measure anew") from error


def main() -> None:
    """Measure the configuration of the command line."""
    updates, preset, *overrides = sys.argv[1:]
    print(json.dumps(measure(preset, overrides, int(updates))))


if __name__ == "__main__":
    main()
