"""Measure time and peak memory of one training step for presets, in several precisions.

python benchmarks/step_cost.py gta5-cityscapes/modern/resnet101/clan --precision 32-true bf16-mixed

Images are generated and weights are random: no data set is needed. For a method with stages, the
most expensive update counts. Each measurement runs in a new process, since the peak memory of a
process never falls. Results are added to a JSON file, which may hold those of other machines;
`--page` puts the table of all of them between the marks of a Markdown page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import clan
from clan.config.loading import load_config
from clan.core.errors import ClanError
from clan.runs.environment import machine
from clan.studies.bench.cost import had_to_wait, measure_apart, on_cpu
from clan.training.dry_run import UPDATES

OUT = Path(__file__).resolve().parent / "step_cost.json"
BEGIN, END = "<!-- begin step cost -->", "<!-- end step cost -->"
KEY = ("preset", "overrides", "precision", "device")
"""Key of a measurement: a new one replaces an older one with the same key."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    rows = read(options.out)
    for preset in options.presets:
        for precision in options.precision:
            print(f"{preset}, {precision} ...", file=sys.stderr, flush=True)
            row = measure(preset, options.set, precision, options.updates)
            rows = merged(rows, row)
            options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    table = markdown(rows)
    print(table)
    if options.page is not None:
        put(options.page, table)


def measure(
    preset: str, overrides: Sequence[str], precision: str, updates: int = UPDATES
) -> dict[str, Any]:
    """Measure a configuration in a new process; return a row of the table."""
    changes = [*overrides, f"training.precision={precision}"]
    try:
        config = load_config(preset, changes)
        found = measure_apart(preset, changes, updates)
    except ClanError as error:
        raise SystemExit(f"{preset}, {precision}: failed: {error}") from None
    return {
        "preset": preset,
        "overrides": list(overrides),
        "precision": precision,
        "device": found["device"],
        "machine": machine(),
        "images": found["images"],
        "parameters": found["parameters"],
        "steps": config.training.steps,
        "seconds": found["seconds"],
        "processor_seconds": found["processor_seconds"],
        "stages": found["stages"],
        "gib": round(found["memory"] / 2**30, 3),
        "hours": found["hours"],
        "versions": {"clan": clan.__version__, "torch": str(torch.__version__)},
    }


def read(path: Path) -> list[dict[str, Any]]:
    """Return the earlier rows; none if there is no file."""
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def merged(rows: Sequence[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows with a new one, which replaces an older one with the same `KEY`."""
    others = [r for r in rows if any(r[key] != row[key] for key in KEY)]
    return sorted([*others, row], key=lambda r: (r["device"], r["preset"], r["precision"]))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table for each machine as Markdown."""
    out: list[str] = []
    for place in sorted({row["machine"] for row in rows}):
        out += [
            place,
            "",
            "| preset | images per step | precision | seconds per step | of processor time "
            "| peak GiB | x `source_only`: time, memory | hours |",
            "|---|---|---|---:|---:|---:|---:|---:|",
        ]
        for row in (r for r in rows if r["machine"] == place):
            images = " + ".join(f"{n} of {h}x{w}" for n, h, w in row["images"].values())
            changes = "".join(f", `{change}`" for change in row["overrides"])
            clock = (f"{row['seconds']:.2f}", f"{row['hours']:.0f}")
            seconds, hours = ("-", "-") if had_to_wait(row) else clock
            out.append(
                f"| `{row['preset']}`{changes} | {images} | {row['precision']} "
                f"| {seconds} | {row['processor_seconds']:.2f} | {row['gib']:.1f} "
                f"| {_relative(row, rows)} | {hours} |"
            )
        out.append("")
    return "\n".join(out).rstrip()


def _relative(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return time and memory relative to the folder's source_only, measured alike."""
    base = {**row, "preset": f"{row['preset'].rpartition('/')[0]}/source_only"}
    alike = [r for r in rows if all(r[key] == base[key] for key in (*KEY, "machine"))]
    if not alike:
        return "-"
    clock = "processor_seconds" if on_cpu(row) else "seconds"
    time, memory = (row[key] / alike[0][key] for key in (clock, "gib"))
    return f"{time:.1f}, {memory:.1f}"


def put(page: Path, table: str) -> None:
    """Replace what stands between the marks of a page.

    Raises:
        SystemExit: the page has no marks.
    """
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page} has no {BEGIN} and {END} to put the table between")
    before, rest = text.split(BEGIN, 1)
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("presets", nargs="+", help="presets or configuration files")
    parser.add_argument("--precision", nargs="+", default=["32-true"], help="such as bf16-mixed")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--updates",
        type=int,
        default=UPDATES,
        help="number per measurement; the first counts only if alone",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON file to add to")
    parser.add_argument("--page", type=Path, help="a Markdown page with marks for the table")
    return parser


if __name__ == "__main__":
    main()
