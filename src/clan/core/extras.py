"""Optional packages: if one is missing, the error names the command that installs it."""

from __future__ import annotations

from importlib.util import find_spec

from clan.core.errors import ConfigError


def require_extra(package: str, extra: str, needed_for: str) -> None:
    """Check that an optional package is installed, without importing it.

    Args:
        package: its import name, such as ``skimage``.
        extra: the extra of this package that installs it.
        needed_for: what needs it, such as "method cda"; begins the message.

    Raises:
        ConfigError: it is not installed; the message has the `pip install` line.
    """
    if find_spec(package) is None:
        raise ConfigError(
            f"{needed_for} needs the package {package!r}, which is not installed: "
            f"pip install 'clan[{extra}]' (from a checkout: pip install '.[{extra}]')"
        )
