"""Objects that other installed packages provide, found by entry points: one group per table.

A package names what it provides in its pyproject.toml:

    [project.entry-points."clan.encoders"]
    patches = "my_package.encoders:SPEC"

An entry point is imported only when a configuration or a model file uses its name. A package that
cannot be imported therefore affects nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from clan.core.errors import ConfigError


@dataclass(frozen=True)
class Plugins:
    """The entry points of a group, and the registry that they extend.

    Attributes:
        group: the entry points' group, such as ``clan.encoders``.
        kind: word for an entry in messages, such as ``encoder``.
        table: the registry, by name.
        register: adds a name and the entry point's object to the registry.
    """

    group: str
    kind: str
    table: Container[str]
    register: Callable[[str, Any], object]

    def names(self) -> list[str]:
        """Return the names of all entry points of the group; nothing is imported."""
        return list(dict.fromkeys(point.name for point in entry_points(group=self.group)))

    def load(self, name: str) -> None:
        """Import and register an entry point; does nothing for unknown or registered names.

        Raises:
            ConfigError: two packages provide the name, or the package is broken; names the package.
        """
        if name in self.table:
            return
        points = {point.value: point for point in entry_points(group=self.group, name=name)}
        if not points:
            return
        if len(points) > 1:
            packages = " and ".join(sorted(map(_package, points.values())))
            raise ConfigError(
                f"{self.kind} {name!r} is provided by {packages}: uninstall all but one"
            )
        (point,) = points.values()
        where = f"{self.kind} {name!r} of the package {_package(point)} (entry point {point.value})"
        try:
            provided = point.load()
            # the module may have registered it already
            if name not in self.table:
                self.register(name, provided)
        # another package may raise any error
        except Exception as error:
            raise ConfigError(
                f"{where} cannot be loaded: {error}. Update or uninstall that package"
            ) from error
        if name not in self.table:
            raise ConfigError(f"{where} registers another name: make both names the same there")


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.partition(":")[0]
