"""A comparison's section of a Markdown page, long or short, between two marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clan.comparison.render import to_markdown
from clan.core.errors import RunError
from clan.core.files import write_whole
from clan.figures.style import save_figure
from clan.studies.bench.facts import Facts, Runs, class_mix, machines, settings, trainings, variants
from clan.studies.bench.summary import class_scores, findings, scores
from clan.studies.bench.table import BenchTable
from clan.studies.bench.task import System

HEADER = """# Results

Written by `clan bench` from the files of the runs; no number here was typed.
"""


@dataclass(frozen=True)
class Section:
    """Title, command and notes of a comparison.

    Attributes:
        key: name in the begin and end marks.
        title: used if the notes have no title.
        command: the command that made the comparison.
        notes: a Markdown file that is copied below the numbers; a first line ``# ...`` is the
            title. None without notes.
    """

    key: str
    title: str
    command: str
    notes: Path | None = None

    def read_notes(self) -> tuple[str, str]:
        """Return the title and the text below the numbers.

        Raises:
            RunError: the file cannot be read.
        """
        if self.notes is None:
            return self.title, ""
        try:
            text = self.notes.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"cannot read {self.notes}: {error}") from error
        first, _, rest = text.partition("\n")
        return (first[2:].strip(), rest.strip()) if first.startswith("# ") else (self.title, text)


def write_section(page: Path, section: Section, table: BenchTable, runs: Runs) -> None:
    """Replace the comparison's section of a page, or add it; a missing page is made.

    The figure of the scores is written to the folder ``images`` beside the page.

    Raises:
        RunError: the page has one mark and not the other, or cannot be read or written.
    """
    title, notes = section.read_notes()
    text = with_section(page, section, [f"## {title}", "", *_lines(section, table, runs), notes])
    save_figure(table.draw(), page.parent / _picture(section), dpi=200)
    write_whole(page, text.encode())


def write_summary(
    page: Path,
    section: Section,
    table: BenchTable,
    systems: Sequence[System],
    seeds: Sequence[int],
) -> None:
    """Replace the comparison's short section of a page, or add it; a missing page is made.

    Raises:
        RunError: as `write_section`.
    """
    title, _ = section.read_notes()
    lines = [f"## {title}", "", *summary(table, systems, seeds)]
    write_whole(page, with_section(page, section, lines).encode())


def with_section(page: Path, section: Section, lines: Sequence[str]) -> str:
    """Return the page's text with these lines between the section's marks.

    Raises:
        RunError: the page has one mark and not the other, or cannot be read.
    """
    begin, end = f"<!-- begin {section.key} -->", f"<!-- end {section.key} -->"
    body = "\n".join([begin, *lines, end])
    try:
        text = page.read_text(encoding="utf-8") if page.is_file() else HEADER
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {page}: {error}") from error
    if (begin in text) != (end in text) or text.find(end) < text.find(begin):
        raise RunError(
            f"{page} needs both {begin!r} and, after it, {end!r}; add it, or delete both"
        )
    if begin not in text:
        return f"{text.rstrip()}\n\n{body}\n"
    before, rest = text.split(begin, 1)
    return before + body + rest.split(end, 1)[1]


def summary(table: BenchTable, systems: Sequence[System], seeds: Sequence[int]) -> Iterable[str]:
    """Yield the lines of a comparison in short: scores, what they show, classes if they fit.

    Args:
        table: the comparison.
        systems: those that were asked for.
        seeds: of each.
    """
    yield table.comparison.title
    yield ""
    yield from markdown(scores(table))
    for finding in findings(table, systems, seeds):
        yield f"- {finding}"
    yield ""
    if (classes := class_scores(table)) is not None:
        yield from markdown(classes)


def _picture(section: Section) -> Path:
    return Path("images") / f"{section.key}-scores.png"


def _lines(section: Section, table: BenchTable, runs: Runs) -> Iterable[str]:
    yield f"Command: `{section.command}`. {machines(runs)}"
    yield ""
    yield to_markdown(table.comparison).strip()
    yield ""
    yield f"![mIoU of each system and seed]({_picture(section).as_posix()})"
    yield ""
    yield settings(runs)
    yield ""
    if (varied := variants(runs)) is not None:
        yield from markdown(varied)
    yield from markdown(trainings(runs))
    yield "### Class mix: percent of the scored pixels"
    yield ""
    yield from markdown(class_mix(runs, with_source=True))


def markdown(facts: Facts) -> Iterable[str]:
    """Yield a table's lines and its note, an empty line after each."""
    yield f"| {' | '.join(facts.heads)} |"
    side = "---:" if facts.numbers else "---"
    yield f"|---|{f'{side}|' * (len(facts.heads) - 1)}"
    for row in facts.rows:
        yield f"| {' | '.join(row)} |"
    yield ""
    if facts.note:
        yield facts.note
        yield ""
