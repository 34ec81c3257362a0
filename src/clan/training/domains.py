"""The data sets of a run, opened as its configuration says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.text import Text

from clan.config.files import is_description
from clan.config.tree import DataOptions, DomainOptions, is_configuration, load_config
from clan.core.errors import ConfigError, DataError
from clan.data.check import check_dataset
from clan.data.classes import ClassSet, class_set
from clan.data.datasets import Dataset, Unpaired, open_dataset
from clan.data.description import read_description


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


def check_domains(target: str, overrides: Sequence[str], workers: int, console: Console) -> bool:
    """Read every file of a configuration's domains, or of one data set's splits; report all.

    Args:
        target: a preset, a configuration file, or a data set's description or folder.
        overrides: ``key=value`` changes to the preset or configuration.
        workers: processes; 0 for all cores.
        console: where the reports are printed.

    Returns:
        Whether everything was in order.
    """
    workers = workers or os.cpu_count() or 1
    fine = True
    for title, opened in _to_check(target, overrides):
        try:
            dataset = opened()
        except DataError as error:
            console.print(f"[bold]{title}[/]: [red]{escape(str(error))}[/]", highlight=False)
            fine = False
            continue
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
            watch = partial(_show, bar, bar.add_task(f"reading {title}", total=len(dataset)))
            report = check_dataset(dataset, workers, watch)
        console.print(Text(title, style="bold"), report.render())
        fine = fine and not report.problems
    return fine


def _show(bar: Progress, task: TaskID, done: int) -> None:
    bar.update(task, completed=done)


def _to_check(target: str, overrides: Sequence[str]) -> Iterator[tuple[str, Callable[[], Dataset]]]:
    """Yield (title, how to open it) for each split that a check has to read."""
    path = Path(target)
    if path.is_dir():
        yield target, partial(open_dataset, target, labels=False)
    elif path.suffix in (".yaml", ".yml") and not is_configuration(path):
        for split in read_description(path).splits:
            yield (
                f"{target}, split {split}",
                partial(open_dataset, target, split=split, unpaired="report"),
            )
    else:
        data = load_config(target, overrides).data
        classes = class_set(data.classes) if data.classes else None
        for name in ("source", "target", "validation"):
            domain: DomainOptions | None = getattr(data, name)
            if domain is not None:
                yield (
                    name,
                    partial(
                        open_domain, domain, data, classes, name != "target", unpaired="report"
                    ),
                )
