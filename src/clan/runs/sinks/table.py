"""The table of sinks by name.

Another package adds one by `register_sink`, or by an entry point of the group ``clan.sinks`` with
the sink's name (`clan.core.plugins`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple, cast

from clan.core.errors import ConfigError, nearest
from clan.core.extras import require_extra
from clan.core.plugins import Plugins
from clan.runs.sinks.contract import Sink


class BuiltIn(NamedTuple):
    """Where a sink of the package is defined, and the optional package that it needs."""

    module: str
    name: str
    package: str | None = None


BUILT_IN = {
    "csv": BuiltIn("clan.runs.sinks.csv_file", "CSV"),
    "mlflow": BuiltIn("clan.runs.sinks.mlflow", "MLflow", "mlflow"),
    "tensorboard": BuiltIn("clan.runs.sinks.tensorboard", "TensorBoard"),
    "wandb": BuiltIn("clan.runs.sinks.wandb", "WandB", "wandb"),
}
"""Imported when a run uses them. The extra has the name of the sink."""

_REGISTERED: dict[str, Callable[[], Sink]] = {}


def register_sink(name: str, sink: Callable[[], Sink]) -> None:
    """Let ``training.sinks`` contain ``name``.

    Call it before the training starts, in every process. The command line finds sinks by entry
    points: ``clan.sinks``.

    Args:
        name: what configurations call it.
        sink: makes one for a run, such as a class that follows `Sink`.

    Raises:
        ConfigError: the name is taken or empty, or ``sink`` cannot be called.
    """
    if not name or not callable(sink):
        raise ConfigError(f"sink {name!r}: expected a name and a class, found {sink!r}")
    known = _REGISTERED.get(name)
    same = known is not None and _origin(known) == _origin(sink)
    if name in BUILT_IN or (known is not None and not same):
        raise ConfigError(f"the sink name {name!r} is taken; register {_origin(sink)} by another")
    _REGISTERED[name] = sink


PLUGINS = Plugins("clan.sinks", "sink", _REGISTERED, register_sink)
"""Sinks of other installed packages."""


def check_sinks(names: Sequence[str]) -> None:
    """Check all sinks before a run is begun.

    Raises:
        ConfigError: an unknown sink (names the nearest and lists all), one given twice, one whose
            package is not installed (has the `pip install` line), or one of a broken package.
    """
    for name in names:
        if name not in BUILT_IN:
            PLUGINS.load(name)
        if name not in BUILT_IN and name not in _REGISTERED:
            known = sorted({*BUILT_IN, *_REGISTERED, *PLUGINS.names()})
            near = nearest(name, known)
            every = "." if near.startswith("; valid") else f" Valid: {', '.join(known)}."
            raise ConfigError(
                f"training.sinks: unknown sink {name!r}{near}{every} Add your own by "
                "clan.register_sink"
            )
        if names.count(name) > 1:
            raise ConfigError(f"training.sinks: {name!r} is given twice")
        if name in BUILT_IN and (package := BUILT_IN[name].package) is not None:
            require_extra(package, name, f"training.sinks={name}")


def make_sink(name: str) -> Sink:
    """Return a new sink of a name that `check_sinks` has passed."""
    if name in _REGISTERED:
        return _REGISTERED[name]()
    found = BUILT_IN[name]
    return cast(Sink, getattr(import_module(found.module), found.name)())


def _origin(sink: Callable[[], Sink]) -> str:
    return f"{sink.__module__}.{getattr(sink, '__qualname__', type(sink).__name__)}"
