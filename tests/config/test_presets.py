"""The packaged presets: what they say is what they are."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

import clan
from clan.config.files import preset_names
from clan.config.flat import differences
from clan.config.loading import load_config
from clan.config.tree import Config
from clan.core.options import Options
from clan.losses.segmentation import LOSSES, LossOptions
from clan.methods import METHODS, MethodOptions

PRESETS = Path(str(files("clan"))) / "config" / "presets"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_says_what_it_is(name: str) -> None:
    config = load_config(name)
    assert config.name == name.split("/")[-1]
    assert config.description
    assert config.method.name in METHODS


def _chain(path: Path, above: tuple[Path, ...] = ()) -> set[Path]:
    """Return a file and all that it extends, at any depth."""
    path = path.resolve()
    assert path.is_file()
    assert path not in above, f"{path} extends itself"
    names = _tree(path).get("extends", [])
    parents = names if isinstance(names, list) else [names]
    found = (_chain(path.parent / name, (*above, path)) for name in parents)
    return {path}.union(*found)


@functools.cache
def _tree(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(path.read_text())
    return tree


CHAINS = {name: _chain(PRESETS / f"{name}.yaml") for name in preset_names()}


def test_every_file_is_a_preset_or_part_of_one() -> None:
    reached = set().union(*CHAINS.values())
    assert reached == {path.resolve() for path in PRESETS.rglob("*.yaml")}


FOLDERS = sorted({name.rpartition("/")[0] for name in preset_names()})


@functools.cache
def _config(name: str) -> Config:
    return load_config(name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_systems_differ_in_what_their_own_files_say(folder: str) -> None:
    systems = [name for name in preset_names() if name.rpartition("/")[0] == folder]
    for first, second in combinations(systems, 2):
        own = {key for path in CHAINS[first] ^ CHAINS[second] for key in _flat(_tree(path), "")}
        for key, _, _ in differences(_config(first), _config(second)):
            # a group that a file names as a whole covers its keys; a method brings its options
            assert any(key == k or key.startswith(f"{k}.") for k in {*own, "method"}), key


@pytest.mark.parametrize("name", [n for n in preset_names() if n.startswith("synthia")])
def test_the_tasks_differ_in_their_data(name: str) -> None:
    """SYNTHIA's systems are GTA5's on other data, but for the local weight of CLAN's code."""
    keys = {k for k, _, _ in differences(_config(name), _config(f"gta5{name[7:]}"))}
    data = {"description", "data.classes", "data.source.dataset", "data.source.root"}
    own = {"method.lambda_local"} if "reference" in name and name.endswith("/clan") else set()
    assert keys <= data | own | {"data.source_view.size"}


def test_the_networks_of_a_variant_share_method_and_data() -> None:
    for name in preset_names():
        if "/vgg16/" in name:
            other = _config(name.replace("vgg16", "resnet101"))
            groups = {k.split(".")[0] for k, _, _ in differences(_config(name), other)}
            assert groups <= {"description", "model", "weights", "optim"}


@pytest.mark.parametrize("task", ["gta5-cityscapes", "synthia-cityscapes"])
def test_ours_compare_one_factor_at_a_time(task: str) -> None:
    """So do the paper's, but for the second classifier that some need; cda wants whole images."""
    for variant, free in (("modern", set()), ("paper", {"model.classifiers"})):
        for network in ("resnet101", "vgg16"):
            folder = f"{task}/{variant}/{network}"
            without = {"adabn"} if network == "vgg16" else set()
            if variant == "paper":
                # newer than the paper, whose tables they are not in
                without |= {"fda", "dacs", "daformer", "mic"}
            for system in {*METHODS} - without:
                keys = differences(_config(f"{folder}/{system}"), _config(f"{folder}/clan"))
                others = {k for k, _, _ in keys if not k.startswith("method.")}
                views = {"cda": "data.target_view.scale", "fda": "data.source_view.fourier"}
                own = {views[system]} if variant == "modern" and system in views else set()
                assert others <= {"name", "description"} | free | own


@pytest.mark.parametrize("task", ["gta5-cityscapes", "synthia-cityscapes"])
@pytest.mark.parametrize("network", ["mitb5", "dinov2b"])
def test_transformers_are_compared_one_factor_at_a_time(task: str, network: str) -> None:
    """Source only and oracle have the network, views and schedule of the systems that adapt."""
    folder = f"{task}/transformer/{network}"
    first = _config(f"{folder}/source_only")
    for system in ("dacs", "daformer", "mic", "oracle"):
        keys = {k for k, _, _ in differences(first, _config(f"{folder}/{system}"))}
        own = {"name", "description"}
        if system == "oracle":
            own |= {"data.source.dataset", "data.source.root", "data.source_view.size"}
        assert {key for key in keys if not key.startswith("method.")} <= own
    steps = ("dacs", "daformer", "mic")
    for less, more in pairwise(steps):
        a, b = (_config(f"{folder}/{name}").method.model_dump() for name in (less, more))
        assert {key for key in a if a[key] != b[key]} == {"name"}


@pytest.mark.parametrize("name", [n for n in preset_names() if n.endswith("/cda")])
def test_curriculum_adaptation_sees_whole_target_images(name: str) -> None:
    view = _config(name).data.target_view
    assert view.scale == (1, 1)
    assert view.crop in (None, view.size)


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
    if isinstance(annotation, type) and issubclass(annotation, MethodOptions):
        yield from (method.Options for method in METHODS.values())
    elif isinstance(annotation, type) and issubclass(annotation, LossOptions):
        yield from (loss.Options for loss in LOSSES.values())
    elif isinstance(annotation, type) and issubclass(annotation, Options):
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
