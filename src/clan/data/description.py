"""The YAML file that describes a data set, as a validated tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from clan.core.errors import DataError, nearest
from clan.core.options import Options
from clan.core.yamlfile import read_yaml
from clan.data.classes import CITYSCAPES_IDS, SYNTHIA_IDS, ClassSet
from clan.data.images import Encoding
from clan.data.label_maps import ColorMap, LabelMap, parse_color

NAMED_MAPS: Mapping[str, Mapping[int, str]] = {
    "cityscapes-ids": CITYSCAPES_IDS,
    "synthia-ids": SYNTHIA_IDS,
}
"""Tables that `labels: map` can name instead of spelling them out."""


class SplitPatterns(Options):
    """Where the files of a split are, relative to the root."""

    images: str
    """Pattern of the images; each `*` matches within one path component."""
    labels: str | None = None
    """Pattern of the labels: its wildcards take, in order, what those of `images` matched."""
    listed: str | None = Field(None, alias="list")
    """A file with one image name or path a line, in the root, else beside the description; not
    given: all files."""

    @field_validator("images", "labels")
    @classmethod
    def _plain(cls, pattern: str | None) -> str | None:
        """Refuse what the matching does not know."""
        if pattern is not None:
            if "**" in pattern or any(sign in pattern for sign in "?[]{}\\"):
                raise ValueError(
                    f"{pattern!r}: only `*` is a wildcard, and matches within one path component"
                )
            if pattern.startswith("/") or ".." in pattern.split("/"):
                raise ValueError(f"{pattern!r}: patterns stay below the root; set `root` instead")
        return pattern

    def check_wildcards(self) -> str | None:
        """Return what is wrong if images and labels differ in their number of wildcards."""
        if self.labels is None or self.images.count("*") == self.labels.count("*"):
            return None
        return (
            f"`images: {self.images}` and `labels: {self.labels}` must have the same number of "
            "wildcards, since labels are found by what the images' wildcards matched"
        )


class LabelOptions(Options):
    """How the label files store classes."""

    encoding: Encoding = "index"
    """index: grey or palette PNG; color: RGB or palette PNG whose colours are the classes; synthia:
    16-bit RGB PNG with the class in the R channel."""
    map: Any = "identity"
    """Raw value, or colour as in `128 64 0: road`, -> class name or 'ignore'; or identity,
    cityscapes-ids, synthia-ids."""

    @field_validator("map")
    @classmethod
    def _table(cls, value: Any, info: ValidationInfo) -> Any:
        """Check the form; class names are checked when the class set is known."""
        colors = info.data.get("encoding") == "color"
        named = ("identity",) if colors else ("identity", *NAMED_MAPS)
        if isinstance(value, str):
            if value not in named:
                raise ValueError(f"unknown map {value!r}{nearest(value, named)}")
            return value
        if not isinstance(value, dict) or not value:
            raise ValueError(
                f"expected {'colours' if colors else 'raw values'} and class names, such as "
                f"`{'128 64 0' if colors else 0}: sky`, or one of {', '.join(named)}; "
                f"found {value!r}"
            )
        for raw, name in value.items():
            if not isinstance(name, str):
                raise ValueError(f"the class of raw value {raw} is {name!r}, expected a name")
        return _color_table(value) if colors else _value_table(value)

    def label_map(self, classes: ClassSet, kept: ClassSet | None = None) -> LabelMap:
        """Build the lookup table; DataError if it names a class that is not in ``classes``.

        With ``kept``, a subset of the classes, indices are of that and the others are ignored.
        """
        kind = ColorMap if self.encoding == "color" else LabelMap
        table: Mapping[int, str]
        if self.map == "identity":
            table = kind.identity_table(classes)
        else:
            table = NAMED_MAPS[self.map] if isinstance(self.map, str) else self.map
        whole = kind.from_names(table, classes)
        if kept is None:
            return whole
        narrowed = {raw: n if n in kept.names else "ignore" for raw, n in table.items()}
        return kind.from_names(narrowed, kept)


def _value_table(table: dict[Any, str]) -> dict[int, str]:
    for raw in table:
        if type(raw) is not int or not 0 <= raw <= 65535:
            hint = "; colours need `encoding: color`" if parse_color(raw) is not None else ""
            raise ValueError(f"raw value {raw!r} is not a whole number in 0..65535{hint}")
    return table


def _color_table(table: dict[Any, str]) -> dict[int, str]:
    packed: dict[int, str] = {}
    for text, name in table.items():
        color = parse_color(text)
        if color is None:
            raise ValueError(
                f"{text!r} is no colour; expected red, green and blue in 0..255, such as `128 64 0`"
            )
        if color in packed:
            raise ValueError(f"colour {text!r} appears twice")
        packed[color] = name
    return packed


class Description(Options):
    """A data set: where its files are and what their values mean."""

    name: str | None = None
    """The data set's name; not given: that of the file."""
    root: str | None = None
    """The data set's folder, relative to the description; not given: the description's own."""
    classes: Any
    """Class set: built-in name, file relative to the description, or inline."""
    splits: dict[str, SplitPatterns] = Field(min_length=1)
    """The splits by name."""
    labels: LabelOptions = LabelOptions()
    """How label files store classes."""
    size_mismatch: Literal["error", "resize_image"] = "error"
    """What to do where image and label differ in size: refuse, or fit the image to the label."""


def read_description(path: Path) -> Description:
    """Read and check a description; DataError names the file, the key and what was expected."""
    try:
        description = Description.model_validate(read_yaml(path))
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(details)}" for details in error.errors())
        raise DataError(f"{path} does not describe a data set:\n{problems}") from error
    for name, split in description.splits.items():
        if problem := split.check_wildcards():
            raise DataError(f"{path}: splits.{name}: {problem}")
    return description


def _explain(details: ErrorDetails) -> str:
    location = details["loc"]
    where = ".".join(str(part) for part in location)
    if details["type"] == "extra_forbidden":
        group: type[Options] = Description
        if len(location) > 1:
            group = LabelOptions if location[0] == "labels" else SplitPatterns
        valid = [field.alias or name for name, field in group.model_fields.items()]
        return f"{where}: unknown key{nearest(str(location[-1]), valid)}"
    if details["type"] == "missing":
        return f"{where}: missing"
    if details["type"] == "value_error":
        return f"{where}: {details['ctx']['error']}"
    return f"{where}: {details['msg']}, found {details['input']!r}"
