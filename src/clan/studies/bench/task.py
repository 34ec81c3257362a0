"""A task of a comparison: a folder of configurations, one for each system."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clan.config.files import preset_folders, presets_folder, read_yaml
from clan.config.loading import anchored, load_config
from clan.config.tree import Config
from clan.core.errors import ConfigError, nearest
from clan.methods import METHODS

FAMILIES = ("", "AT", "ST", "AT+ST")
"""Kinds of method, in the order of a table."""
BASELINE, ORACLE = "source_only", "oracle"
OWN_OPTIONS = {"seed": "--seeds", "name": "--systems"}
"""Keys that the comparison sets itself, and the options to use for them."""


@dataclass(frozen=True)
class System:
    """One row of the comparison.

    Attributes:
        name: name of its configuration file and of its row.
        preset: the argument of `clan train`.
        overrides: changes to it, for every seed.
        config: the resolved configuration of seed 0, with absolute paths.
        variant: whether it extends another system's file and has the same method; variants run only
            if named.
    """

    name: str
    preset: str
    overrides: tuple[str, ...]
    config: Config
    variant: bool = False

    @property
    def family(self) -> str:
        """The kind of method; the oracle, which learns from target labels, has none."""
        return METHODS[self.config.method.name].family


@dataclass(frozen=True)
class Task:
    """A folder of configurations.

    Attributes:
        name: as given by the user.
        folder: the folder of the files.
        files: system -> its file.
        skipped: names of YAML files that are no configurations.
    """

    name: str
    folder: Path
    files: Mapping[str, Path]
    skipped: tuple[str, ...] = ()

    @property
    def builtin(self) -> bool:
        """Whether it is a folder of the package's presets."""
        return self.folder.is_relative_to(presets_folder())

    @property
    def short(self) -> str:
        """A name for folders and sections: all parts of a preset's name, the last of a path."""
        if self.builtin:
            return "-".join(self.folder.relative_to(presets_folder()).parts)
        return self.folder.name

    def systems(
        self,
        names: Sequence[str] = (),
        overrides: Sequence[str] = (),
        *,
        baseline: str = BASELINE,
        oracle: str = ORACLE,
    ) -> list[System]:
        """Return the named systems, in the order of a table; all but variants if none is named.

        Args:
            names: of files, without suffix.
            overrides: ``key=value`` changes to all of them.
            baseline: the system that comes first.
            oracle: the system that comes last.

        Raises:
            ConfigError: an unknown system, or one named twice; an override that is not valid, or
                one of `OWN_OPTIONS`.
        """
        for override in overrides:
            key = override.partition("=")[0]
            if key in OWN_OPTIONS:
                raise ConfigError(f"{override!r}: the comparison sets it; use {OWN_OPTIONS[key]}")
        for name in names:
            if name in self.files:
                continue
            if f"{name}.yaml" in self.skipped:
                raise ConfigError(
                    f"{self.folder / name}.yaml is no configuration of a training: it has neither "
                    f"`extends` nor `method`. Systems of {self.name}: {', '.join(self.files)}"
                )
            close = nearest(name, self.files)
            raise ConfigError(f"{self.name} has no system {name!r}{close}")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"named more than once: {', '.join(twice)}")
        chosen = [name for name in self.files if name in names or not names]
        found = [self._load(name, overrides) for name in chosen]
        found = [system for system in found if names or not system.variant]
        return _ordered(found, baseline, oracle)

    def _load(self, name: str, overrides: Sequence[str]) -> System:
        path = self.files[name]
        relative = path.relative_to(presets_folder()) if self.builtin else path
        preset = str(relative.with_suffix("")) if self.builtin else str(path)
        changes = list(overrides)
        if load_config(preset, changes).name != name:
            # a row is named after its file, so that no two rows have the same name
            text = name if yaml.safe_load(name) == name else json.dumps(name)
            changes.append(f"name={text}")
        config = anchored(load_config(preset, changes))
        return System(name, preset, tuple(changes), config, self._varies(path, config))

    def _varies(self, path: Path, config: Config) -> bool:
        """Whether a file extends another system of the folder and has the same method."""
        parents = _tree(path).get("extends", ())
        for parent in [parents] if isinstance(parents, str) else parents:
            other = (path.parent / parent).resolve()
            if other in (file.resolve() for file in self.files.values()):
                return load_config(other).method.name == config.method.name
        return False


def open_task(name: str) -> Task:
    """Find a task: a folder of presets by its name, or a folder of configurations by its path.

    Raises:
        ConfigError: there is no such folder, or it has no configuration.
    """
    builtin = preset_folders()
    plain = name.rstrip("/")
    folder = presets_folder() / plain if plain in builtin else Path(name).expanduser().resolve()
    if plain not in builtin and not folder.is_dir():
        below = [preset for preset in builtin if preset.startswith(f"{plain}/")]
        if below:
            raise ConfigError(f"{name} has several tasks: give one of {', '.join(below)}")
        kind = "a file" if folder.is_file() else "no such folder"
        raise ConfigError(
            f"no task {name!r} ({kind}); expected a folder of configurations or of "
            f"presets{nearest(plain, builtin)}"
        )
    found = sorted(p for p in folder.glob("*.yaml") if not p.name.startswith("_"))
    files = {path.stem: path for path in found if _is_system(path)}
    if not files:
        raise ConfigError(
            f"{folder} has no configuration of a system: expected a .yaml file for each system, "
            "with `extends` or `method` in it; the file's name is the system's"
        )
    skipped = tuple(path.name for path in found if path.stem not in files)
    return Task(name, folder, files, skipped)


def _ordered(systems: Sequence[System], baseline: str, oracle: str) -> list[System]:
    """Sort by kind of method and by method, the baseline first and the oracle last."""
    methods = list(METHODS)

    def place(system: System) -> tuple[bool, bool, int, int, bool, str]:
        family = FAMILIES.index(system.family) if system.family in FAMILIES else len(FAMILIES)
        method = methods.index(system.config.method.name)
        last = system.name == oracle
        return (last, system.name != baseline, family, method, system.variant, system.name)

    return sorted(systems, key=place)


def _is_system(path: Path) -> bool:
    """Whether a YAML file is a training's configuration, not a data set or class set."""
    return not {"extends", "method"}.isdisjoint(_tree(path))


def _tree(path: Path) -> Mapping[str, Any]:
    tree = read_yaml(path)
    return tree if isinstance(tree, dict) else {}
