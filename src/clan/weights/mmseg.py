"""Checkpoints of DAFormer and MIC, in the keys of mmseg: SegFormer's encoder and their head.

A checkpoint holds up to three networks, told apart by the beginnings of their keys; `PARTS` names
them. Their attention keeps keys and values in one tensor, ``attn.kv``, keys first; ours has two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor, cat

from clan.core.errors import WeightsError, nearest
from clan.weights.layout import Layout

PARTS = {"student": "model.", "ema": "ema_model.", "imagenet": "imnet_model."}
"""The networks of a checkpoint: the one that the published test uses, its teacher, and the frozen
one of the feature distance."""
ROOT = "backbone."
MARK = f"{ROOT}patch_embed1.proj.weight"
"""Tells SegFormer's encoder in mmseg's keys from all other files."""
HRDA = "decode_head.scale_attention."
STAGES, MOST_BLOCKS = 4, 64
JOINED, HALVES = ".attn.kv.", (".attn.k.", ".attn.v.")
IN_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.q": "attention.q_proj",
    "attn.k": "attention.k_proj",
    "attn.v": "attention.v_proj",
    "attn.proj": "attention.o_proj",
    "attn.sr": "attention.sequence_reduction.sequence_reduction",
    "attn.norm": "attention.sequence_reduction.layer_norm",
    "mlp.fc1": "mlp.fc1",
    "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
    "mlp.fc2": "mlp.fc2",
}
"""Published module of a block -> transformers' name of it."""


@lru_cache(maxsize=1)
def modules() -> dict[str, str]:
    """Return our name of every published module that can be in such a network."""
    found = {"decode_head.conv_seg": "classifiers.0.conv"}
    for stage in range(STAGES):
        theirs, ours = stage + 1, f"encoder.network.stages.{stage}"
        found[f"{ROOT}patch_embed{theirs}.proj"] = f"{ours}.patch_embeddings.proj"
        found[f"{ROOT}patch_embed{theirs}.norm"] = f"{ours}.patch_embeddings.layer_norm"
        found[f"{ROOT}norm{theirs}"] = f"{ours}.layer_norm"
        found[f"decode_head.embed_layers.{stage}.proj"] = f"decoder.embeds.{stage}"
        for block in range(MOST_BLOCKS):
            for name, own in IN_BLOCK.items():
                found[f"{ROOT}block{theirs}.{block}.{name}"] = f"{ours}.blocks.{block}.{own}"
    fuse = "decode_head.fuse_layer"
    places = {
        f"{fuse}.aspp_modules.0": "decoder.branches.0",
        f"{fuse}.bottleneck": "decoder.bottleneck",
    }
    for branch in range(1, 4):
        for place, part in enumerate(("depthwise_conv", "pointwise_conv")):
            key = f"{fuse}.aspp_modules.{branch}.{part}"
            places[key] = f"decoder.branches.{branch}.{place}"
    for key, own in places.items():
        found |= {f"{key}.conv": f"{own}.0", f"{key}.bn": f"{own}.1"}
    return found


@lru_cache(maxsize=1)
def _backwards() -> dict[str, str]:
    return {ours: published for published, ours in modules().items()}


