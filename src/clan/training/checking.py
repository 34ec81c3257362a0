"""Checks all data of a configuration, or one data set, before a training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from clan.config.loading import is_configuration, load_config
from clan.config.tree import Config, DataOptions
from clan.core.errors import DataError
from clan.data.archives.paths import is_archive
from clan.data.check import CheckReport, Problem, check_dataset
from clan.data.classes import class_set
from clan.data.datasets import Dataset, open_dataset
from clan.data.description import read_description
from clan.data.images import SUFFIXES, UNREADABLE
from clan.data.python import MapStyle
from clan.data.sizes import stretched
from clan.training.domains import open_one

VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})
"""File name endings (lower case) of videos."""

Watch = Callable[[str, int, int], None]
"""Called with (what is read, images done, images in all)."""


@dataclass(frozen=True)
class SplitCheck:
    """The result of reading one domain, or one split of a data set.

    Attributes:
        title: ``source``, ``target`` or ``validation``, or the data set and its split.
        report: of all files; None where they could not even be listed.
        error: why they could not; empty otherwise.
    """

    title: str
    report: CheckReport | None
    error: str = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """Return all that is wrong, a line each; empty if nothing is."""
        return (self.error,) if self.report is None else self.report.problems


@dataclass(frozen=True)
class Checks:
    """The result of `check`.

    Attributes:
        splits: that were read, in order.
    """

    splits: tuple[SplitCheck, ...]

    @property
    def ok(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """Return all that is wrong, a line ``where: what`` each."""
        return tuple(f"{s.title}: {problem}" for s in self.splits for problem in s.problems)


def check(
    data: str | Path | Config,
    overrides: Sequence[str] = (),
    *,
    source: MapStyle | None = None,
    target: MapStyle | None = None,
    validation: MapStyle | None = None,
    workers: int = 0,
    progress: Watch | None = None,
) -> Checks:
    """Read every file of a configuration's data, or of one data set; report all that is wrong.

    Missing and truncated files, images and labels of different sizes, label values outside the
    classes, and how often each class occurs. Problems do not end the reading.

    Args:
        data: a configuration (loaded, a file, or a preset's name), or a data set: the file of its
            description, all splits of which are read, or a folder of images.
        overrides: ``key=value`` changes to a preset or configuration file.
        source: a data set from Python in place of the configuration's, as `clan.train` takes it.
        target: likewise.
        validation: likewise.
        workers: processes that read; 0 for one per core.
        progress: called after each image with (what is read, done, total).

    Returns:
        A report for each domain or split.

    Raises:
        ConfigError: no such preset, file or key.
        DataError: a video or a single picture in place of a data set.

    Example:
        found = clan.check("adapt.yaml")
        assert found.ok, found.problems
    """
    workers = workers or os.cpu_count() or 1
    named = {"source": source, "target": target, "validation": validation}
    given = {name: entries for name, entries in named.items() if entries is not None}
    if not isinstance(data, Config):
        if is_archive(data) or _is_data_set(Path(data)):
            opened = _splits(data)
            return Checks(tuple(_checked(*split, workers, progress) for split in opened))
        data = load_config(data, overrides)
    found = (_checked(*domain, workers, progress) for domain in _domains(data, given))
    return Checks(tuple(_shaped(each, data.data) for each in found))


def _is_data_set(path: Path) -> bool:
    """Tell a data set from a configuration; DataError for what is neither."""
    if path.is_dir():
        return True
    if problem := _no_data(path):
        raise DataError(problem)
    return path.suffix in (".yaml", ".yml") and not is_configuration(path)


def _shaped(found: SplitCheck, data: DataOptions) -> SplitCheck:
    """Add what the sizes of a configuration do to the shapes of the images."""
    if found.report is None:
        return found
    sizes = {
        "source": {"data.source_view.size": data.source_view.size},
        "target": {"data.target_view.size": data.target_view.size},
        "validation": {"data.evaluation_size": data.evaluation_size},
    }
    if data.validation is None:
        sizes["target"]["data.evaluation_size"] = data.evaluation_size
    said = {key: stretched(size, found.report.sizes) for key, size in sizes[found.title].items()}
    notes = tuple(Problem("", f"{key}: {text}") for key, text in said.items() if text)
    report = replace(found.report, notes=(*found.report.notes, *notes))
    return replace(found, report=report)


def _checked(
    title: str, opened: Callable[[], Dataset], workers: int, progress: Watch | None
) -> SplitCheck:
    try:
        dataset = opened()
    except DataError as error:
        return SplitCheck(title, None, str(error))
    watch = None if progress is None else partial(_tell, progress, title, len(dataset))
    return SplitCheck(title, check_dataset(dataset, workers, watch))


def _tell(progress: Watch, title: str, total: int, done: int) -> None:
    progress(title, done, total)


def _splits(data: str | Path) -> Iterator[tuple[str, Callable[[], Dataset]]]:
    """Yield (title, how to open it) of each split that has to be read."""
    if is_archive(data) or Path(data).is_dir():
        yield str(data), partial(open_dataset, str(data), labels=False)
        return
    for split in read_description(Path(data)).splits:
        opened = partial(open_dataset, str(data), split=split, unpaired="report")
        yield f"{data}, split {split}", opened


def _no_data(path: Path) -> str:
    """Return what to do with a file that is no data set; empty if it may name one."""
    if path.suffix.lower() in VIDEOS:
        frames = path.with_suffix("")
        return (
            f"{path} is a video; take its frames first, such as by `mkdir {frames}; ffmpeg -i "
            f"{path} -r 2 {frames}/%06d.png`, and name their folder"
        )
    if path.suffix.lower() in SUFFIXES | UNREADABLE:
        return f"{path} is a picture; name its folder, or the description (.yaml) of a data set"
    return ""


def _domains(
    config: Config, given: Mapping[str, MapStyle]
) -> Iterator[tuple[str, Callable[[], Dataset]]]:
    data = config.data
    classes = class_set(data.classes) if data.classes else None
    for name in ("source", "target", "validation"):
        if name in given or getattr(data, name) is not None:
            yield name, partial(open_one, name, data, classes, given, unpaired="report")
