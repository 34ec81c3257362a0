"""What strangers named reaches terminals and spreadsheets as text."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from clan.core.console import Console
from clan.core.text import csv_line, hidden_in, one_line, visible

HOSTILE = "a\x1b[31mred\x07\x9b\u202etxt\udc80"
SHOWN = r"a\x1b[31mred\x07\x9b\u202etxt\udc80"


def shown(action: str, text: str) -> str:
    console = Console(file=io.StringIO(), width=200)
    if action == "table":
        table = Table("name")
        table.add_row(Text(text))
        console.print(table)
    else:
        getattr(console, action)(text)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_control_characters_are_written_out() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("two\nlines\tof Müller, 漢字") == "two\nlines\tof Müller, 漢字"
    assert one_line("two\nlines\r") == r"two\nlines\r"
    assert (hidden_in("a\nb"), hidden_in("Müller"), hidden_in("\x1b")) == (r"\n", "", r"\x1b")


@pytest.mark.parametrize("action", ["print", "say", "table"])
def test_the_console_lets_none_through(action: str) -> None:
    # rich itself leaves the bell out
    text = shown(action, one_line(HOSTILE) if action == "table" else HOSTILE)
    assert SHOWN.replace(r"\x07", "") in text.replace(r"\x07", "")
    assert not set(text) & set("\x1b\x07\x9b\u202e\udc80")


def test_a_name_makes_no_message_of_its_own() -> None:
    said = shown("say", "cannot read a\nerror: all is lost\n  key: value")
    assert said.splitlines() == ["cannot read a", "  error: all is lost", "  key: value"]


def test_colours_of_rich_itself_stay() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print("[red]error[/]")
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[31merror\x1b[0m" in console.file.getvalue()


@given(st.text())
def test_any_text_becomes_printable_once(text: str) -> None:
    found = one_line(text)
    found.encode()
    assert "\n" not in found
    assert "\x1b" not in found
    assert one_line(found) == found


def test_cells_that_a_spreadsheet_would_calculate_are_text() -> None:
    cells = ["=1+1", "+x", "-x", "@x", "-1.5", "+2e3", -1, "", "a,b", "x\ny", "\t=1"]
    assert next(csv.reader([csv_line(cells)])) == [
        *("'=1+1", "'+x", "'-x", "'@x", "-1.5", "+2e3", "-1", "", "a,b", r"x\ny", r"\t=1")
    ]
