"""Configuration files: presets by name, ``extends``, and ``key=value`` changes; trees of YAML."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any

from clan.core.errors import ConfigError, nearest
from clan.core.files import user_path
from clan.core.yamlfile import parse_yaml, read_mapping

MOST_FILES = 100
"""That one configuration may be made of; one that is extended twice counts twice."""
DEEPEST_KEY = 12
"""Dots in the key of a change."""


def preset_names() -> list[str]:
    """Return the names of all presets in the package, such as ``town/clan``.

    Example:
        [name for name in clan.preset_names() if name.startswith("gta5")]
    """
    root = presets_folder()
    found = (p.relative_to(root).with_suffix("") for p in root.rglob("*.yaml"))
    # parts of presets, and folders of them, begin with an underscore
    return sorted(str(n) for n in found if not any(part.startswith("_") for part in n.parts))


def matching_presets(pattern: str) -> list[str]:
    """Return the presets of a name, of a folder (``gta5-cityscapes/paper``) or of a pattern.

    A configuration file's path is its own name.

    Raises:
        ConfigError: none is called so, naming the nearest preset or folder.
    """
    names = preset_names()
    if pattern in names or is_description(pattern):
        return [pattern]
    folder = pattern.rstrip("/") + "/"
    found = [n for n in names if n.startswith(folder) or fnmatchcase(n, pattern)]
    if not found:
        folders = {str(parent) for name in names for parent in Path(name).parents} - {"."}
        valid = (*names, *sorted(folders))
        raise ConfigError(f"unknown preset {pattern!r}{nearest(pattern, valid)}")
    return found


def preset_folders() -> dict[str, list[str]]:
    """Return the presets' systems by folder, such as ``town`` with ``clan`` and others."""
    folders: dict[str, list[str]] = {}
    for name in preset_names():
        folder, _, system = name.rpartition("/")
        folders.setdefault(folder, []).append(system)
    return folders


def domain_tree(value: Any) -> Any:
    """Let ``data.target=photos/`` stand for ``data.target.dataset=photos/``, ``none`` for null."""
    if value == "none":
        return None
    return {"dataset": value} if isinstance(value, str) else value


def is_description(dataset: str) -> bool:
    """Tell a data set's description from a built-in name and a folder."""
    return dataset.lower().endswith((".yaml", ".yml"))


def presets_folder() -> Path:
    """Return the folder of the package's presets."""
    return Path(str(files("clan"))) / "config" / "presets"


def find(preset: str, beside: Path = Path()) -> Path:
    """Return the file of a preset's name, or of a path (relative to ``beside``)."""
    path = beside / user_path(preset)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"no configuration file at {path}")
        return path
    if preset not in preset_names():
        raise ConfigError(f"unknown preset {preset!r}{nearest(preset, preset_names())}")
    return presets_folder() / f"{preset}.yaml"


def read_tree(path: Path) -> dict[str, Any]:
    """Read a configuration file, laid over those that its ``extends`` names, the last on top.

    Raises:
        ConfigError: a file that is missing or no mapping; ``extends`` that ends nowhere, or that
            leads to more than `MOST_FILES` files.
    """
    return _read_tree(path, (), [])


def _read_tree(path: Path, children: tuple[Path, ...], read: list[Path]) -> dict[str, Any]:
    read.append(path)
    if len(read) > MOST_FILES:
        raise ConfigError(
            f"{read[0]}: `extends` leads to more than {MOST_FILES} files, of which {path} is one; "
            "name each file once"
        )
    tree = read_mapping(path, ConfigError)
    _anchor_files(tree, path.parent)
    if "extends" not in tree:
        return tree
    children = (*children, path.resolve())
    base: dict[str, Any] = {}
    names = tree.pop("extends")
    for name in names if isinstance(names, list) else [names]:
        parent = _parent(path, name)
        if parent.resolve() in children:
            loop = " -> ".join(str(p) for p in (*children, parent.resolve()))
            raise ConfigError(f"{path}: `extends` goes round in a circle: {loop}")
        base = _merge(base, _read_tree(parent, children, read))
    return _merge(base, tree)


def _parent(path: Path, name: object) -> Path:
    """Find what a configuration extends: a file beside it, or a preset by name."""
    if not isinstance(name, str):
        raise ConfigError(f"{path}: extends: expected a file or a preset's name, found {name!r}")
    try:
        return find(name, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: extends: {error}") from error


def _anchor_files(tree: dict[str, Any], folder: Path) -> None:
    """Let a configuration name descriptions of data and classes that lie beside it."""
    data = tree.get("data")
    if not isinstance(data, dict):
        return
    for key in ("classes", "source", "target", "validation"):
        group, name = (data[key], "dataset") if isinstance(data.get(key), dict) else (data, key)
        file = group.get(name)
        if isinstance(file, str) and is_description(file):
            group[name] = str((folder / file).resolve())


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def override_key(tree: dict[str, Any], override: str) -> None:
    """Change a tree as ``key=value`` says.

    Raises:
        ConfigError: not of that form, a value that is not YAML, or a key below a plain value.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{override!r} is not of the form key=value, such as seed=1")
    *groups, last = key.split(".")
    if len(groups) > DEEPEST_KEY:
        raise ConfigError(f"{key[:60]!r}... has {len(groups)} dots; no key is so deep")
    for group in groups:
        # a domain given as a plain string grows into its options
        inner = domain_tree(tree.get(group))
        tree[group] = inner = {} if inner is None else inner
        if not isinstance(inner, dict):
            raise ConfigError(f"{override!r}: {group} is {inner!r}, which has no keys of its own")
        tree = inner
    tree[last] = parse_yaml(text, f"the value of {_shown(override)}", ConfigError)


def _shown(override: str) -> str:
    return repr(override if len(override) <= 200 else f"{override[:200]}...")
