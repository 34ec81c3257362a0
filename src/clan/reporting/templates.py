"""Jinja environments for pages: text is escaped, and an undefined name is an error."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def templates(package: str) -> Environment:
    """Return the environment for a package's templates, which may import those of reporting."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("clan.reporting", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
