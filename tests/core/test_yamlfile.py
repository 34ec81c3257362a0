"""The reader of YAML: what people write is read; what would hang or break it is one plain error."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clan.core.errors import ConfigError, DataError, RunError
from clan.core.yamlfile import MOST_BYTES, parse_yaml, read_mapping, read_yaml


def refused(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    began = time.process_time()
    with pytest.raises(DataError) as error:
        read_yaml(path)
    assert time.process_time() - began < 5
    said = str(error.value)
    assert said.startswith(str(path)), said
    assert "\n" not in said
    assert len(said) < 500
    return said.removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seed: 0\nlr: 0x_", [":2:5", "lr: '0x_'", "int"]),
        ("a:\n  b: !!int ''", [":2:6", "a.b: ''", "int"]),
        ("a: !!float x", ["a: 'x'", "float"]),
        ("a: !!bool perhaps", ["a: 'perhaps'", "bool"]),
        ("a: !!timestamp 2024-13-45", ["a: '2024-13-45'", "timestamp"]),
        (f"seed: {'9' * 5000}", [":1:7", "seed: a number of 5000 characters"]),
        (f"seed: 0b{'1' * 90}", ["seed: '0b1", "does not fit 64 bits"]),
        ("seed: 18446744073709551616", ["seed: ", "64 bits"]),
        ("a: 1\nb: \0", [":2", "0x0"]),
        ('a: "x\\0y"', ["a: ", "NUL"]),
        ('a: "\\ud800"', ["a: ", "half of a character"]),
        ("a: 1\nb: {c: 1, c: 2}", [":2:11", "'c' appears twice"]),
        ("a: 1\na: 2", [":2:1", "'a' appears twice"]),
        ("[x, y]: 1", ["a key is a list"]),
        ("!!set [1]", ["expected a mapping"]),
        ("a: !!python/object:os.system x", ["a: ", "python/object"]),
        ("&a [*a]", ["within what it names"]),
        ("a: *.png", ["quotes"]),
        ("a: 1\n---\nb: 1", [":2", "another document"]),
        (b"a: \xff", ["utf-8"]),
    ],
)
def test_a_hostile_value_is_named(tmp_path: Path, text: str | bytes, parts: list[str]) -> None:
    said = refused(tmp_path, text)
    for part in parts:
        assert part in said


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 50_000])
def test_nesting_ends(tmp_path: Path, text: str) -> None:
    assert "40 deep" in refused(tmp_path, text)


def doubling(levels: int, first: str, line: str) -> str:
    """Return a text each line of which holds the one before several times."""
    return "\n".join([f"a0: &a0 {first}", *(line.format(n, n - 1) for n in range(1, levels))])


@pytest.mark.parametrize(
    "text",
    [
        doubling(12, "[x, x]", "a{0}: &a{0} [*a{1}, *a{1}, *a{1}, *a{1}, *a{1}]"),
        doubling(60, "{x: 1}", "a{0}: &a{0} {{<<: [*a{1}, *a{1}]}}"),
        f"a: &a {'x' * 1_000_000}\nb: [{', '.join(['*a'] * 1000)}]",
    ],
    ids=["lists", "merged mappings", "a long text"],
)
def test_aliases_that_grow_without_end_are_refused(tmp_path: Path, text: str) -> None:
    assert "aliases make more than 4,194,304 characters" in refused(tmp_path, text)


def test_a_long_file_is_not_read(tmp_path: Path) -> None:
    said = refused(tmp_path, "a: " + "x" * MOST_BYTES)
    assert f"at most {MOST_BYTES:,}" in said


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file"):
        read_yaml(tmp_path / "none.yaml", RunError)
    with pytest.raises(ConfigError, match="is no file"):
        read_yaml(tmp_path, ConfigError)


def test_what_people_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "base: &base {lr: 1e-3, steps: 500}\nnext: {<<: *base, steps: 7}\nlist: [*base, *base]\n"
        "name: 2024-13-45\nday: 2024-01-02\nhex: 0x10\nbig: 9223372036854775807\n"
    )
    found = read_mapping(path)
    assert found["next"] == {"lr": "1e-3", "steps": 7}
    assert found["list"] == [found["base"]] * 2
    assert (found["name"], found["day"]) == ("2024-13-45", "2024-01-02")
    assert (found["hex"], found["big"]) == (16, 2**63 - 1)


def test_a_map_of_every_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("{" + ", ".join(f"{raw}: ignore" for raw in range(65_536)) + "}")
    assert len(read_mapping(path)) == 65_536


@given(st.text(max_size=60) | st.text(alphabet="[]{}:,-&*!?|>'\"#%@`<=~0x_ \n\\eaNu", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ConfigError):
        parse_yaml(text, "the text", ConfigError)
