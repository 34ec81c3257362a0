"""The table of encoders by name; `register_encoder` adds to it from outside the package."""

from __future__ import annotations

from collections.abc import Callable

from clan.core.errors import ConfigError, unknown
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

    Call it before a configuration or a model file that names the encoder is read; in every
    process that reads one.

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


def encoder_spec(name: str) -> EncoderSpec:
    """Return how the encoder of a name is built.

    Raises:
        ConfigError: there is none; the message has the nearest name and the list.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    prefix, colon, rest = name.partition(":")
    if colon and prefix in FAMILIES:
        return FAMILIES[prefix](rest)
    raise ConfigError(unknown("encoder", name, [*ENCODERS, *(f"{p}:..." for p in FAMILIES)]))


def build_encoder(options: EncoderOptions) -> Encoder:
    """Build the encoder with new random weights."""
    return encoder_spec(options.encoder).build(options)
