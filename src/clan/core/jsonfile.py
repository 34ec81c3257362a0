"""Reading JSON, validated by a schema; used by the whole package. Errors take one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from clan.core.errors import ClanError

T = TypeVar("T")

ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
"""A schema for JSON that is validated elsewhere."""


def read_json(path: Path, schema: TypeAdapter[T], error: type[ClanError], what: str) -> T:
    """Return the content of a JSON file, validated.

    Args:
        path: the file.
        schema: of its content.
        error: the error to raise if it cannot be read or does not match; it names file and key.
        what: the kind of file for messages, with its article, such as "a study's table".
    """
    try:
        return schema.validate_json(path.read_bytes())
    except OSError as failure:
        raise error(f"{path} cannot be read: {failure.strerror or failure}") from failure
    except ValidationError as failure:
        raise error(f"{path} is not {what}: {first_problem(failure)}") from failure


def parse_json(text: str | bytes, schema: TypeAdapter[T], where: str, error: type[ClanError]) -> T:
    """Return the content of a JSON text, validated; ``where`` is its name in messages."""
    try:
        return schema.validate_json(text)
    except ValidationError as failure:
        raise error(f"{where}: {first_problem(failure)}") from failure
    except UnicodeEncodeError as failure:
        raise error(f"{where}: it holds half of a character (a surrogate)") from failure


def first_problem(failure: ValidationError) -> str:
    """Return the first validation error, with its key."""
    found = failure.errors(include_url=False)[0]
    key = ".".join(str(part) for part in found["loc"])
    shown = repr(found["input"])
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    said = found["msg"] if found["type"] == "json_invalid" else f"{found['msg']} (found {shown})"
    return f"{key}: {said}" if key else said
