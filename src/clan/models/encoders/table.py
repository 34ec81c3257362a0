"""The table of encoders by name.

Another package adds one by `register_encoder`, or by an entry point of the group ``clan.encoders``
with the encoder's name (`clan.core.plugins`).
"""

from __future__ import annotations

from collections.abc import Callable

from clan.core.errors import ConfigError, unknown
from clan.core.plugins import Plugins
from clan.models.encoders import efficientnet, hf, mobilenet, resnet, vgg
from clan.models.encoders.contract import Encoder, EncoderOptions, EncoderSpec

ENCODERS: dict[str, EncoderSpec] = {
    **resnet.SPECS,
    **mobilenet.SPECS,
    **efficientnet.SPECS,
    **vgg.SPECS,
}
"""Every encoder with a fixed name."""

FAMILIES: dict[str, Callable[[str], EncoderSpec]] = {"hf": hf.family}
"""Families of encoders: for ``prefix:rest`` the prefix's function returns the spec of ``rest``."""


def register_encoder(name: str, spec: EncoderSpec) -> None:
    """Let ``model.encoder`` be ``name``.

    Call it before a configuration or a model file that names the encoder is read, in every
    process that reads one. The command line finds encoders by entry points: ``clan.encoders``.

    Args:
        name: of letters, digits and ``_-.``; a colon belongs to families.
        spec: how it is built.

    Raises:
        ConfigError: the name is taken, or no name; ``spec`` is something else.
    """
    if not isinstance(spec, EncoderSpec):
        raise ConfigError(f"encoder {name!r}: expected an EncoderSpec, found {spec!r}")
    if not name or ":" in name:
        raise ConfigError(f"{name!r} cannot name an encoder: expected a word without a colon")
    if name in ENCODERS:
        raise ConfigError(f"there is an encoder {name!r} already; give yours another name")
    ENCODERS[name] = spec


PLUGINS = Plugins("clan.encoders", "encoder", ENCODERS, register_encoder)
"""Encoders of other installed packages."""


def encoder_spec(name: str) -> EncoderSpec:
    """Return the spec of an encoder, from an entry point if it is not in the table.

    Raises:
        ConfigError: there is none (has the nearest name and the list), or the package that provides
            it is broken.
    """
    prefix, colon, rest = name.partition(":")
    if colon and prefix in FAMILIES:
        return FAMILIES[prefix](rest)
    PLUGINS.load(name)
    if name in ENCODERS:
        return ENCODERS[name]
    known = [*ENCODERS, *PLUGINS.names(), *(f"{p}:..." for p in FAMILIES)]
    raise ConfigError(unknown("encoder", name, dict.fromkeys(known)))


def build_encoder(options: EncoderOptions) -> Encoder:
    """Build the encoder with new random weights."""
    return encoder_spec(options.encoder).build(options)
