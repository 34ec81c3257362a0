"""Complete configurations of ``hf:`` encoders, from their names.

An ``hf:`` encoder is a model of the library transformers. Its name is looked up once, when options
are read. Then all values of its configuration are kept under ``model.hf``, also in the run's
configuration, its checkpoints and its model file, so that nothing is looked up again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clan.core.errors import ConfigError, nearest
from clan.core.extras import require_extra

PREFIX = "hf:"
TYPE = "model_type"
SEGFORMER = "segformer"
MAPS = "out_indices"
"""The stages of a backbone that become maps; a SegFormer always returns all four."""

_MIT = {TYPE: SEGFORMER, "hidden_sizes": [64, 128, 320, 512]}
_DINOV2 = {TYPE: "dinov2", "image_size": 518}
NAMED: dict[str, dict[str, Any]] = {
    "mit_b0": {**_MIT, "hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2]},
    "mit_b1": {**_MIT, "depths": [2, 2, 2, 2]},
    "mit_b2": {**_MIT, "depths": [3, 4, 6, 3]},
    "mit_b3": {**_MIT, "depths": [3, 4, 18, 3]},
    "mit_b4": {**_MIT, "depths": [3, 8, 27, 3]},
    "mit_b5": {**_MIT, "depths": [3, 6, 40, 3]},
    "dinov2_small": {**_DINOV2, "hidden_size": 384, "num_attention_heads": 6},
    "dinov2_base": {**_DINOV2, "hidden_size": 768, "num_attention_heads": 12},
    "dinov2_large": {
        **_DINOV2,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
    },
}
"""Published sizes that transformers does not know without the network: the Mix Transformers of
SegFormer (Xie et al. 2021) and DINOv2 (Oquab et al. 2023), as in their configurations on the hub.
"""


def complete(name: str, changes: Mapping[str, Any], last_map_only: bool) -> dict[str, Any]:
    """Return the complete configuration of an encoder.

    Args:
        name: what follows ``hf:``: a size in `NAMED`, a model type of transformers, a folder with
            a ``config.json``, or a name on the hub (``nvidia/mit-b0``).
        changes: values that differ from the named configuration, in transformers' names. With a
            ``model_type`` they are complete themselves, and the name has to be that type.
        last_map_only: if the maps are not chosen, use only the deepest instead of one per stage.

    Raises:
        ConfigError: transformers is not installed; an unknown name, folder or value.
    """
    if TYPE in changes and changes[TYPE] != name:
        raise ConfigError(
            f"model.hf is the whole configuration of a {changes[TYPE]!r}, and model.encoder is "
            f"{PREFIX + name}: write encoder: {PREFIX}{changes[TYPE]}, or take model.hf out"
        )
    values = _named(name)
    kind = values[TYPE]
    valid = set(_fields(kind))
    for key in changes:
        if key not in valid:
            raise ConfigError(f"model.hf: {kind!r} has no value {key!r}{nearest(key, valid)}")
    values |= changes
    if kind != SEGFORMER and values.get(MAPS) is None:
        values[MAPS] = _maps(hf_config(values), last_map_only)
    return _plain(hf_config(values))


def hf_config(values: Mapping[str, Any]) -> Any:
    """Return transformers' configuration object of a configuration that names its type.

    Raises:
        ConfigError: transformers does not take the values.
    """
    require_transformers()
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    rest = {key: value for key, value in values.items() if key != TYPE}
    try:
        return CONFIG_MAPPING[values[TYPE]](**rest)
    except (StrictDataclassError, ValueError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(
            f"model.hf: transformers does not take this configuration of {values[TYPE]!r}: "
            f"{' '.join(str(error).split())}"
        ) from error


def model_class(kind: str) -> Any:
    """Return transformers' class of a model type that gives feature maps."""
    require_transformers()
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    name = "SegformerModel" if kind == SEGFORMER else MODEL_FOR_BACKBONE_MAPPING_NAMES[kind]
    return getattr(transformers, name)


def known_types() -> tuple[str, ...]:
    """Return the model types of transformers that give feature maps."""
    require_transformers()
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    # timm's networks are another library's
    return tuple(sorted({SEGFORMER, *MODEL_FOR_BACKBONE_MAPPING_NAMES} - {"timm_backbone"}))


def require_transformers() -> None:
    """Raise a ConfigError with the command that installs transformers, if it is missing."""
    require_extra("transformers", "transformers", "an encoder hf:NAME")


def _named(name: str) -> dict[str, Any]:
    if name in NAMED:
        return dict(NAMED[name])
    if name in known_types():
        return {TYPE: name}
    return _read(name)


def _read(name: str) -> dict[str, Any]:
    """Return the configuration in a folder or on the hub."""
    from transformers import AutoConfig

    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"{folder} has no config.json: expected a folder that transformers wrote "
                "(save_pretrained), or one fetched from its hub"
            )
        name = str(folder.resolve())  # a plain word would be looked for on the hub
    elif name.count("/") != 1 or name.startswith((".", "/", "~")):
        valid = (*NAMED, *known_types())
        raise ConfigError(
            f"unknown encoder {PREFIX + name!r}: no folder of that name, no name on the hub (those "
            f"read owner/model) and no configuration{nearest(name, valid)}"
        )
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        where = folder if folder.is_dir() else f"{name} (no folder; looked for on the hub)"
        raise ConfigError(
            f"transformers cannot read a configuration from {where}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    if config.model_type not in known_types():
        raise ConfigError(
            f"{name} is a {config.model_type!r}, which gives no feature maps"
            f"{nearest(config.model_type, known_types())}"
        )
    return _plain(config)


def _fields(kind: str) -> list[str]:
    """Return the fields of this model type, without those of every model of transformers."""
    from transformers import CONFIG_MAPPING, PretrainedConfig

    common = {field.name for field in dataclasses.fields(PretrainedConfig)}
    own = [f.name for f in dataclasses.fields(CONFIG_MAPPING[kind]) if f.name not in common]
    own = [name for name in own if not name.startswith("_")]
    return [TYPE, *own, *([] if kind == SEGFORMER else [MAPS])]


def _plain(config: Any) -> dict[str, Any]:
    """Return a configuration as plain values (lists, no tuples), without values that are None."""
    told = config.to_dict()
    values = {name: told.get(name) for name in _fields(config.model_type)}
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return {name: value for name, value in plain.items() if value is not None}


def _maps(config: Any, last_only: bool) -> list[int]:
    """Choose the maps: one per stage, from fine to coarse; of a plain ViT the last layer only."""
    if not hasattr(config, "stage_names"):
        raise ConfigError(
            f"model.hf: a {config.model_type!r} is made of several models and has no stages of "
            f"its own; name its vision model{nearest(config.model_type + '_vision', known_types())}"
        )
    last = len(config.stage_names) - 1
    hierarchical = hasattr(config, "depths")
    return [last] if last_only or not hierarchical else list(range(1, last + 1))
