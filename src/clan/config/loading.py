"""Reading configurations and presets into the tree, and writing them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from clan.config.errors import explain
from clan.config.files import find, is_description, override_key, read_tree
from clan.config.renamed import renew
from clan.config.tree import Config, DomainOptions
from clan.core.errors import ConfigError
from clan.core.files import user_path
from clan.data.archives.paths import below, is_archive
from clan.data.archives.storage import is_url
from clan.data.datasets import BUILTIN_DATASETS
from clan.data.python import PYTHON
from clan.weights.hf import anchored_hf, is_hf
from clan.weights.model_files import model_file
from clan.weights.start import RUNS


def load_config(preset: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Load a preset by name, or a configuration file, with ``key=value`` changes.

    Args:
        preset: a name from `preset_names`, or the path of a ``.yaml`` file.
        overrides: changes, such as ``training.steps=500``; values are YAML.

    Returns:
        The whole run, checked.

    Raises:
        ConfigError: unknown preset, key or value (naming the nearest valid one), or a value out
            of range.

    Example:
        config = clan.load_config("town/clan", ["data.root=data/town", "seed=1"])
    """
    return _checked(read_tree(find(str(preset))), preset, overrides)


def load_written(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Load the configuration that a run wrote; keys that were renamed since are accepted.

    Raises:
        ConfigError: as `load_config`.
    """
    return _checked(renew(read_tree(find(str(path)))), path, overrides)


def _checked(tree: dict[str, Any], preset: str | Path, overrides: Sequence[str]) -> Config:
    for change in overrides:
        override_key(tree, change)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        # each branch of a union fails with the same message
        lines = dict.fromkeys(f"  {explain(details, Config, tree)}" for details in error.errors())
        changes = f" with {' '.join(overrides)}" if overrides else ""
        raise ConfigError(f"{preset}{changes} is not valid:\n" + "\n".join(lines)) from error


def anchored(config: Config) -> Config:
    """Return the configuration with absolute paths, so that it does not depend on the folder.

    Roots of domains stay relative to ``data.root`` if it is given. A folder of images is looked for
    in the working folder, then in its domain's root. Weights that name a run folder become its
    model file.
    """
    data = config.data
    base = None if data.root is None else _absolute(data.root)
    domains = {
        name: None if domain is None else _anchored_domain(domain, base)
        for name in ("source", "target", "validation")
        for domain in [getattr(data, name)]
    }
    classes = data.classes
    if classes is not None and os.path.isfile(user_path(classes)):
        classes = _absolute(classes)
    weights = None if config.weights is None else _anchored_weights(config.weights)
    data = data.model_copy(update={"root": base, "classes": classes, **domains})
    method = config.method
    if method.models:
        found = tuple(str(model_file(Path(_absolute(path)))) for path in method.models)
        method = method.model_copy(update={"label_models": found})
    if method.pretrained_weights:
        second = _anchored_weights(method.pretrained_weights)
        method = method.model_copy(update={"pretrained": second})
    return config.model_copy(update={"data": data, "weights": weights, "method": method})


def _anchored_weights(weights: str) -> str:
    if is_hf(weights):
        return anchored_hf(weights)
    if weights == "imagenet" or weights.startswith(RUNS):
        return weights
    return str(model_file(Path(_absolute(weights))))


def _anchored_domain(domain: DomainOptions, base: str | None) -> DomainOptions:
    if domain.dataset == PYTHON:
        return domain
    root = domain.root
    if root is not None:
        several = (root,) if isinstance(root, str) else root
        anchored = tuple(
            _absolute(one) if base is None or is_url(one) else str(user_path(one))
            for one in several
        )
        root = anchored[0] if isinstance(root, str) else anchored
    dataset = domain.dataset
    # several archives hold no folder of images
    folder = root if isinstance(root, str) else "."
    inside = below(below(base, folder, ConfigError), dataset, ConfigError)
    # with a root, `gta5` is the layout, even where a folder of that name lies beside it
    layout = dataset in BUILTIN_DATASETS and (root is not None or base is not None)
    if is_description(dataset) or (_is_folder(dataset) and not layout):
        dataset = _absolute(dataset)
    elif dataset not in BUILTIN_DATASETS and _is_folder(inside):
        dataset = _absolute(str(inside))
    return domain.model_copy(update={"root": root, "dataset": dataset})


def _is_folder(place: str | Path) -> bool:
    """Tell whether this is a folder of images, or an archive of some."""
    return is_archive(place) or os.path.isdir(user_path(place))


def _absolute(path: str) -> str:
    return path if is_url(path) else os.path.abspath(user_path(path))


def is_configuration(path: Path) -> bool:
    """Whether a YAML file is a run's configuration, not for example a data set's description."""
    tree = read_tree(path)
    return "method" in tree or "training" in tree


def dump_config(config: Config) -> str:
    """Return the resolved configuration as YAML that `load_config` reads back."""
    tree = config.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, allow_unicode=True)
