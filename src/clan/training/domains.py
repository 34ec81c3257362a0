"""The data sets of a run, opened as its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeGuard

from torch.nn.modules.batchnorm import _BatchNorm

from clan.config.files import is_description
from clan.config.tree import Config, DataOptions, DomainOptions
from clan.core.errors import ConfigError, DataError
from clan.data.archives.paths import Root, root_below
from clan.data.classes import ClassSet, class_set
from clan.data.datasets import Dataset, Unpaired, open_dataset
from clan.data.python import PYTHON, MapStyle, PythonDataset, facts, open_python
from clan.methods import find_method
from clan.models.batchnorm import POLICY
from clan.models.segmenter import Segmenter


@dataclass(frozen=True)
class Domains:
    """Source with labels, target without, and a labelled split for scores if there is one."""

    source: Dataset
    target: Dataset | None
    validation: Dataset | None

    @property
    def classes(self) -> ClassSet:
        """Return the class set that all of them share."""
        return self.source.classes

    def given(self) -> dict[str, dict[str, Any]]:
        """Return length and image sizes of the data sets from Python, by domain."""
        named = {"source": self.source, "target": self.target, "validation": self.validation}
        return {name: facts(data) for name, data in named.items() if _from_python(data)}


def _from_python(data: Dataset | None) -> TypeGuard[PythonDataset]:
    return isinstance(data, PythonDataset)


def open_domains(options: DataOptions, given: Mapping[str, MapStyle] | None = None) -> Domains:
    """List the files of every domain.

    Args:
        options: where they are.
        given: data sets from Python, by domain; the options call these ``python``.

    Raises:
        ConfigError: a source from Python without ``data.classes``.
        DataError: a folder, file, description or data set that is not as said.
    """
    given = given or {}
    classes = class_set(options.classes) if options.classes else None
    source = open_one("source", options, classes, given)
    if not source.labelled:
        raise DataError(
            f"the source {options.source.dataset} (split {options.source.split}) has no labels"
            f"{source.sought}; "
            "a source needs one for each image"
        )
    if not source.has_labelled_pixel():
        raise DataError(
            f"the source {options.source.dataset} (split {options.source.split}) has no labelled "
            "pixel: every value is mapped to 'ignore'; correct `labels: map`"
        )
    target = validation = None
    if options.target:
        target = open_one("target", options, source.classes, given)
    if options.validation:
        validation = open_one("validation", options, source.classes, given)
        if not validation.labelled:
            raise DataError(
                f"data.validation {options.validation.dataset} (split {options.validation.split}) "
                f"has no labels to score with{validation.sought}; leave data.validation out "
                "(data.validation=null)"
            )
    return Domains(source, target, validation)


def refuse_small(config: Config, domains: Domains) -> None:
    """Refuse images, shown as they are stored, that are too small for the method.

    The first of each domain is looked at; sizes that a view gives were checked with it.

    Raises:
        DataError: names the image.
    """
    least = find_method(config.method.name).least_side
    views = {"source": config.data.source_view, "target": config.data.target_view}
    for name, view in views.items():
        dataset = getattr(domains, name)
        if least == 1 or dataset is None or view.least_side() is not None:
            continue
        index = first_readable(dataset) if config.data.on_error == "skip" else 0
        side = view.least_side(dataset.image_size(index))
        if side is not None and side < least:
            raise DataError(
                f"{dataset.items[index].image}: method {config.method.name} needs images of at "
                f"least {least}x{least} pixels, and data.{name}_view makes one of {side} of it: "
                "set its size or crop"
            )


def refuse_single_values(config: Config, domains: Domains, segmenter: Segmenter) -> None:
    """Refuse batches that leave batch norm a single value per channel, whose variance is unknown.

    Raises:
        ConfigError: names the view and what would do.
    """
    images = config.data.batch_size // config.optim.accumulate
    stride = segmenter.encoder.strides[-1]
    policy = POLICY[config.method.batch_norm]
    if images > 1 or not any(isinstance(layer, _BatchNorm) for layer in segmenter.modules()):
        return
    views = {"source": config.data.source_view, "target": config.data.target_view}
    for name, view in views.items():
        dataset = getattr(domains, name)
        if dataset is None or not policy[name].own_batch:  # type: ignore[index]
            continue
        index = first_readable(dataset) if config.data.on_error == "skip" else 0
        shape = view.least_shape() or view.least_shape(dataset.image_size(index))
        if shape is not None and max(shape) <= stride:
            raise ConfigError(
                f"data.{name}_view makes images of {shape[0]}x{shape[1]}, of which the encoder "
                f"leaves one value per channel, and batch norm cannot normalise one value: give "
                f"it more than {stride} pixels in height or width, data.batch_size 2 or more, or "
                "method.batch_norm=frozen"
            )


def first_readable(dataset: Dataset) -> int:
    """Return the index of the first image whose header can be read; 0 if there is none."""
    for index in range(len(dataset)):
        with suppress(DataError):
            dataset.image_size(index)
            return index
    return 0


def open_one(
    name: str,
    options: DataOptions,
    classes: ClassSet | None,
    given: Mapping[str, MapStyle],
    unpaired: Unpaired = "refuse",
) -> Dataset:
    """Open the source, target or validation: from Python if it is given, else from files."""
    labels = name != "target"
    if name not in given:
        return open_domain(getattr(options, name), options, classes, labels, unpaired)
    if classes is None:
        raise ConfigError(
            f"a {name} from Python does not tell its classes: set data.classes, a built-in name "
            "(such as cityscapes) or a file (.yaml)"
        )
    return open_python(given[name], name, classes, labels)


def take_given(
    config: Config, domains: Mapping[str, MapStyle | None]
) -> tuple[Config, dict[str, MapStyle]]:
    """Replace data sets of a configuration by data sets from Python.

    Args:
        config: of a run.
        domains: the data sets by domain, None where the configuration's stays.

    Returns:
        The configuration, in which each of them is called ``python``; and those that there are.
    """
    given = {name: data for name, data in domains.items() if data is not None}
    stand_in = DomainOptions(dataset=PYTHON)
    data = config.data.model_copy(update=dict.fromkeys(given, stand_in))
    return config.model_copy(update={"data": data}), given


def check_alike(data: Mapping[str, DataOptions], what: str) -> None:
    """Open the data of several trainings, each once, and check that all are scored on the same.

    Args:
        data: of each training, by what it is called.
        what: they are, all together, such as "the cells of a study".

    Raises:
        DataError: data that are not there.
        ConfigError: trainings that would not be scored alike.
    """
    opened: list[DataOptions] = []
    scored: dict[str, str] = {}
    for name, options in data.items():
        if options in opened:
            continue
        opened.append(options)
        domains = open_domains(options)
        on = domains.validation
        where = "nothing" if on is None else f"{on.name} {on.split}"
        scored.setdefault(f"{', '.join(domains.classes.names)} on {where}", name)
    if len(scored) > 1:
        said = "\n".join(f"  {name}: {text}" for text, name in scored.items())
        raise ConfigError(f"{what} must be scored alike; these are not:\n{said}")


def open_domain(
    domain: DomainOptions,
    options: DataOptions,
    classes: ClassSet | None,
    labels: bool = True,
    unpaired: Unpaired = "refuse",
) -> Dataset:
    """Open one domain.

    Its root starts from ``options.root``, which itself is the root of a built-in layout or a
    folder of images that names none; a description without one lies where it says.

    Raises:
        DataError: it is not as said, or stands for a data set from Python.
    """
    if domain.dataset == PYTHON:
        raise DataError(
            f"`dataset: {PYTHON}` stands for a data set that is passed to clan.train or "
            "clan.resume (source=, target=, validation=), and none was passed. To read files, "
            f"name a description (.yaml) or a folder (./{PYTHON} for a folder of that name)"
        )
    root: Root | None = None
    if domain.root is not None:
        root = root_below(options.root, domain.root)
    elif options.root is not None and not is_description(domain.dataset):
        root = options.root
    return open_dataset(
        domain.dataset,
        root=root,
        split=domain.split,
        classes=classes,
        labels=labels,
        unpaired=unpaired,
        absent=domain.absent,
    )
