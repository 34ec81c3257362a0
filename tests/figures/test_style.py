from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from clan.core.errors import RunError
from clan.figures.style import (
    SYSTEM_COLORS,
    by_system,
    new_figure,
    paper_style,
    save_figure,
    svg_text,
    system_colors,
    system_label,
    system_order,
)


def line() -> Figure:
    with paper_style():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.plot([0, 1], [1, 2], label="CLAN")
        axes.set_xlabel("step")
        return figure


def test_known_systems_keep_their_colour_whoever_stands_beside_them() -> None:
    alone = system_colors(["clan"])
    among = system_colors(["mine", "source only", "clan", "another"])
    assert alone["clan"] == among["clan"] == SYSTEM_COLORS["clan"]
    assert among["source only"] == SYSTEM_COLORS["source_only"]
    assert len(set(among.values())) == 4
    assert system_colors(["another", "mine"]) == {n: among[n] for n in ("another", "mine")}


def test_more_systems_than_colours_still_have_one() -> None:
    assert len(system_colors(f"x{i}" for i in range(30))) == 30


def test_order_is_that_of_the_papers_tables() -> None:
    assert system_order(["oracle", "clan", "mine", "tan", "source_only", "clan"]) == [
        "source_only",
        "tan",
        "clan",
        "mine",
        "oracle",
    ]
    assert by_system(["clan", "tan", "clan"]) == {"tan": [1], "clan": [0, 2]}
    assert [system_label(n) for n in ("tan", "source_only", "mine")] == [
        "TAN",
        "source only",
        "mine",
    ]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_figure_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_figure(line(), tmp_path / "deep" / f"{name}{suffix}", dpi=60)
    files = sorted((tmp_path / "deep").iterdir())
    assert [file.name for file in files] == [f"a{suffix}", f"b{suffix}"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_style_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    save_figure(line(), tmp_path / "a.png", dpi=30)
    assert dict(mpl.rcParams) == before


def test_svg_of_a_page_has_ids_of_its_own() -> None:
    first, second = svg_text(line(), "one"), svg_text(line(), "two")
    assert first.startswith("<svg")
    assert first != second


def test_unknown_suffix_and_unwritable_path_are_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"unknown suffix '\.jpg'.*\.png"):
        save_figure(line(), tmp_path / "a.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        save_figure(line(), tmp_path / "file" / "a.png")
