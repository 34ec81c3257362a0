"""The page of results is short, and the long pages have the same numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 250
WIDEST = 130
"""Characters of a table's line, without marks of emphasis, that a screen has room for."""


@pytest.fixture
def program(docs_program: Callable[[str], ModuleType]) -> ModuleType:
    return docs_program("make_results")


def means(text: str) -> dict[str, str]:
    """Return each system's mIoU with its spread, from the first table that has it."""
    found: dict[str, str] = {}
    column = None
    for line in text.splitlines():
        cells = [cell.strip(" *") for cell in line.replace("\\", "").split("|")[1:-1]]
        if "mIoU" in cells:
            column = cells.index("mIoU")
        elif not cells:
            if found:
                break
            column = None
        elif column is not None and not cells[0].startswith("-"):
            found[cells[0]] = cells[column]
    return found


def section(text: str, heading: str) -> str:
    _, _, rest = text.partition(f"## {heading}\n")
    return rest.split("\n## ")[0]


def test_the_example_of_a_table_is_up_to_date(program: ModuleType) -> None:
    page = (program.DOCS / "bench.md").read_text()
    assert program.with_example(page) == page, "run python docs/make_results.py"
    assert "| system | type | mIoU | gain | gap closed | rank | p |" in page


def test_the_readme_has_todays_table(program: ModuleType) -> None:
    page = (program.ROOT / "README.md").read_text()
    assert program.with_street(page) == page, "run python docs/make_results.py"
    assert "| source_only | 3 |" in page


def test_the_page_is_short_and_its_tables_fit_a_screen(program: ModuleType) -> None:
    lines = program.PAGE.read_text().splitlines()
    assert len(lines) <= MOST_LINES
    tables = [line.replace("*", "") for line in lines if line.startswith("|")]
    assert len(tables) > 30
    assert max(map(len, tables)) <= WIDEST


def test_no_number_was_typed(program: ModuleType) -> None:
    for benchmark in program.SHOWN:
        assert not re.search(r"\d", benchmark.about), benchmark.about


def test_the_long_pages_have_the_same_scores(program: ModuleType) -> None:
    """They need data and are written by another call."""
    page = program.PAGE.read_text()
    for benchmark in program.SHOWN:
        short = means(section(page, benchmark.title))
        long = means((program.NOTES / f"{benchmark.page}.md").read_text())
        assert short
        assert long == short, "run python docs/make_results.py --data DATA"


def test_pictures_of_the_long_pages_are_there() -> None:
    pages = list((ROOT / "docs" / "notes").glob("*.md"))
    shown = [(p, name) for p in pages for name in re.findall(r"!\[.*?\]\((.+?)\)", p.read_text())]
    assert len(shown) >= 5
    assert not [name for page, name in shown if not (page.parent / name).is_file()]
    used = {Path(name).name for _, name in shown}
    assert used == {path.name for path in (ROOT / "docs" / "notes" / "images").iterdir()}
