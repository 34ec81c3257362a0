"""Reading YAML safely, with size limits; used by the whole package. Errors take one line.

Rules beyond YAML's own: a mapping has no key twice; dates are read as text, since no option is a
date; integers fit 64 bits; text holds no NUL and no surrogate (half of a character).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from clan.core.errors import ClanError, DataError

T = TypeVar("T")

MOST_BYTES = 2 << 20
"""Largest file: a label map of all 65,536 values fits."""
MOST_DEPTH = 40
"""Deepest nesting of lists and mappings."""
MOST_EXPANDED = 2 * MOST_BYTES
"""Most characters and values of a file after its aliases are expanded."""
LONGEST_NUMBER = 100
"""Most characters of an integer, in any base."""
_BITS = 64
_SHOWN = 60
_MERGE, _DATE = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with limits; its errors name line and key."""

    # a copy, without dates: the original is shared with all of PyYAML
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, regexp) for tag, regexp in rules if tag != _DATE]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._keys: list[str] = []
        self._expanded: dict[int, int] = {}
        self._open: set[int] = set()
        # constructs values only to check them; this loader constructs the result after composing
        self._checks = yaml.SafeLoader("")

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        alias = self.check_event(yaml.AliasEvent)
        start = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._keys.append(_key(parent, index))
        if len(self._keys) > MOST_DEPTH:
            raise self._problem(f"lists and mappings lie more than {MOST_DEPTH} deep", start)
        node = super().compose_node(parent, index)
        if node is not None:
            if alias and id(node) not in self._expanded:
                raise self._problem("an alias stands within what it names", start)
            if not alias:
                self._measure(node)
            if self._expanded[id(node)] > MOST_EXPANDED:
                raise self._problem(f"aliases make more than {MOST_EXPANDED:,} characters", start)
        self._keys.pop()
        return node

    def _measure(self, node: Node) -> None:
        """Store the size of a node with aliases expanded; check that a scalar can be read."""
        if isinstance(node, ScalarNode):
            self._check(node)
            size = len(node.value)
        elif isinstance(node, MappingNode):
            size = sum(self._expanded[id(n)] for pair in node.value for n in pair)
        else:
            size = sum(self._expanded[id(n)] for n in node.value)
        self._expanded[id(node)] = 1 + size

    def _check(self, node: ScalarNode) -> None:
        if node.tag == _MERGE:
            return
        if node.tag.endswith(":int") and len(node.value) > LONGEST_NUMBER:
            raise self._problem(f"a number of {len(node.value)} characters", node.start_mark)
        try:
            value = self._checks.construct_object(node, deep=True)
        except yaml.MarkedYAMLError as error:
            raise self._problem(str(error.problem), node.start_mark) from error
        # PyYAML's constructors pass on the errors of int, dict and datetime
        except (
            ValueError,
            KeyError,
            IndexError,
            AttributeError,
            TypeError,
            OverflowError,
        ) as error:
            kind = node.tag.rpartition(":")[2]
            found = f"{_shortened(node.value)} is no {kind} that can be read"
            raise self._problem(found, node.start_mark) from error
        if isinstance(value, int) and value.bit_length() > _BITS:
            raise self._problem(
                f"{_shortened(node.value)} does not fit {_BITS} bits", node.start_mark
            )
        if isinstance(value, str) and (sign := _unfit(value)):
            raise self._problem(f"{_shortened(value)} holds {sign}", node.start_mark)

    def construct_mapping(self, node: Node, deep: bool = False) -> dict[Any, Any]:
        """Refuse duplicate keys; PyYAML's loader would keep the last of them."""
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, MappingNode) else ():
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict | set):
                raise self._problem("a key is a list or mapping", key_node.start_mark)
            if key in seen:
                raise self._problem(f"key {_shortened(key)} appears twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)  # type: ignore[arg-type]

    def _problem(self, said: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
        named = [key for key in self._keys if key]
        keys = ".".join(named if len(named) <= 6 else [*named[:6], "..."])
        return yaml.MarkedYAMLError(problem=f"{keys}: {said}" if keys else said, problem_mark=mark)


def _key(parent: Node | None, index: Any) -> str:
    """Return the key or index of a value in its parent; empty for a document and for a key."""
    if isinstance(parent, MappingNode):
        return _shortened(index.value, quotes=False) if isinstance(index, ScalarNode) else ""
    return "" if index is None else str(index)


def _shortened(value: Any, quotes: bool = True) -> str:
    text = str(value)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return repr(text) if quotes and isinstance(value, str) else text


def _unfit(text: str) -> str:
    """Name a character that file names and terminals do not allow; empty if there is none."""
    if "\0" in text:
        return "the character NUL"
    return (
        "half of a character (a surrogate)" if any("\ud800" <= c <= "\udfff" for c in text) else ""
    )


def read_yaml(path: Path, error: type[ClanError] = DataError) -> Any:
    """Return the content of a YAML file.

    Args:
        path: the file, UTF-8.
        error: the error to raise if it cannot be read; it names file, line and key.
    """
    try:
        size = path.stat().st_size
        if size <= MOST_BYTES and path.is_file():
            text = path.read_text(encoding="utf-8")
            return _within(text, str(path), error, _Loader.get_single_data, lines=True)
    except (OSError, UnicodeDecodeError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise error(f"{path} cannot be read as a YAML file: {reason}") from failure
    if not path.is_file():
        raise error(f"{path} is no file; expected a YAML file")
    raise error(f"{path} has {size:,} bytes; a YAML file has at most {MOST_BYTES:,} here")


def read_mapping(path: Path, error: type[ClanError] = DataError) -> dict[Any, Any]:
    """Return the mapping in a YAML file; see `read_yaml`."""
    content = read_yaml(path, error)
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise error(f"{path} holds {found}; expected a mapping, of `key: value` lines")
    return content


def parse_yaml(text: str, where: str, error: type[ClanError]) -> Any:
    """Return the content of a YAML text.

    Args:
        text: one document, such as a value in the command line.
        where: its name in messages.
        error: the error to raise if it is no YAML or exceeds the limits.
    """
    return _within(text, where, error, _Loader.get_single_data)


def compose_yaml(text: str, where: str, error: type[ClanError]) -> Node | None:
    """Return the nodes of a YAML text, with their positions; see `parse_yaml`."""
    return _within(text, where, error, _Loader.get_single_node)


def _within(
    text: str,
    where: str,
    error: type[ClanError],
    action: Callable[[_Loader], T],
    lines: bool = False,
) -> T:
    try:
        loader = _Loader(text)
        try:
            return action(loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as failure:
        mark = failure.problem_mark or failure.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark and lines else where
        quote = "alias" in f"{failure.context} {failure.problem}"  # a leading * begins an alias
        hint = "; put a value that begins with * in quotes" if quote else ""
        raise error(f"{place} is not YAML: {failure.problem}{hint}") from failure
    except yaml.reader.ReaderError as failure:
        place = f"{where}:{text.count(chr(10), 0, failure.position) + 1}" if lines else where
        code = failure.character if isinstance(failure.character, int) else ord(failure.character)
        raise error(f"{place} is not YAML: it holds the character {code:#x}") from failure
    # a list or mapping with a tag of another type, such as `!!set [1]`
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as failure:
        raise error(f"{where} is not YAML: {failure}") from failure