@dataclass(frozen=True)
class MMSeg(Layout):
    """SegFormer's encoder in mmseg's keys, with DAFormer's head or without."""

    root: str = ROOT
    """What stands before the encoder's keys."""

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Tell whether a file has this encoder, below this root, and its head or none."""
        return f"{self.root}patch_embed1.proj.weight" in tensors and (
            self.encoder_only or "decode_head.fuse_layer.bottleneck.conv.weight" in tensors
        )

    def encoder(self, tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Return the options of the encoder that a file's shapes ask for."""
        return {"encoder": "hf:segformer", "hf": _configuration(tensors, self.root)}

    def to_ours(self, key: str) -> str | None:
        """Return our name of a published key, or None if it has none."""
        module, _, leaf = key.rpartition(".")
        if self.root != ROOT:
            module = ROOT + module
        ours = modules().get(module)
        return None if ours is None else f"{ours}.{leaf}"

    def to_published(self, key: str) -> str | None:
        """Return the published name of one of our keys, or None if it has none."""
        module, _, leaf = key.rpartition(".")
        published = _backwards().get(module)
        if published is None or (self.encoder_only and not published.startswith(ROOT)):
            return None
        return f"{published}.{leaf}".removeprefix("" if self.root == ROOT else ROOT)

    def split(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors with keys and values of each attention apart."""
        apart: dict[str, Tensor] = {}
        for key, tensor in tensors.items():
            if JOINED not in key:
                apart[key] = tensor
                continue
            for name, half in zip(HALVES, tensor.chunk(2), strict=True):
                apart[key.replace(JOINED, name)] = half.contiguous()
        return apart

    def source(self, key: str) -> str:
        """Return the key of the file that a key of `split` comes from."""
        for name in HALVES:
            key = key.replace(name, JOINED)
        return key

    def join(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Undo `split`."""
        first, second = HALVES
        together: dict[str, Tensor] = {}
        for key, tensor in tensors.items():
            if first in key:
                value = tensors[key.replace(first, second)]
                together[key.replace(first, JOINED)] = cat([tensor, value])
            elif second not in key:
                together[key] = tensor
        return together


LAYOUTS = (
    MMSeg(
        "mit",
        "SegFormer's encoder on ImageNet, in NVIDIA's and mmseg's keys",
        (),
        {"decoder": "daformer"},
        encoder_only=True,
        root="",
    ),
    MMSeg(
        "daformer",
        "lhoyer/DAFormer and MIC on DAFormer: SegFormer's encoder, DAFormer's head",
        (),
        {"decoder": "daformer", "classifiers": 1, "input": "imagenet"},
        first="classifiers.0.conv.weight",
    ),
)


def _configuration(tensors: Mapping[str, Tensor], root: str) -> dict[str, Any]:
    """Return transformers' values of the network that the shapes are of; heads are not in them.

    All published sizes have 1, 2, 5 and 8 heads.
    """
    found: dict[str, list[int]] = {}
    for stage in range(1, STAGES + 1):
        block = f"{root}block{stage}."
        below = [key.removeprefix(block) for key in tensors if key.startswith(block)]
        width = tensors[f"{root}patch_embed{stage}.proj.weight"].shape[0]
        reduction = tensors.get(f"{block}0.attn.sr.weight")
        values = {
            "hidden_sizes": width,
            "depths": len({key.split(".")[0] for key in below}),
            "sr_ratios": 1 if reduction is None else reduction.shape[-1],
            "mlp_ratios": tensors[f"{block}0.mlp.fc1.weight"].shape[0] // width,
        }
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return found


def choose_part(
    tensors: Mapping[str, Tensor], part: str | None, where: str
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return the tensors of one network of a file, and how many the others have, by part.

    Args:
        tensors: of the file.
        part: a name in `PARTS`; None for the student.
        where: the file, for messages.

    Raises:
        WeightsError: an unknown part; a part that the file does not have; HRDA's network.
    """
    if part is not None and part not in PARTS:
        raise WeightsError(f"unknown part {part!r}{nearest(part, PARTS)}")
    counts = {
        name: count
        for name, prefix in PARTS.items()
        if (count := sum(key.startswith(prefix) for key in tensors))
    }
    several = any(f"{PARTS[name]}{MARK}" in tensors for name in counts)
    if not several:
        if part not in (None, "student"):
            raise WeightsError(
                f"{where} has no part {part}: its keys begin with none of "
                f"{', '.join(PARTS.values())}. Leave --part out"
            )
        chosen = dict(tensors)
    else:
        name = part or "student"
        if name not in counts:
            raise WeightsError(f"{where} has no part {name}; it has {', '.join(counts)}")
        prefix = PARTS[name]
        chosen = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
        del counts[name]
    if any(key.startswith(HRDA) for key in chosen):
        raise WeightsError(
            f"{where} is a network of HRDA (MIC's published checkpoints are, too): its head joins "
            "two scales by an attention that is not offered here. Checkpoints of DAFormer, and of "
            "MIC on DAFormer, can be read"
        )
    return chosen, counts if several else {}
