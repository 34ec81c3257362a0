"""Comparing runs: scored runs in, one table out that says what its numbers are over.

Runs of one name and several seeds are one system. Runs must be scored alike: the same classes,
the same labels, the same input size, the same protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clan.comparison.gains import class_means, gain_notes, with_gains
from clan.comparison.published import PublishedTable, published_table
from clan.comparison.table import Comparison, Row
from clan.core.errors import ConfigError, RunError
from clan.data.classes import CITYSCAPES, ClassSet
from clan.data.names import TOWN_LAYOUT, TOWN_TARGET
from clan.scoring.evaluation_file import FILE, Evaluation, read_evaluation
from clan.scoring.metrics import subset_names

__all__ = ["Comparison", "Row", "compare"]


def compare(
    runs: Sequence[str | Path],
    *,
    baseline: str = "source_only",
    oracle: str = "oracle",
    subset: str | None = None,
    paper: str | None = None,
) -> Comparison:
    """Compare scored runs.

    A run folder without an ``evaluation.json`` is left out, and a note names it.

    Args:
        runs: run folders or their ``evaluation.json`` files, in any order. The log of a training
            (``seed0.log`` beside the folder ``seed0``) is ignored, so that a shell's ``seed*`` may
            include it.
        baseline: name of the system that gains are over.
        oracle: name of the system that is trained on target labels.
        subset: named class subset of the mIoU and of the classes shown; None for all classes.
        paper: put the runs below a table of the paper, over its classes: ``gta5`` (Table 1) or
            ``synthia`` (Table 2). The printed rows keep their own gains. With it, ``runs`` may be
            empty.

    Returns:
        The table; `clan.comparison.render` writes it as Markdown, LaTeX, CSV or on a terminal.

    Raises:
        RunError: no run, none with an evaluation, a path that does not exist, runs that were not
            scored alike, the same name and seed twice, seeds of one system that differ in more than
            the seed, or runs that lack classes of the paper's table.
        ConfigError: an unknown subset or table, or both a subset and a table.

    Example:
        from clan.comparison.render import to_markdown

        print(to_markdown(clan.compare(["runs/source_only", "runs/clan"])))
    """
    table = None if paper is None else published_table(paper)
    if table is not None and subset is not None:
        raise ConfigError(
            f"{table.number} of the paper is over its own {len(table.classes)} classes; leave the "
            f"subset {subset!r} out, or the paper"
        )
    evaluations, unscored = _read(runs)
    if not evaluations:
        if table is None:
            raise RunError("no run to compare; name run folders that hold an evaluation.json")
        return _beside(table, None, f"{table.number} of the paper, {table.task}: IoU in percent")
    first = evaluations[0]
    names = subset_names(first.scores.classes, subset) if table is None else table.classes
    _refuse([text for other in evaluations[1:] for text in _differences(first, other)])
    systems: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        systems.setdefault(evaluation.name, []).append(evaluation)
    _refuse([text for seeds in systems.values() for text in _disagreements(seeds)])
    if table is not None:
        _refuse(_lacking(first, table))
    subset = subset or _subset_of(first.scores.classes, names)
    rows = [_row(name, seeds, names) for name, seeds in systems.items()]
    rows = with_gains(rows, systems, names, baseline, oracle)
    own = Comparison(
        title=_title(
            _best_named(evaluations), subset, len(names), {row.checkpoint for row in rows}
        ),
        subset=subset,
        classes=names,
        rows=tuple(rows),
        baseline=baseline if baseline in systems else None,
        oracle=oracle if oracle in systems else None,
        notes=(*_unscored_note(unscored), *_notes(rows, names, baseline, oracle, systems)),
    )
    if table is None:
        return own
    own = replace(own, notes=(*_other_test(first), *own.notes))
    return _beside(table, own, f"{table.number} of the paper, {table.task}, above; below, runs")


def _read(runs: Sequence[str | Path]) -> tuple[list[Evaluation], list[Path]]:
    """Return the evaluations, and the run folders that have none.

    Raises:
        RunError: runs were given and none has an evaluation; a path that does not exist; a damaged
            evaluation.
    """
    paths = [path for path in map(Path, runs) if not _is_log(path)]
    unscored = [path for path in paths if path.is_dir() and not (path / FILE).is_file()]
    if unscored and len(unscored) == len(paths):
        # says how to score it
        read_evaluation(paths[0])
    return [read_evaluation(path) for path in paths if path not in unscored], unscored


def _is_log(path: Path) -> bool:
    """Tell whether a path is the log of a training whose folder lies beside it."""
    return path.suffix == ".log" and path.is_file() and path.with_suffix("").is_dir()


def _unscored_note(unscored: Sequence[Path]) -> Iterable[str]:
    if unscored:
        listed = ", ".join(map(str, unscored))
        yield f"Left out, since they have no {FILE} (`clan evaluate` writes it): {listed}."


def _beside(table: PublishedTable, own: Comparison | None, title: str) -> Comparison:
    """Return the paper's rows with the runs below them."""
    notes = tuple(table.notes())
    if own is None:
        subset = _subset_of(CITYSCAPES, table.classes)
        own = Comparison(title, subset, table.classes, (), None, None, ())
    else:
        title = f"{title}: {own.title}"
    return replace(
        own,
        title=title,
        rows=(*table.table_rows(), *own.rows),
        notes=(*own.notes, *notes),
        infrequent=table.infrequent,
    )


