"""The one reader of YAML: files of people and strangers, read within limits or refused in a line.

Beside YAML's own rules: a key stands once in its mapping; dates are text, since no option is one;
whole numbers fit 64 bits; text holds no NUL and no half of a character.
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
"""Of a file: a label map of all 65,536 values fits."""
MOST_DEPTH = 40
"""Lists and mappings within each other."""
MOST_EXPANDED = 2 * MOST_BYTES
"""Characters and values of a file whose aliases are written out."""
LONGEST_NUMBER = 100
"""Characters of a whole number, in whatever base."""
_BITS = 64
_SHOWN = 60
_MERGE, _DATE = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with limits; what a key holds is checked where it stands."""

    # an empty list of its own: the class's is shared with all of PyYAML
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, regexp) for tag, regexp in rules if tag != _DATE]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._keys: list[str] = []
        self._expanded: dict[int, int] = {}
        self._open: set[int] = set()
        # what waits in them is finished by the loader itself, once the whole file is composed
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
        """Note how much a node is, its aliases written out; see that a plain value can be read."""
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
        # PyYAML's constructors raise whatever int, dict and datetime do
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
        """Refuse what YAML's own loader lets pass: it keeps the last of two equal keys."""
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
    """Return what a value is called within its parent; empty of a document and of a key."""
    if isinstance(parent, MappingNode):
        return _shortened(index.value, quotes=False) if isinstance(index, ScalarNode) else ""
    return "" if index is None else str(index)


def _shortened(value: Any, quotes: bool = True) -> str:
    text = str(value)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return repr(text) if quotes and isinstance(value, str) else text


def _unfit(text: str) -> str:
    """Name what no file's name and no terminal takes; empty if there is nothing of the kind."""
    if "\0" in text:
        return "the character NUL"
    return (
        "half of a character (a surrogate)" if any("\ud800" <= c <= "\udfff" for c in text) else ""
    )


def read_yaml(path: Path, error: type[ClanError] = DataError) -> Any:
    """Return what a YAML file holds.

    Args:
        path: the file, UTF-8.
        error: what is raised where it cannot be read; it names file, line and key.
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
    """Return what a YAML text holds.

    Args:
        text: one document, such as a value in the command line.
        where: what messages call it.
        error: what is raised where it is no YAML, or beyond the limits.
    """
    return _within(text, where, error, _Loader.get_single_data)


def compose_yaml(text: str, where: str, error: type[ClanError]) -> Node | None:
    """Return the nodes of a YAML text, with the places that they stand at; see `parse_yaml`."""
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
        quote = "alias" in f"{failure.context} {failure.problem}"  # what a first * stands for
        hint = "; put a value that begins with * in quotes" if quote else ""
        raise error(f"{place} is not YAML: {failure.problem}{hint}") from failure
    except yaml.reader.ReaderError as failure:
        place = f"{where}:{text.count(chr(10), 0, failure.position) + 1}" if lines else where
        code = failure.character if isinstance(failure.character, int) else ord(failure.character)
        raise error(f"{place} is not YAML: it holds the character {code:#x}") from failure
    # of a whole list or mapping with a tag that does not fit it, such as `!!set [1]`
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as failure:
        raise error(f"{where} is not YAML: {failure}") from failure
