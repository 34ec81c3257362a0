"""Write the key tables of docs/configuration.md from the code.

    python docs/make_configuration.py

Every key of a run is declared once, with its type, default, range and meaning, beside the code
that reads it. This program copies these declarations into the page, between its two marks; the
text around them is written by hand. A test fails when the page is out of date.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from generated import between, bring_up_to_date
from pydantic.fields import FieldInfo

from clan.config.tree import Config
from clan.core.options import Options
from clan.losses.segmentation import LOSSES, LossOptions
from clan.methods import METHODS, MethodOptions

PAGE = Path(__file__).with_name("configuration.md")
BEGIN = "<!-- keys: written by docs/make_configuration.py -->"
END = "<!-- end of keys -->"

HEAD = "| key | type | default | meaning |\n| --- | --- | --- | --- |"
WORDS = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def main() -> None:
    """Bring the page up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(page: str) -> str:
    """Return the page with the tables of today's code between its marks."""
    return between(page, BEGIN, END, tables())


def tables() -> str:
    """Return all keys as Markdown, a section per group."""
    return "\n".join(_section("", Config, "The run"))


def _section(prefix: str, group: type[Options], title: str) -> Iterator[str]:
    """Yield a group's table, then the sections of the groups below it."""
    yield f"### {title}\n"
    yield f"{group.__doc__}\n"
    yield HEAD
    below: dict[type[Options], list[str]] = {}
    for name, field in group.model_fields.items():
        key = f"{prefix}{name}"
        inner = _groups(field.annotation)
        if not inner:
            yield _row(key, field)
            continue
        if name != "method":
            below.setdefault(inner[0], []).append(key)
        default = "its own defaults"
        if field.is_required() or field.default is None:
            default = _default(field)
        yield f"| `{key}` | group, see below | {default} | {_meaning(field)} |"
    yield ""
    for inner_group, keys in below.items():
        # groups of one kind share a table; its keys are then written without the group's name
        heading = ", ".join(f"`{key}`" for key in keys)
        inner_prefix = f"{keys[0]}." if len(keys) == 1 else ""
        yield from _section(inner_prefix, inner_group, heading)
    if "method" in group.model_fields:
        yield from _methods(group.model_fields["method"])


def _methods(field: FieldInfo) -> Iterator[str]:
    """Yield the keys of all methods, then what each adds to or narrows in them."""
    yield "### `method`\n"
    yield f"{field.description} The name decides which of the keys below there are.\n"
    yield HEAD
    shared = MethodOptions.model_fields
    for name, option in shared.items():
        if name == "name":
            names = ", ".join(f"`{method}`" for method in METHODS)
            yield f"| `method.name` | one of {names} | **required** | {_meaning(option)} |"
        elif name == "loss":
            yield f"| `method.loss` | group, see below | its own defaults | {_meaning(option)} |"
        else:
            yield _row(f"method.{name}", option)
    yield ""
    yield from _losses()
    for method, home in METHODS.items():
        own = {
            name: option
            for name, option in home.Options.model_fields.items()
            if name != "name" and (name not in shared or _differs(option, shared[name]))
        }
        yield f"#### `method.name: {method}`\n"
        if not own:
            yield "Nothing but the keys above.\n"
            continue
        yield HEAD
        yield from (_row(f"method.{name}", option) for name, option in own.items())
        yield ""


def _losses() -> Iterator[str]:
    """Yield the keys of all segmentation losses, then what each adds."""
    yield "#### `method.loss`\n"
    yield HEAD
    shared = LossOptions.model_fields
    for name, option in shared.items():
        if name == "name":
            names = ", ".join(f"`{loss}`" for loss in LOSSES)
            kind = f"one of {names}"
            yield f"| `method.loss.name` | {kind} | {_default(option)} | {_meaning(option)} |"
        else:
            yield _row(f"method.loss.{name}", option)
    yield ""
    for loss, home in LOSSES.items():
        yield f"#### `method.loss.name: {loss}`\n"
        yield HEAD
        own = {n: o for n, o in home.Options.model_fields.items() if n not in shared}
        yield from (_row(f"method.loss.{name}", option) for name, option in own.items())
        yield ""


def _row(key: str, field: FieldInfo) -> str:
    kind = _escape(_type(field.annotation) + _range(field))
    return f"| `{key}` | {kind} | {_escape(_default(field))} | {_meaning(field)} |"


def _differs(one: FieldInfo, other: FieldInfo) -> bool:
    return (one.annotation, one.default) != (other.annotation, other.default)


def _groups(annotation: Any) -> list[type[Options]]:
    """Return the option groups that an annotation names; empty for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return [annotation]
    # a tuple's parts are numbers, never groups: only unions have to be looked into
    inner = get_args(annotation) if get_origin(annotation) is not tuple else ()
    return [group for part in inner for group in _groups(part)]


def _type(annotation: Any) -> str:
    """Say in words which values a key takes."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in WORDS:
        return WORDS[annotation]
    if origin is Annotated:
        return _type(inner[0])
    if annotation is types.NoneType:
        return "`null`"
    if origin is Literal:
        return "one of " + ", ".join(f"`{_value(choice)}`" for choice in inner)
    if origin in (Union, types.UnionType):
        parts = sorted(inner, key=lambda part: part is types.NoneType)
        return " or ".join(_type(part).removeprefix("one of ") for part in parts)
    if origin is dict:
        return f"{_type(inner[1])} by name"
    if origin is tuple and inner[-1] is Ellipsis:
        return f"list of {_plural(_type(inner[0]))}"
    if origin is tuple:
        return f"list of {len(inner)} {_plural(_type(inner[0]))}"
    if annotation is Any:
        return "values"
    raise TypeError(f"no words for the type {annotation!r}: add them to {__file__}")


def _plural(words: str) -> str:
    """Return the plural of a type in words, of which a list's is another list's."""
    return words.replace("list", "lists", 1) if words.startswith("list") else f"{words}s"


def _range(field: FieldInfo) -> str:
    """Say which values of the type are allowed; empty if all are."""
    limits = []
    for rule in field.metadata:
        for name, sign in BOUNDS.items():
            limit = getattr(rule, name, None)
            if limit is not None:
                limits.append(f"{sign} {_value(limit)}")
        least = getattr(rule, "min_length", None)
        if least is not None:
            limits.append("not empty")
    return f", {', '.join(limits)}" if limits else ""


def _default(field: FieldInfo) -> str:
    return "**required**" if field.is_required() else f"`{_value(field.default)}`"


def _value(value: Any) -> str:
    """Write a value as it stands in a configuration file."""
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, float) and value and abs(value) < 1e-3:
        return f"{value:.1e}".replace("e-0", "e-")
    return json.dumps(value)


def _meaning(field: FieldInfo) -> str:
    if not field.description:
        raise ValueError(f"a key without a meaning: {field!r}; give it an attribute docstring")
    return _escape(" ".join(field.description.split()))


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")


if __name__ == "__main__":
    main()
