"""Reading the YAML files that describe data: duplicate keys and syntax errors are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from clan.core.errors import DataError


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader keeps the last of two equal keys; a class map must not lose one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise yaml.MarkedYAMLError(
                    problem="a key is a list or mapping", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} appears twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[Any, Any]:
    """Return the mapping in a YAML file; DataError if missing, malformed or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a YAML file ({error})") from error
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        quote = "alias" in f"{error.context} {error.problem}"  # what YAML takes a first * for
        hint = "; put a value that begins with * in quotes" if quote else ""
        raise DataError(f"{where}: not valid YAML: {error.problem}{hint}") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise DataError(f"{path}: expected a mapping of keys to values, found {found}")
    return content
