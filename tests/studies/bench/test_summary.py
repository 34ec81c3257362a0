"""A comparison in short says what the runs say, and nothing that they do not."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from clan.core.console import Console
from clan.studies.bench.cost import LOGGED
from clan.studies.bench.run import prepare
from clan.studies.bench.summary import class_scores, differences, findings, scores
from clan.studies.bench.table import BenchTable
from clan.studies.bench.task import System
from tests.studies.bench.conftest import copy_of, request, run

GAINS = {"source_only": {0: 20.0, 1: 30.0}, "clan": {0: 24.0, 1: 36.0}, "oracle": {0: 40.0}}


@pytest.fixture
def compared(street: Path, whole: Path) -> tuple[BenchTable, list[System]]:
    """The finished comparison, with mIoU of seeds that can be reckoned by hand."""
    bench = prepare(request(street, whole, table_only=True), Console(quiet=True))
    return replace(bench.table({}), scored=GAINS), list(bench.systems)


def test_gains_are_of_equal_seeds(compared: tuple[BenchTable, list[System]]) -> None:
    table, _ = compared
    assert differences(table, "clan") == [4, 6]
    assert differences(table, "oracle") == [20]
    facts = scores(table)
    assert facts.heads == ("system", "seeds", "mIoU", "gain", "better in", "gap closed")
    cells = {row[0]: dict(zip(facts.heads, row, strict=True)) for row in facts.rows}
    spread = statistics.stdev([4, 6])
    assert cells["clan"]["gain"].strip("*") == f"+5.0 ± {spread:.1f}"
    assert cells["clan"]["better in"] == "2 of 2"
    assert cells["source_only"]["gain"] == cells["source_only"]["better in"] == "-"
    # a spread takes two seeds
    assert cells["oracle"]["gain"] == "+20.0"
    # the trainings' logs say nothing sure of the time
    assert table.how.startswith(LOGGED)
    measured = scores(replace(table, how="medians of 3 rounds"))
    assert measured.heads[-1] == "time"


def test_what_is_found(compared: tuple[BenchTable, list[System]]) -> None:
    table, systems = compared
    said = findings(table, systems, (0, 1))
    assert said[0] == "Not complete; with fewer seeds than 2: `oracle`."
    assert said[1].startswith("Greatest mean gain: `clan`, +5.0 ± 1.4 points")
    assert "Above `source_only` in every seed: `clan`." in said
    assert "Below it in every seed: no system." in said
    assert any(line.startswith("Rank test over 2 seeds: at 5 % no system differs") for line in said)
    assert not any(line.startswith("time ") for line in said)
    worse = replace(table, scored={**GAINS, "clan": {0: 19.0, 1: 26.0}})
    said = findings(worse, systems, (0, 1))
    assert "No system gains on average; `clan` loses least, -2.5 ± 2.1 points." in said
    assert "Below it in every seed: `clan`." in said
    mixed = replace(table, scored={**GAINS, "clan": {0: 19.0, 1: 36.0}})
    said = findings(mixed, systems, (0, 1))
    assert {
        "Above `source_only` in every seed: no system.",
        "Below it in every seed: no system.",
    } < {*said}


def test_a_system_without_a_run_is_named(compared: tuple[BenchTable, list[System]]) -> None:
    table, systems = compared
    known = {name: of for name, of in GAINS.items() if name != "clan"}
    said = findings(replace(table, scored=known), systems, (0, 1))
    assert said[0] == "Not complete; with fewer seeds than 2: `oracle`; without a run: `clan`."


def test_what_does_not_read_the_target_is_not_compared(
    compared: tuple[BenchTable, list[System]],
) -> None:
    """A source network that the systems start from is no method."""
    table, systems = compared
    start = replace(systems[0], name="start")
    more = replace(table, scored={**GAINS, "start": {0: 50.0, 1: 50.0}})
    assert "Greatest mean gain: `clan`" in " ".join(findings(more, [*systems, start], (0, 1)))


def test_classes_have_a_table_if_it_fits_a_screen(
    compared: tuple[BenchTable, list[System]],
) -> None:
    table, _ = compared
    facts = class_scores(table)
    assert facts is not None
    assert facts.heads == ("system", "sky", "building", "road")
    names = tuple(f"class {i}" for i in range(13))
    wide = replace(table, comparison=replace(table.comparison, classes=names))
    assert class_scores(wide) is None


def test_a_section_of_the_short_page(street: Path, whole: Path, tmp_path: Path) -> None:
    page = tmp_path / "short.md"
    page.write_text("# Mine\n")
    out = copy_of(whole, tmp_path)
    run(request(street, out, summary=page), start=None)
    text = page.read_text()
    assert text.startswith("# Mine\n\n<!-- begin bench -->\n## ")
    assert "| system | seeds | mIoU | gain | better in | gap closed |\n|---|---:|" in text
    mean = json.loads((out / "bench.json").read_text())["rows"][1]["miou"]
    assert f"{mean:.1f} ± " in text
    assert "Class mix" not in text
    assert not (tmp_path / "images").exists()
    run(request(street, out, summary=page), start=None)
    assert page.read_text() == text
