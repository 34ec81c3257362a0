"""Write the numbers of the first table of docs/methods.md: measured costs and published scores.

    python docs/make_overview.py

The first two cells of each line, the method and what it adds, stay as they are. The others come
from `benchmarks/step_cost.json` and from the paper's tables in the package.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

from generated import between, bring_up_to_date

from clan.comparison.published import published_table
from clan.methods import METHODS

DOCS = Path(__file__).parent
PAGE = DOCS / "methods.md"
COSTS = DOCS.parent / "benchmarks" / "step_cost.json"
BEGIN = "<!-- overview: cells from the third on are written by docs/make_overview.py -->"
END = "<!-- end of overview -->"
NETWORKS = {"resnet101": "R", "vgg16": "V"}
"""Folder of presets -> letter of the network in the paper's tables."""
ALIKE = ("overrides", "precision", "device", "machine")
"""What two measurements share that are set against each other."""
TASKS = ("gta5", "synthia")
HEAD = """\
| method | what it adds | x time, memory: R | V | GTA5: R | V | SYNTHIA: R | V |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""

PRINTED = {
    "tan": "Baseline (TAN)",
    "clan": "CLAN",
    "mcd": "MCD",
    "fcns_wild": "FCNs in the wild",
    "cycada_feature": "CyCADA (feature)",
    "cross_city": "Cross-city",
    "cbst": "CBST",
    "cda": "CDA",
}
"""Method -> its name in the paper's tables."""
ELSEWHERE = {
    ("minent", "gta5", "R"): 42.3,
    ("advent", "gta5", "R"): 43.8,
    ("advent", "gta5", "V"): 36.1,
}
"""From Vu et al., ADVENT, CVPR 2019, Table 1."""


def main() -> None:
    """Bring the page up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(page: str) -> str:
    """Return the page with today's numbers behind what its table says of each method."""
    costs = json.loads(COSTS.read_text(encoding="utf-8"))
    said = _said(page)
    rows = [
        f"| {said.get(name, f'`{name}` | ')} | {' | '.join(_numbers(name, costs))} |"
        for name in METHODS
    ]
    return between(page, BEGIN, END, "\n".join([HEAD, *rows, ""]))


def _said(page: str) -> dict[str, str]:
    """Return method -> the first two cells of its line."""
    lines = page.partition(BEGIN)[2].partition(END)[0].splitlines()
    cells = [line.strip("| ").split(" | ")[:2] for line in lines if line.startswith("| [`")]
    return {first.split("`")[1]: f"{first} | {second}" for first, second in cells}


def _numbers(name: str, costs: list[dict[str, Any]]) -> list[str]:
    relative = [_relative(name, network, costs) for network in NETWORKS]
    return relative + [_published(name, task, letter) for task in TASKS for letter in "RV"]


def _relative(name: str, network: str, costs: list[dict[str, Any]]) -> str:
    """Return time and memory of an update at full size in those of source_only."""
    folder = f"gta5-cityscapes/paper/{network}"
    for row, base in product(costs, costs):
        if (row["preset"], base["preset"]) != (f"{folder}/{name}", f"{folder}/source_only"):
            continue
        if row["device"].startswith("cpu") and all(row[key] == base[key] for key in ALIKE):
            return ", ".join(f"{row[key] / base[key]:.1f}" for key in ("processor_seconds", "gib"))
    return "-"


def _published(name: str, task: str, letter: str) -> str:
    """Return the published mIoU, and that of source only above it in the same table."""
    if (name, task, letter) in ELSEWHERE:
        return f"{ELSEWHERE[name, task, letter]}"
    base = 0.0
    for row in published_table(task).rows:
        if row.gain is None:
            base = row.miou
        elif (row.method, row.architecture) == (PRINTED.get(name), letter):
            return f"{row.miou} ({base})"
    return "-"


if __name__ == "__main__":
    main()
