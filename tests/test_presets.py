"""The packaged presets: what they say is what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

import clan
from clan.config import Config, differences, load_config, preset_names
from clan.methods import METHODS
from clan.options import Options

PRESETS = Path(str(files("clan"))) / "presets"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_says_what_it_is(name: str) -> None:
    config = load_config(name)
    assert config.name == name.split("/")[-1]
    assert config.description
    assert config.method.name in METHODS


def test_all_files_are_presets_or_bases() -> None:
    found = {str(p.relative_to(PRESETS).with_suffix("")) for p in PRESETS.rglob("*.yaml")}
    bases = {name for name in found if name.split("/")[-1].startswith("_")}
    assert found - bases == set(preset_names())
    assert bases


@pytest.mark.parametrize("name", preset_names())
def test_extends_chains_end(name: str) -> None:
    path, seen = PRESETS / f"{name}.yaml", set()
    while "extends" in (tree := yaml.safe_load(path.read_text())):
        assert path not in seen
        seen.add(path)
        path = path.parent / tree["extends"]
        assert path.is_file()


@pytest.mark.parametrize("folder", sorted({name.split("/")[0] for name in preset_names()}))
def test_systems_differ_in_what_their_own_files_say(folder: str) -> None:
    systems = [name for name in preset_names() if name.startswith(f"{folder}/")]
    for first in systems:
        for second in systems:
            own = set(_keys(first)) | set(_keys(second))
            for key, _, _ in differences(load_config(first), load_config(second)):
                # a group that a file names as a whole covers its keys; a method brings its options
                assert any(key == k or key.startswith(f"{k}.") for k in {*own, "method"}), key


def _keys(name: str) -> Iterator[str]:
    tree = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    yield from _flat(tree, "")


def _flat(tree: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif key != "extends":
            yield f"{prefix}{key}"


def test_the_town_compares_one_factor_at_a_time() -> None:
    configs = [load_config(f"town/{name}") for name in ("source_only", "adabn", "tan", "clan")]
    for other in configs[1:]:
        keys = {key for key, _, _ in differences(configs[0], other)}
        assert all(key in ("name", "description") or key.startswith("method.") for key in keys)


def _fields(group: type[Options]) -> Iterator[tuple[str, str]]:
    for name, field in group.model_fields.items():
        yield group.__name__, name
        for inner in _options(field.annotation):
            yield from _fields(inner)


def _options(annotation: Any) -> Iterator[type[Options]]:
    if isinstance(annotation, type) and issubclass(annotation, Options):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _options(argument)


def test_every_field_is_read_by_some_code() -> None:
    code = "\n".join(p.read_text() for p in Path(clan.__file__).parent.rglob("*.py"))
    unread = {
        (group, name)
        for group, name in _fields(Config)
        if not re.search(rf"\.{name}\b(?!\s*=[^=])", code)
    }
    assert unread == set()


def test_every_field_is_documented() -> None:
    def undocumented(group: type[Options]) -> Iterator[str]:
        for name, field in group.model_fields.items():
            if not field.description:
                yield f"{group.__name__}.{name}"
            for inner in _options(field.annotation):
                yield from undocumented(inner)

    assert list(undocumented(Config)) == []
