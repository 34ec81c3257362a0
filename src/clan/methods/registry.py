"""The table of methods: the package's own, and those that other packages bring.

Another package brings one by `register_method`, or by an entry point of the group `clan.methods`
whose name is the method's:

    [project.entry-points."clan.methods"]
    my_method = "my_package.my_module:MyMethod"

An entry point is loaded when a configuration asks for its name, so that a package that cannot be
imported stops nobody else.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from clan.core.errors import ConfigError, nearest
from clan.methods.contract import Method, MethodOptions

METHODS: dict[str, type[Method]] = {}
"""The methods by name, in the order of registration; those of entry points once they are loaded."""

GROUP = "clan.methods"
"""The group of entry points that bring methods."""

M = TypeVar("M", bound=type[Method])


def register_method(cls: M) -> M:
    """Add a method to the table, from any module; it serves as a decorator.

    The method's name is the default of ``name`` in its ``Options``. Configurations with
    ``method.name`` of that name are then checked against these options.

    Args:
        cls: a subclass of `Method` with ``Options`` of its own.

    Returns:
        The class.

    Raises:
        ConfigError: not a subclass of `Method`, no ``Options`` of its own, no name, or a name that
            another method has. The same class, defined anew in a notebook, replaces itself.
    """
    name = _name_of(cls)
    known = METHODS.get(name)
    if known is not None and _origin(known) != _origin(cls):
        raise ConfigError(
            f"{_origin(cls)} cannot be registered: the method name {name!r} is taken by "
            f"{_origin(known)}. Give its Options.name another default"
        )
    METHODS[name] = cls
    return cls


def find_method(name: str) -> type[Method]:
    """Return the method of a name, loading the entry point that brings it if there is one.

    Raises:
        ConfigError: no method has the name (says what is there, and the nearest), or the package
            that brings it is broken.
    """
    if name not in METHODS:
        point = _brought().get(name)
        if point is None:
            raise ConfigError(f"unknown method {name!r}{nearest(name, method_names())}")
        _load(point)
    return METHODS[name]


def method_names() -> list[str]:
    """Return the names of all methods: those of the table, then those of entry points."""
    return list(dict.fromkeys([*METHODS, *_brought()]))


def _name_of(cls: object) -> str:
    """Return the name of a method's class.

    Raises:
        ConfigError: it lacks something; says what, and how to give it.
    """
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise ConfigError(f"{cls!r} cannot be registered: expected a subclass of clan.Method")
    options = getattr(cls, "Options", None)
    if not (isinstance(options, type) and issubclass(options, MethodOptions)):
        raise ConfigError(
            f"{_origin(cls)} cannot be registered: it has no Options. Give it an inner class "
            "Options(clan.MethodOptions)"
        )
    name = options.model_fields["name"].default
    if not (isinstance(name, str) and name):
        raise ConfigError(
            f"{_origin(cls)} cannot be registered: its Options have no name. Give them "
            '`name: Literal["my_method"] = "my_method"`'
        )
    return name


def _origin(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _brought() -> dict[str, EntryPoint]:
    """Return the entry points by the names of their methods; nothing is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(point: EntryPoint) -> None:
    """Import an entry point's method and register it under the name that it announces."""
    package = point.dist.name if point.dist is not None else point.value
    where = f"method {point.name!r} of the package {package} (entry point {point.value})"
    try:
        register_method(point.load())
    # whatever another package raises at its import
    except Exception as error:
        raise ConfigError(f"{where} cannot be loaded: {error}. Mend or uninstall it") from error
    if point.name not in METHODS:
        raise ConfigError(
            f"{where} has another name in its Options: make both the same in that package"
        )