def _other_test(first: Evaluation) -> Iterable[str]:
    if (first.dataset, first.split, first.scores.images) != ("cityscapes", "val", 500):
        other = f"{first.dataset} {first.split} ({first.scores.images} images)"
        yield f"The runs are scored on {other}, the printed rows on Cityscapes val (500 images)."


def _lacking(first: Evaluation, table: PublishedTable) -> list[str]:
    missing = [name for name in table.classes if name not in first.scores.classes.names]
    if not missing:
        return []
    return [
        f"{table.number} of the paper has {', '.join(missing)}; {first.path} is scored over "
        f"{_class_text(first)}"
    ]


def _subset_of(classes: ClassSet, names: tuple[str, ...]) -> str:
    """Return the name of the subset with exactly these classes; their number if it has no name."""
    every = {classes.name: classes.names, **classes.subsets}
    found = (name for name, members in every.items() if set(members) == set(names))
    return next(found, f"{len(names)} classes")


def _differences(first: Evaluation, other: Evaluation) -> list[str]:
    a, b = first.scores, other.scores
    if a.classes.names != b.classes.names or dict(a.classes.subsets) != dict(b.classes.subsets):
        facts = [("classes", _class_text(first), _class_text(other))]
    else:
        facts = [
            ("data set", _data_text(first, other), _data_text(other, first)),
            ("images", str(a.images), str(b.images)),
            ("input size", first.protocol.size_text(), other.protocol.size_text()),
            ("protocol", first.protocol.text(), other.protocol.text()),
        ]
        if all(x == y for _, x, y in facts):
            # labels are counted at full resolution, so the network cannot change the counts
            truths = (a.confusion.sum(1), b.confusion.sum(1))
            for name, x, y in zip(a.classes.names, *truths, strict=True):
                facts.append((f"truth of {name!r}", f"{x} pixels", f"{y} pixels"))
    return [f"{what}: {x} in {first.path}, {y} in {other.path}" for what, x, y in facts if x != y]


