"""Jinja environments for pages: text is escaped, and an undefined name is an error."""

from __future__ import annotations

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from clan.core.text import visible


def _visible(value: Any) -> Any:
    # markup is the package's own
    return visible(value) if type(value) is str else value


def templates(package: str) -> Environment:
    """Return the environment for a package's templates, which may import those of reporting."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("clan.reporting", ".")]),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
