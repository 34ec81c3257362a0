"""The YAML file that describes a data set, as a validated tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from clan.core.errors import DataError, nearest
from clan.core.options import Options
from clan.core.yamlfile import read_mapping
from clan.data.classes import CITYSCAPES_IDS, SYNTHIA_IDS, ClassSet, class_set
from clan.data.encodings import NAMED_ENCODINGS, Encoding, Stored
from clan.data.label_maps import ColorMap, LabelMap, parse_color
from clan.data.listing import check_pattern, wildcards

NAMED_MAPS: Mapping[str, Mapping[int, str]] = {
    "cityscapes-ids": CITYSCAPES_IDS,
    "synthia-ids": SYNTHIA_IDS,
}
"""Tables that `labels: map` can name instead of spelling them out."""


class SplitPatterns(Options):
    """Where the files of a split are, relative to the root."""

    images: str
    """Pattern of the images: `*` matches within one path component, `**` any folders, `{jpg,png}`
    one of these."""
    labels: str | None = None
    """Pattern of the labels: its wildcards take, in order, what those of `images` matched."""
    listed: str | None = Field(None, alias="list")
    """A file with one image name or path a line, and its label behind it or not, in the root, else
    beside the description; not given: all files."""
    exclude: tuple[str, ...] = ()
    """Patterns of files that are no images, though `images` matches them: of names, or with a slash
    of paths below the root. What `labels` matches is none either."""
    match: Literal["names", "numbers"] = "names"
    """How images find their labels: by equal names, or with leading zeros of numbers left aside."""
    absent: tuple[str, ...] = ()
    """Classes that no label of this split has: without it, a check calls that a problem."""

    @field_validator("exclude", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("images", "labels", "exclude")
    @classmethod
    def _patterns(cls, value: Any) -> Any:
        """Refuse what the matching does not know."""
        for pattern in (value,) if isinstance(value, str) else value or ():
            if problem := check_pattern(pattern):
                raise ValueError(problem)
        return value

    def check_wildcards(self) -> str | None:
        """Return what is wrong if images and labels differ in their number of wildcards."""
        if self.labels is None or wildcards(self.images) == wildcards(self.labels):
            return None
        return (
            f"`images: {self.images}` and `labels: {self.labels}` must have the same number of "
            "wildcards, since labels are found by what the images' wildcards matched"
        )


class LabelOptions(Options):
    """How the label files store classes."""

    encoding: Encoding = "index"
    """index: grey or palette PNG; color: RGB or palette PNG whose colours are the classes; synthia:
    16-bit RGB PNG with the class in the R channel; {channel: R}: RGB PNG with the class in one
    channel; {divide: 1000}: classes and instances in one number."""
    orientation: Literal["shown", "sensor"] | None = None
    """How labels of photographs with an EXIF orientation lie: shown, as the photograph is shown;
    sensor, as its pixels are stored. Not given: shown, and a check says where both would fit."""
    tolerance: int = Field(0, ge=0, le=127)
    """With colours: largest difference in red, green and blue at which a colour that the map does
    not list counts as the nearest one of the map."""
    map: Any = "identity"
    """Raw value, or colour as in `128 64 0: road`, -> class name or 'ignore'; or identity,
    cityscapes-ids, synthia-ids."""

    @field_validator("encoding", mode="before")
    @classmethod
    def _encoding(cls, value: Any) -> Any:
        """Read a name, or what stands in braces."""
        if value in NAMED_ENCODINGS or isinstance(value, Stored):
            return value
        if isinstance(value, dict):
            try:
                return Stored.model_validate(value)
            except ValidationError as error:
                said = "; ".join(_detail(d, Stored) for d in error.errors())
                raise ValueError(said) from error
        raise ValueError(
            f"{value!r} is no encoding; expected 'index', 'color' or 'synthia', or such as "
            "{channel: R} or {divide: 1000}"
        )

    @field_validator("tolerance")
    @classmethod
    def _of_colors(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("encoding") != "color":
            raise ValueError("a tolerance is for colours: it needs `encoding: color`")
        return value

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
        if kept is not None:
            narrowed = {raw: n if n in kept.names else "ignore" for raw, n in table.items()}
            whole = kind.from_names(narrowed, kept)
        return whole.with_tolerance(self.tolerance) if isinstance(whole, ColorMap) else whole


def _value_table(table: dict[Any, str]) -> dict[int, str]:
    values: dict[int, str] = {}
    for raw, name in table.items():
        # quotes around a number, as JSON needs them for keys, change nothing
        quoted = isinstance(raw, str) and raw.strip().isascii() and raw.strip().isdecimal()
        value = int(raw) if quoted else raw
        if type(value) is not int or not 0 <= value <= 65535:
            hint = "; colours need `encoding: color`" if parse_color(raw) is not None else ""
            raise ValueError(f"raw value {raw!r} is not a whole number in 0..65535{hint}")
        if value in values:
            raise ValueError(f"raw value {value} appears twice")
        values[value] = name
    return values


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
    root: str | tuple[str, ...] | None = None
    """The data set's folder, or the archive that holds it, relative to the description; an address
    too; a list of archives that are read as one; not given: the description's own folder."""
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
        description = Description.model_validate(read_mapping(path))
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(details)}" for details in error.errors())
        raise DataError(f"{path} does not describe a data set:\n{problems}") from error
    for name, split in description.splits.items():
        if problem := split.check_wildcards():
            raise DataError(f"{path}: splits.{name}: {problem}")
    return description


