"""The table of methods by name.

Another package adds one by `register_method`, or by an entry point of the group ``clan.methods``
with the method's name (`clan.core.plugins`).
"""

from __future__ import annotations

from typing import TypeVar

from clan.core.errors import ConfigError, nearest
from clan.core.plugins import Plugins
from clan.methods.contract import Method, MethodOptions

METHODS: dict[str, type[Method]] = {}
"""The methods by name, in the order of registration; those of entry points once they are loaded."""

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
    """Return the method of a name, from an entry point if it is not in the table.

    Raises:
        ConfigError: no method has the name (names the nearest), or the package that provides it is
            broken.
    """
    PLUGINS.load(name)
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}{nearest(name, method_names())}")
    return METHODS[name]


def method_names() -> list[str]:
    """Return the names of all methods: those of the table, then those of entry points."""
    return list(dict.fromkeys([*METHODS, *PLUGINS.names()]))


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


PLUGINS = Plugins("clan.methods", "method", METHODS, lambda _, cls: register_method(cls))
"""Methods of other installed packages."""
