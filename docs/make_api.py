"""Write docs/api.md from the signatures and docstrings of the public names.

    python docs/make_api.py

Every name of `clan.__all__` is described once, where it is defined. This program copies these
docstrings into the page, between its two marks; a test fails when the page is out of date.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from generated import between, bring_up_to_date

import clan

PAGE = Path(__file__).with_name("api.md")
BEGIN = "<!-- names: written by docs/make_api.py -->"
END = "<!-- end of names -->"
LISTS = ("Args", "Attributes", "Raises")
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example):$", re.MULTILINE)
ENTRY = re.compile(r"^(\S[^:]*): ", re.MULTILINE)


def main() -> None:
    """Bring the page up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(page: str) -> str:
    """Return the page with the descriptions of today's code between its marks."""
    return between(page, BEGIN, END, descriptions())


def descriptions() -> str:
    """Return all public names as Markdown: functions first, then classes."""
    names = [(name, getattr(clan, name)) for name in clan.__all__]
    functions = [(name, found) for name, found in names if not isinstance(found, type)]
    classes = [(name, found) for name, found in names if isinstance(found, type)]
    contents = ", ".join(f"[`{name}`](#{_anchor(name)})" for name, _ in (*functions, *classes))
    lines = [contents, "", "## Functions", ""]
    for name, function in functions:
        lines += _described(name, function, _signature(name, function))
    lines += ["## Classes", ""]
    for name, kind in classes:
        lines += _described(name, kind, "")
        for method in _methods(kind):
            lines += [f"- `{_call(method, getattr(kind, method))}`: {_first(kind, method)}"]
        if list(_methods(kind)):
            lines.append("")
    return "\n".join(lines)


def _described(name: str, thing: Any, signature: str) -> Iterator[str]:
    """Yield a name's heading, its signature and its docstring."""
    yield f"### clan.{name}"
    yield ""
    if signature:
        # no statement that Python could run: the form of a call
        yield from ("```text", signature, "```", "")
    text = inspect.getdoc(thing)
    if not text:
        raise ValueError(f"clan.{name} has no docstring: give it one")
    head, *sections = SECTION.split(text)
    yield from (_prose(head), "")
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        yield from _section(title, textwrap.dedent(body.strip("\n")).rstrip())


def _section(title: str, body: str) -> Iterator[str]:
    """Yield a section of a docstring: a list, a paragraph or code."""
    if title == "Example":
        yield from ("```python", body, "```", "")
    elif title in LISTS:
        yield from (f"**{title}**", "", *_entries(title, body), "")
    else:
        yield from (f"**{title}** {_prose(body)}", "")


def _entries(title: str, body: str) -> Iterable[str]:
    """Yield the entries of a list section, a Markdown item each."""
    heads = [*ENTRY.finditer(body)]
    if not heads:
        raise ValueError(f"a section {title!r} without `name: text` entries: {body!r}")
    ends = [*(head.start() for head in heads[1:]), len(body)]
    for head, end in zip(heads, ends, strict=True):
        yield f"- `{head[1]}`: {_prose(body[head.end() : end])}"


def _prose(text: str) -> str:
    """Return a docstring's text as Markdown: code in single marks, lines unwrapped."""
    paragraphs = re.split(r"\n\s*\n", text.strip().replace("``", "`"))
    return "\n\n".join(p if p.startswith("    ") else " ".join(p.split()) for p in paragraphs)


def _signature(name: str, function: Any) -> str:
    """Return a call with all parameters, a line each where one line is too long."""
    signature = inspect.signature(function)
    parameters = _parameters(list(signature.parameters.values()))
    end = _returns(signature)
    line = f"clan.{name}({', '.join(parameters)}){end}"
    if len(line) <= 90:
        return line
    return "\n".join([f"clan.{name}(", *(f"    {p}," for p in parameters), f"){end}"])


def _parameters(parameters: Sequence[inspect.Parameter]) -> list[str]:
    """Write parameters as their function does, with the star before those by name alone."""
    texts = []
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in texts:
            texts.append("*")
        text = f"{parameter.name}: {parameter.annotation}"
        if parameter.default is not parameter.empty:
            # a function that is a default has an address in its own text
            shown = getattr(parameter.default, "__name__", repr(parameter.default))
            text += f" = {shown}"
        texts.append(text)
    return texts


def _returns(signature: inspect.Signature) -> str:
    returns = signature.return_annotation
    return "" if returns is signature.empty else f" -> {returns}"


def _methods(kind: type) -> Iterator[str]:
    """Yield the public methods that a class defines itself."""
    for name, value in vars(kind).items():
        method = inspect.isfunction(value) or isinstance(value, property | classmethod)
        if method and not name.startswith("_") and inspect.getdoc(value):
            yield name


def _call(name: str, method: Any) -> str:
    if isinstance(method, property):
        return name
    signature = inspect.signature(method)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    return f"{name}({', '.join(_parameters(parameters))}){_returns(signature)}"


def _first(kind: type, name: str) -> str:
    text = inspect.getdoc(vars(kind)[name]) or ""
    return _prose(text.split("\n\n")[0])


def _anchor(name: str) -> str:
    return f"clan{name}".lower()


if __name__ == "__main__":
    main()