def _best_named(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation that names the data set of all."""
    return next((each for each in evaluations if each.dataset == TOWN_TARGET), evaluations[0])


def _data_text(one: Evaluation, other: Evaluation) -> str:
    """Return data set and split of an evaluation, as they are compared with another's.

    Former versions called the town by its layout; its labels are counted below as any others.
    """
    both = {one.dataset, other.dataset} == {TOWN_TARGET, TOWN_LAYOUT}
    return f"{TOWN_TARGET if both else one.dataset} {one.split}"


def _disagreements(seeds: list[Evaluation]) -> list[str]:
    first, found, seen = seeds[0], [], dict[int | None, Evaluation]()
    for run in seeds:
        if run.seed in seen:
            other = seen[run.seed].path
            found.append(f"{run.name}, seed {run.seed}, is there twice: {other} and {run.path}")
        seen[run.seed] = run
        facts = [("checkpoint", first.checkpoint, run.checkpoint)]
        facts.append(("ensemble", first.ensemble, run.ensemble))
        if first.checkpoint == run.checkpoint == "last":
            facts.append(("updates", str(first.step), str(run.step)))
        found += [
            f"{run.name} has two kinds of {what}: {x} in {first.path}, {y} in {run.path}"
            for what, x, y in facts
            if x != y
        ]
    return found


def _refuse(reasons: list[str]) -> None:
    if reasons:
        shown = [f"  {reason}" for reason in reasons[:8]]
        more = [f"  and {len(reasons) - 8} more"] if len(reasons) > 8 else []
        raise RunError(
            "\n".join(["these runs cannot be compared:", *shown, *more])
            + "\nEvaluate them alike, leave some out, or give different systems different names."
        )


def _row(name: str, seeds: list[Evaluation], classes: tuple[str, ...]) -> Row:
    iou, mious = class_means(seeds, classes)
    return Row(
        name=name,
        seeds=tuple(sorted((run.seed for run in seeds), key=_known_first)),
        steps=tuple(sorted({run.step for run in seeds}, key=_known_first)),
        checkpoint=seeds[0].checkpoint,
        iou=iou,
        miou=float(mious.mean()),
        std=float(mious.std(ddof=1)) if len(seeds) > 1 else None,
    )


def _notes(
    rows: list[Row],
    classes: tuple[str, ...],
    baseline: str,
    oracle: str,
    systems: Mapping[str, list[Evaluation]],
) -> Iterable[str]:
    names = {row.name for row in rows}
    first = systems[rows[0].name][0]
    if any(row.std is not None for row in rows):
        yield "±: sample standard deviation over seeds."
    single = [row.name for row in rows if row.std is None]
    if single:
        yield f"One seed, so no spread is known: {', '.join(single)}."
    if baseline not in names:
        yield f"No run is named {baseline!r} (baseline): gain and gap closed are left out."
    elif oracle not in names:
        yield f"No run is named {oracle!r} (oracle): gap closed is left out."
    if any(row.checkpoint == "oracle" for row in rows):
        yield "Checkpoint 'oracle' was chosen on target labels, which adaptation does not have."
    if len({row.steps for row in rows if row.checkpoint == "last"}) > 1:
        updates = (f"{row.name} {'/'.join(map(str, row.steps))}" for row in rows)
        yield f"Systems differ in their updates: {', '.join(updates)}."
    absent = [name for name in first.scores.absent if name in classes]
    if absent:
        yield (
            f"Not in the truth: {', '.join(absent)}. Such a class counts as 0 where it is "
            "predicted and is left out of the mean where it is not."
        )
    yield from gain_notes(rows, systems, baseline, oracle)


def _title(first: Evaluation, subset: str, classes: int, rules: set[str]) -> str:
    total = len(first.scores.classes)
    over = f"{classes} classes" if classes == total else f"{classes} of {total} classes"
    rule = f"checkpoint: {rules.pop()}" if len(rules) == 1 else "checkpoint: see the table"
    protocol = first.protocol
    return (
        f"IoU in percent, mIoU over {subset} ({over}), on {first.dataset} {first.split} "
        f"({first.scores.images} images, input {protocol.size_text()}, {protocol.text()}), {rule}"
    )


def _known_first(number: int | None) -> tuple[bool, int]:
    return (True, 0) if number is None else (False, number)


def _class_text(evaluation: Evaluation) -> str:
    classes = evaluation.scores.classes
    return f"{classes.name} ({', '.join(classes.names)}; subsets {', '.join(classes.subsets)})"