def described_classes(
    description: Description, path: Path, expected: ClassSet | None
) -> tuple[ClassSet, LabelMap]:
    """Return the classes of a described data set, or the subset expected, and its label map."""
    try:
        classes = class_set(description.classes, base=path.parent)
        kept = expected if expected is not None and classes.holds(expected) else None
        label_map = description.labels.label_map(classes, kept)
        classes = kept or classes
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if expected is not None and expected.names != classes.names:
        raise DataError(
            f"{path}: its classes are those of {classes.name!r} ({', '.join(classes.names)}), "
            f"expected those of {expected.name!r} ({', '.join(expected.names)}); source and target "
            "may store different values but must share one class set"
        )
    if len(classes) == 1:
        raise DataError(
            f"{path}: {classes.names[0]!r} is the only class. A network with one class predicts it "
            "for every pixel, with a loss of 0 and an mIoU of 100. Add a class for all else, "
            "such as `background: [0, 0, 0]`, and map its value to that instead of 'ignore'"
        )
    return classes, label_map


def known_absent(
    names: Sequence[str], classes: ClassSet, description: Description, path: Path
) -> tuple[str, ...]:
    """Return the absent classes that ``classes`` holds; DataError for a name that is none."""
    every = class_set(description.classes, base=path.parent).names
    for name in names:
        if name not in every:
            raise DataError(f"{path}: absent: unknown class {name!r}{nearest(name, every)}")
    return tuple(name for name in classes.names if name in names)


def _explain(details: ErrorDetails) -> str:
    location = details["loc"]
    where = ".".join(str(part) for part in location)
    group: type[Options] = Description
    if len(location) > 1:
        group = LabelOptions if location[0] == "labels" else SplitPatterns
    said = _detail(details, group)
    return f"{where}: {said.removeprefix(f'{location[-1]}: ')}"


def _detail(details: ErrorDetails, group: type[Options]) -> str:
    """Return what is wrong with one key of a group of options."""
    key = details["loc"][-1] if details["loc"] else ""
    if details["type"] == "extra_forbidden":
        valid = [field.alias or name for name, field in group.model_fields.items()]
        said = f"unknown key{nearest(str(key), valid)}"
    elif details["type"] == "missing":
        said = "missing"
    elif details["type"] == "value_error":
        said = str(details["ctx"]["error"])
    else:
        said = f"{details['msg']}, found {details['input']!r}"
    return f"{key}: {said}" if key else said
