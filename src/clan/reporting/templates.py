"""How pages are rendered: text is escaped, and an undefined name is an error."""

from __future__ import annotations

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from clan.core.text import visible


def _visible(value: Any) -> Any:
    # markup is the package's own
    return visible(value) if type(value) is str else value


def templates(package: str) -> Environment:
    """Return what renders a package's own templates, which may import those of this room."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("clan.reporting", ".")]),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
