"""The options that describe a network, checked as soon as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import field_validator, model_validator

from clan.core.errors import ConfigError
from clan.models.decoders.contract import DecoderOptions
from clan.models.decoders.table import check_fit, decoder_spec
from clan.models.encoders.contract import IMAGENET_MEAN, IMAGENET_STD, EncoderOptions
from clan.models.encoders.table import encoder_spec

FORMER = {"head": "decoder"}
"""Former names of options, in older configurations and model files, and the present names."""


class ModelOptions(DecoderOptions, EncoderOptions):
    """The network's architecture: all that is needed to load its weights."""

    classifiers: Literal[1, 2] = 2
    """Parallel classification modules on the encoder: C1, or C1 and C2 (section 3.2)."""
    ensemble: Literal["logits", "softmax"] = "logits"
    """Ensemble prediction: softmax of the summed logits (published code) or the mean of the
    softmaxes (the paper's p1 + p2, normalised)."""
    freeze_affine: bool = False
    """Keep batch norm's scale and shift as initialised (published codes)."""
    input: Literal["imagenet", "caffe"] = "imagenet"
    """How images are normalised. imagenet: RGB in 0..1, minus `mean`, divided by `std`; caffe: BGR
    in 0..255, minus Caffe's mean colour."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Mean of each channel (RGB, images scaled to 0..1), which is subtracted. Not given: the one
    of the encoder's published weights."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Divisor of each channel. Not given: the one of the encoder's published weights."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Accept former names, and fill in the encoder's normalisation."""
        if not isinstance(given, Mapping):
            return given
        tree = dict(given)
        for former, name in FORMER.items():
            if former in tree and name in tree:
                raise ValueError(f"{former} is the former name of {name}: give {name} alone")
            if former in tree:
                tree[name] = tree.pop(former)
        try:
            spec = encoder_spec(str(tree.get("encoder", cls.model_fields["encoder"].default)))
        except ConfigError:
            return tree  # the field's own check reports it
        if spec.complete is not None:
            try:
                tree |= spec.complete(tree)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        for name in ("mean", "std"):
            if tree.get(name) is None:
                tree[name] = getattr(spec, name)
        return tree

    @field_validator("encoder", "decoder")
    @classmethod
    def _known(cls, name: str, info: Any) -> str:
        try:
            (encoder_spec if info.field_name == "encoder" else decoder_spec)(name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return name

    @model_validator(mode="after")
    def _network_reads_all(self) -> ModelOptions:
        """Refuse options that the network does not read, and a decoder that does not fit."""
        encoder, decoder = encoder_spec(self.encoder), decoder_spec(self.decoder)
        self._refuse_unread(f"encoder {self.encoder}", EncoderOptions, encoder.options)
        self._refuse_unread(f"decoder {self.decoder}", DecoderOptions, decoder.reads)
        if encoder.output_strides and self.output_stride not in encoder.output_strides:
            has = ", ".join(map(str, encoder.output_strides))
            raise ValueError(
                f"encoder {self.encoder} has output_stride {has}; found {self.output_stride}"
            )
        if self.freeze_affine and not encoder.batch_norm:
            raise ValueError(
                f"freeze_affine freezes batch norm, and encoder {self.encoder} has none"
            )
        own = (encoder.mean, encoder.std)
        if self.input == "caffe" and (self.mean, self.std) != own:
            raise ValueError("input caffe has its own normalisation: leave out mean and std")
        if encoder.maps is not None:
            try:
                check_fit(self.decoder, self.encoder, encoder.maps(self), encoder.padding)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self

    def _refuse_unread(
        self,
        owner: str,
        group: type[EncoderOptions] | type[DecoderOptions],
        reads: frozenset[str],
    ) -> None:
        """Refuse changed options of a group that the encoder or decoder does not read."""
        fields = group.model_fields
        ignored = [name for name in fields if name not in (*reads, "encoder", "decoder")]
        changed = [name for name in ignored if getattr(self, name) != fields[name].default]
        if changed:
            read = f"reads only {', '.join(sorted(reads))}" if reads else "has no options"
            raise ValueError(
                f"{owner} does not read {', '.join(changed)}: it {read}. Leave the others out"
            )
