"""The data sets of a run, opened as its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clan.config.files import is_description
from clan.config.tree import DataOptions, DomainOptions
from clan.core.errors import ConfigError, DataError
from clan.data.classes import ClassSet, class_set
from clan.data.datasets import Dataset, Unpaired, open_dataset


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


def open_domains(options: DataOptions) -> Domains:
    """List the files of every domain.

    Raises:
        DataError: a folder, file or description that is not as said.
    """
    classes = class_set(options.classes) if options.classes else None
    source = open_domain(options.source, options, classes)
    if not source.labelled:
        raise DataError(
            f"the source {options.source.dataset} (split {options.source.split}) has no labels"
            f"{source.sought}; "
            "a source needs one for each image"
        )
    target = validation = None
    if options.target:
        target = open_domain(options.target, options, source.classes, labels=False)
    if options.validation:
        validation = open_domain(options.validation, options, source.classes)
        if not validation.labelled:
            raise DataError(
                f"data.validation {options.validation.dataset} (split {options.validation.split}) "
                f"has no labels to score with{validation.sought}; leave data.validation out "
                "(data.validation=null)"
            )
    return Domains(source, target, validation)


def check_alike(data: Mapping[str, DataOptions], what: str) -> None:
    """Open the data of several trainings, each once, and see that all are scored on the same.

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
    """
    root: Path | None = None
    if domain.root is not None:
        root = Path(options.root or ".").expanduser() / Path(domain.root).expanduser()
    elif options.root is not None and not is_description(domain.dataset):
        root = Path(options.root).expanduser()
    return open_dataset(
        domain.dataset,
        root=root,
        split=domain.split,
        classes=classes,
        labels=labels,
        unpaired=unpaired,
    )
