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

RECIPES_BEGIN = "<!-- recipes: written by docs/make_overview.py -->"
RECIPES_END = "<!-- end of recipes -->"
TRANSFORMERS = ("mitb5", "dinov2b")
"""Folders of presets, in the order of the columns."""
RECIPES_HEAD = """\
| method | x time, memory: MiT-B5 | DINOv2-B | GTA5 (19) | SYNTHIA (16) | published with |
| --- | ---: | ---: | ---: | ---: | --- |"""
READ = {
    "fda": ("50.5", "-", "DeepLab-v2, three models' labels; its readme"),
    "dacs": ("52.1", "48.3", "DeepLab-v2; readmes of DACS and CorDA"),
    "daformer": ("68.3", "60.9", "MiT-B5, DAFormer's decoder; its readme"),
    "mic": ("75.9", "-", "MiT-B5 in HRDA, which is not offered here; its readme"),
}
"""Method -> published mIoU on Cityscapes from GTA5 and SYNTHIA, and with which network, by whom."""

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
    page = between(page, BEGIN, END, "\n".join([HEAD, *rows, ""]))
    return between(page, RECIPES_BEGIN, RECIPES_END, recipes(costs))


def recipes(costs: list[dict[str, Any]]) -> str:
    """Return the table of today's recipes: measured on their networks, and as published."""
    lines = []
    for name, (gta5, synthia, source) in READ.items():
        measured = [
            _relative(name, f"gta5-cityscapes/transformer/{network}", costs)
            for network in TRANSFORMERS
        ]
        lines.append(f"| `{name}` | {' | '.join([*measured, gta5, synthia, source])} |")
    return "\n".join([RECIPES_HEAD, *lines, ""])


def _said(page: str) -> dict[str, str]:
    """Return method -> the first two cells of its line."""
    lines = page.partition(BEGIN)[2].partition(END)[0].splitlines()
    cells = [line.strip("| ").split(" | ")[:2] for line in lines if line.startswith("| [`")]
    return {first.split("`")[1]: f"{first} | {second}" for first, second in cells}


def _numbers(name: str, costs: list[dict[str, Any]]) -> list[str]:
    folders = [f"gta5-cityscapes/paper/{network}" for network in NETWORKS]
    relative = [_relative(name, folder, costs) for folder in folders]
    return relative + [_published(name, task, letter) for task in TASKS for letter in "RV"]


def _relative(name: str, folder: str, costs: list[dict[str, Any]]) -> str:
    """Return time and memory of an update at full size in those of the folder's source_only."""
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
