"""The table of decoders by name.

Another package adds one by `register_decoder`, or by an entry point of the group ``clan.decoders``
with the decoder's name (`clan.core.plugins`).
"""

from __future__ import annotations

from collections.abc import Sequence

from clan.core.errors import ConfigError, unknown
from clan.core.plugins import Plugins
from clan.models.decoders import daformer, deeplab, fcn8s, fusion, upsample
from clan.models.decoders.contract import DecoderSpec
from clan.models.encoders.contract import FeatureMap

DECODERS: dict[str, DecoderSpec] = {
    "deeplab": deeplab.SPEC,
    "fcn8s": fcn8s.SPEC,
    "fusion": fusion.SPEC,
    "daformer": daformer.SPEC,
    "upsample": upsample.SPEC,
}
"""Every decoder by name."""


def register_decoder(name: str, spec: DecoderSpec) -> None:
    """Let ``model.decoder`` be ``name``.

    Call it before a configuration or a model file that names the decoder is read, in every
    process that reads one. The command line finds decoders by entry points: ``clan.decoders``.

    Args:
        name: what configurations call it.
        spec: how it is built.

    Raises:
        ConfigError: the name is taken or empty; ``spec`` is something else.
    """
    if not isinstance(spec, DecoderSpec):
        raise ConfigError(f"decoder {name!r}: expected a DecoderSpec, found {spec!r}")
    if not name:
        raise ConfigError("a decoder needs a name; found ''")
    if name in DECODERS:
        raise ConfigError(f"there is a decoder {name!r} already; give yours another name")
    DECODERS[name] = spec


PLUGINS = Plugins("clan.decoders", "decoder", DECODERS, register_decoder)
"""Decoders of other installed packages."""


def decoder_spec(name: str) -> DecoderSpec:
    """Return the spec of a decoder, from an entry point if it is not in the table.

    Raises:
        ConfigError: there is none (has the nearest name and the list), or the package that provides
            it is broken.
    """
    PLUGINS.load(name)
    if name in DECODERS:
        return DECODERS[name]
    known = dict.fromkeys([*DECODERS, *PLUGINS.names()])
    raise ConfigError(unknown("decoder", name, known))


def check_fit(decoder: str, encoder: str, maps: Sequence[FeatureMap], padding: int) -> None:
    """Refuse a decoder for an encoder whose maps do not fit.

    Args:
        decoder: its name.
        encoder: its name, for the message.
        maps: the encoder's.
        padding: padding around the image that the maps cover.

    Raises:
        ConfigError: names both sides' channels and strides, and the decoders that would fit.
    """
    spec = decoder_spec(decoder)
    if spec.fits(maps, padding):
        return
    fitting = [name for name, other in DECODERS.items() if other.fits(maps, padding)]
    hint = f"set model.decoder to {' or '.join(fitting)}" if fitting else "none fits it"
    raise ConfigError(f"{spec.misfit(decoder, encoder, maps, padding)}; {hint}")
