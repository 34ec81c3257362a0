"""Class sets: which classes there are, in which order, and what stored ids mean.

Values and colours of Cityscapes are those of the data set's own definition (34 label ids, of
which 19 are trained). GTA5 stores the same ids. SYNTHIA-RAND-CITYSCAPES has a numbering of its own.
How ids become class indices is in `clan.data.label_maps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError, nearest
from clan.core.files import user_path
from clan.core.text import hidden_in
from clan.core.yamlfile import read_mapping

IGNORE = 255
"""The label value of a pixel that neither trains nor scores."""

_MAX_CLASSES = 254

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassSet:
    """Ordered classes: channel i of a network's logits, and label value i, is ``names[i]``.

    ``colors`` are RGB, 0..255. ``subsets`` are named groups of classes over which scores are
    averaged beside the whole set.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[Color, ...]
    subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        where = f"class set {self.name!r}"
        for name in (self.name, *self.names, *self.subsets):
            if sign := hidden_in(name):
                raise DataError(f"{where}: the name {name!r} holds the control character {sign}")
        if len(self.names) > _MAX_CLASSES:
            raise DataError(f"{where}: {len(self.names)} classes, at most {_MAX_CLASSES} fit")
        if len(self.colors) != len(self.names):
            raise DataError(f"{where}: {len(self.names)} classes but {len(self.colors)} colours")
        if repeated := sorted({n for n in self.names if self.names.count(n) > 1}):
            raise DataError(f"{where}: class {repeated[0]!r} appears twice")
        if "ignore" in self.names:
            raise DataError(f"{where}: 'ignore' is the name of unlabelled pixels, not of a class")
        for class_name, color in zip(self.names, self.colors, strict=True):
            if len(color) != 3 or not all(0 <= value <= 255 for value in color):
                raise DataError(
                    f"{where}: the colour of {class_name!r} is {list(color)}, "
                    "expected three values 0..255 (red, green, blue)"
                )
        for subset, members in self.subsets.items():
            if subset == self.name:
                raise DataError(f"{where}: a subset has the name of the whole set")
            for member in members:
                if member not in self.names:
                    raise DataError(
                        f"{where}: subset {subset!r} holds the unknown class {member!r}"
                        f"{nearest(member, self.names)}"
                    )
            if not members or len(set(members)) != len(members):
                raise DataError(f"{where}: subset {subset!r} is empty or repeats a class")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the index of a class; DataError with the nearest name if there is none."""
        if name not in self.names:
            raise DataError(
                f"class set {self.name!r} has no class {name!r}{nearest(name, self.names)}"
            )
        return self.names.index(name)

    def subset(self, name: str) -> ClassSet:
        """Return a named subset as a class set of its own, with the subsets that lie within it.

        DataError if there is none of this name.
        """
        if name not in self.subsets:
            raise DataError(
                f"class set {self.name!r} has no subset {name!r}{nearest(name, self.subsets)}"
            )
        kept = self.subsets[name]
        within = {k: v for k, v in self.subsets.items() if k != name and set(v) <= set(kept)}
        return ClassSet(name, kept, tuple(self.colors[self.index(n)] for n in kept), within)

    def holds(self, other: ClassSet) -> bool:
        """Tell whether another class set is one of the named subsets."""
        return self.subsets.get(other.name) == other.names

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and strings, fit for JSON; ``from_dict`` restores them."""
        return {
            "name": self.name,
            "names": list(self.names),
            "colors": [list(color) for color in self.colors],
            "subsets": {name: list(members) for name, members in self.subsets.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ClassSet:
        """Restore a class set from ``to_dict``; DataError if it was not made by it."""
        try:
            return cls(
                name=str(content["name"]),
                names=tuple(str(name) for name in content["names"]),
                colors=tuple((int(r), int(g), int(b)) for r, g, b in content["colors"]),
                subsets={str(k): tuple(map(str, v)) for k, v in content["subsets"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "a stored class set needs name, names, colors (three numbers each) and subsets; "
                f"reading it failed with {type(error).__name__}: {error}"
            ) from error

    def palette(self) -> list[int]:
        """Return 256 RGB triples in a flat list of 768 values; ignore and unused are black."""
        flat = [value for color in self.colors for value in color]
        return flat + [0] * (768 - len(flat))

    def colorize(self, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the RGB picture (H, W, 3) uint8 of class indices (H, W) uint8."""
        table = np.array(self.palette(), np.uint8).reshape(256, 3)
        return np.asarray(table[label])


NO_CLASSES = ClassSet("none", (), ())
"""The class set of a folder of images opened without one."""


def _cityscapes() -> ClassSet:
    colors: dict[str, Color] = {
        "road": (128, 64, 128),
        "sidewalk": (244, 35, 232),
        "building": (70, 70, 70),
        "wall": (102, 102, 156),
        "fence": (190, 153, 153),
        "pole": (153, 153, 153),
        "traffic light": (250, 170, 30),
        "traffic sign": (220, 220, 0),
        "vegetation": (107, 142, 35),
        "terrain": (152, 251, 152),
        "sky": (70, 130, 180),
        "person": (220, 20, 60),
        "rider": (255, 0, 0),
        "car": (0, 0, 142),
        "truck": (0, 0, 70),
        "bus": (0, 60, 100),
        "train": (0, 80, 100),
        "motorcycle": (0, 0, 230),
        "bicycle": (119, 11, 32),
    }
    names = tuple(colors)
    sixteen = tuple(n for n in names if n not in ("terrain", "truck", "train"))
    thirteen = tuple(n for n in sixteen if n not in ("wall", "fence", "pole"))
    subsets = {"cityscapes-16": sixteen, "cityscapes-13": thirteen}
    return ClassSet("cityscapes", names, tuple(colors.values()), subsets)


CITYSCAPES = _cityscapes()
"""The 19 trained classes in trainId order; the subsets are those of SYNTHIA to Cityscapes."""

CITYSCAPES_16 = CITYSCAPES.subset("cityscapes-16")
"""The 16 classes that SYNTHIA's labels and Cityscapes share, for a classifier of 16 outputs."""

CAMVID = ClassSet(
    "camvid",
    (
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    (
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)
"""The 11 classes that CamVid is usually scored on; order and colours of SegNet's tutorial."""

BUILTIN_CLASS_SETS: Mapping[str, ClassSet] = {
    c.name: c for c in (CITYSCAPES, CITYSCAPES_16, CAMVID)
}

_CITYSCAPES_TRAINED = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}

# 34 and 255: the licence plate has the id -1, which an 8-bit file can only hold as 255; GTA5
# stores it as 34.
CITYSCAPES_IDS: Mapping[int, str] = {
    raw: _CITYSCAPES_TRAINED.get(raw, "ignore") for raw in (*range(35), 255)
}
"""Cityscapes and GTA5: label id -> class name of `CITYSCAPES`, or 'ignore'."""

SYNTHIA_IDS: Mapping[int, str] = {
    0: "ignore",  # void
    1: "sky",
    2: "building",
    3: "road",
    4: "sidewalk",
    5: "fence",
    6: "vegetation",
    7: "pole",
    8: "car",
    9: "traffic sign",
    10: "person",
    11: "bicycle",
    12: "motorcycle",
    13: "ignore",  # parking slot
    14: "ignore",  # road work
    15: "traffic light",
    16: "terrain",
    17: "rider",
    18: "truck",
    19: "bus",
    20: "train",
    21: "wall",
    22: "ignore",  # lane marking
}
"""SYNTHIA-RAND-CITYSCAPES: class id -> class name of `CITYSCAPES`, or 'ignore'."""


def class_set(spec: str | Path | Mapping[str, Any], base: Path | None = None) -> ClassSet:
    """Return a class set given by built-in name, YAML file or inline mapping.

    A file holds ``name``, ``classes`` (name -> [red, green, blue], in order) and optionally
    ``subsets`` (name -> class names); a relative path is taken from ``base``. DataError if the
    name is unknown or the content is not of this form.
    """
    if isinstance(spec, Mapping):
        return _parse(spec, "the inline class set", default_name="custom")
    if not isinstance(spec, str | Path):
        raise DataError(f"classes: expected a name, a file or a mapping, found {spec!r}")
    if str(spec) in BUILTIN_CLASS_SETS:
        return BUILTIN_CLASS_SETS[str(spec)]
    path = (base or Path()) / user_path(spec, DataError)
    if not path.is_file():
        raise DataError(
            f"class set {str(spec)!r} is neither built in nor a file ({path} does not exist)"
            f"{nearest(str(spec), BUILTIN_CLASS_SETS)}"
        )
    return _parse(read_mapping(path), str(path), default_name=path.stem)


def _parse(content: Mapping[Any, Any], where: str, default_name: str) -> ClassSet:
    valid = ("name", "classes", "subsets")
    for key in content:
        if key not in valid:
            raise DataError(f"{where}: unknown key {key!r}{nearest(str(key), valid)}")
    classes, subsets = content.get("classes"), content.get("subsets", {})
    if not isinstance(classes, Mapping) or not classes:
        raise DataError(
            f"{where}: `classes` must map each class name to its colour, such as "
            f"`sky: [128, 128, 128]`; found {classes!r}"
        )
    if not isinstance(subsets, Mapping):
        raise DataError(f"{where}: `subsets` must map names to lists of classes, not {subsets!r}")
    for name, color in classes.items():
        if not isinstance(name, str):
            raise DataError(f"{where}: class name {name!r} is not text; write it in quotes")
        if not isinstance(color, list) or not all(type(value) is int for value in color):
            raise DataError(
                f"{where}: the colour of {name!r} must be [red, green, blue]: {color!r}"
            )
    for name, members in subsets.items():
        if not isinstance(members, list) or not all(isinstance(m, str) for m in members):
            raise DataError(f"{where}: subset {name!r} must be a list of class names: {members!r}")
    try:
        return ClassSet(
            name=str(content.get("name", default_name)),
            names=tuple(classes),
            colors=tuple(tuple(color) for color in classes.values()),
            subsets={str(name): tuple(members) for name, members in subsets.items()},
        )
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
