"""Write docs/results.md from the records of the benchmarks, and the long pages in docs/notes.

    python docs/make_results.py
    python docs/make_results.py --data DATA

The first command writes results.md, the table in README.md and the example in bench.md, and needs
the repository alone. The
second one also writes the pages in docs/notes; the class mixes there count the labels below DATA,
the folder with street-sim/, camvid/ and weights/. A town that is missing is drawn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from generated import between, bring_up_to_date

from clan import make_town
from clan.comparison.render import to_markdown
from clan.core.console import Console
from clan.studies.bench.page import Section, markdown, summary, write_section
from clan.studies.bench.run import Bench, Request, prepare
from clan.studies.bench.summary import scores

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGE = DOCS / "results.md"
NOTES = DOCS / "notes"
STREET = Path("benchmarks/street")
TOWN = Path("benchmarks/town")
OLD = Path("benchmarks/sim_to_camvid")
DATA = "data.root=DATA"

HEAD = """<!-- Written by docs/make_results.py from benchmarks/*/records.jsonl. If one has changed:
python docs/make_results.py --data DATA (see docs/bench.md) -->

# Results

Every number on this page is computed from the confusion matrices of recorded runs, and every
finding below a table from its numbers. Labels of the target are read for scoring alone, except by
the oracle. Small networks on small data rank methods differently than large ones do: run the
comparison on your own two domains with [`clan bench`](bench.md) before you decide.

*mIoU*: mean over seeds, in percent, with the sample standard deviation. *gain*: mIoU minus the
baseline's in the same seed, in points. *better in*: seeds with a gain above 0. *gap closed*: gain
in percent of the oracle's; the oracle learns from target labels. *time*: of an update, relative to
the baseline's. The notes of each benchmark have all classes, ranks, class mixes, settings, and what
was tried.
"""

TAIL = """## Other results

- [The town's own criterion](notes/town-criterion.md): how far apart its two domains are.
- [How right the labels of self-training are](notes/pseudo-labels.md), round by round.
- [Label shift](notes/label-shift.md) between street-sim and CamVid, estimated and true.
- [Archive](notes/archive.md): street-sim to CamVid at a small size, where thin classes are near 0
  for every system; `benchmarks/street` took its place.
- [Parameter study](parameter-study.md) and [a closer look at runs](analysis.md).
"""


@dataclass(frozen=True)
class Benchmark:
    """A comparison of recorded runs.

    Attributes:
        page: name of its page in docs/notes and of its section there.
        about: what is compared; without numbers, which come from the records.
        request: the command that makes it, from the root of the repository.
        town: whether the data are the town's.
    """

    page: str
    title: str
    about: str
    request: Request
    town: bool = False

    @contextmanager
    def opened(self, data: Path | None = None, town: Path | None = None) -> Iterator[Bench]:
        """Open the recorded runs in a folder that is deleted at the end.

        Args:
            data: in place of DATA; without it, data are not found and need not be.
            town: the town's folder.
        """
        asked = self.request
        overrides = [each.replace("DATA", str(data or "DATA")) for each in asked.overrides]
        if self.town and town is not None:
            overrides.append(f"data.root={town}")
        with tempfile.TemporaryDirectory() as folder:
            yield prepare(
                replace(
                    asked,
                    task=asked.task if self.town else str(ROOT / asked.task),
                    overrides=tuple(overrides),
                    out=Path(folder) / self.page,
                    records=ROOT / asked.records if asked.records else None,
                    notes=ROOT / asked.notes if asked.notes else None,
                ),
                Console(quiet=True),
            )


def _town(page: str, title: str, about: str, notes: str, request: Request) -> Benchmark:
    kept = replace(request, records=TOWN / "records.jsonl", notes=TOWN / notes)
    return Benchmark(page, title, about, kept, town=True)


SHOWN = (
    Benchmark(
        "street",
        "Street: from a simulator to photographs",
        "Synthetic street scenes to the photographs of CamVid, at full size. Every system goes on "
        "from the source network of its own seed, `start`, for the same number of steps, with the "
        "same strong augmentation.",
        Request(
            str(STREET),
            overrides=(DATA,),
            records=STREET / "records.jsonl",
            notes=STREET / "notes.md",
        ),
    ),
    _town(
        "town",
        "Town: the paper's systems",
        "The built-in town's game-like images to its camera-like ones: short trainings of a "
        "small network from scratch. Most of what an adversary gains here are "
        "`adabn`'s batch statistics.",
        "notes.md",
        Request(
            "town",
            systems=(
                *("source_only", "adabn", "tan", "clan", "mcd", "advent", "fcns_wild"),
                *("cycada_feature", "cross_city", "cda", "minent", "cbst", "clan_st", "oracle"),
            ),
            seeds=(0, 1, 2, 3, 4),
        ),
    ),
    _town(
        "town-recipes",
        "Town: today's recipes",
        "The same task with recipes of later papers. They are made for pretrained encoders and "
        "long schedules; this shows how they start, not how they end.",
        "recipes.md",
        Request(
            "town",
            systems=(
                *("source_only", "adabn", "tan", "clan", "clan_st"),
                *("fda", "dacs", "daformer", "mic", "oracle"),
            ),
            seeds=(0, 1),
            out=Path("runs/town-recipes"),
        ),
    ),
    _town(
        "town-ablation",
        "Town: what each part of CLAN-ST adds",
        "Each system is `clan_st` with one part removed or changed, so gains are over `clan_st`. "
        "Pasted source classes (`no_mix` lacks them) carry the method.",
        "ablation.md",
        Request("town/ablation", baseline="clan_st"),
    ),
)
"""The benchmarks of results.md, in its order."""

ARCHIVED = (
    Benchmark(
        "archive",
        "street-sim to CamVid at 144x192",
        "",
        Request(
            str(OLD),
            systems=(
                *("source_only", "adabn", "tan", "clan", "clan_equal", "mcd", "advent"),
                *("fcns_wild", "cycada_feature", "cross_city", "cda", "minent", "cbst"),
                *("clan_st", "oracle"),
            ),
            overrides=(DATA, "weights=DATA/weights/mobilenet_v2_imagenet.pth"),
            records=OLD / "records.jsonl",
            notes=OLD / "notes.md",
        ),
    ),
)
"""Benchmarks that have a long page only."""


EXAMPLE = _town(
    "example",
    "",
    "",
    "notes.md",
    Request(
        "town", systems=("source_only", "adabn", "tan", "clan", "oracle"), seeds=(0, 1, 2, 3, 4)
    ),
)
"""The table that explains a table, in docs/bench.md."""


def main() -> None:
    """Bring the pages up to date and say whether they were."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="also write docs/notes, from the data there")
    parser.add_argument("--town", type=Path, default=Path("data/town"), help="drawn if missing")
    options = parser.parse_args()
    if options.data is not None:
        if not options.data.is_dir():
            sys.exit(f"--data {options.data}: there is no such folder")
        town = Path(make_town(options.town)).resolve()
        for benchmark in (*SHOWN, *ARCHIVED):
            write_notes(benchmark, options.data.resolve(), town)
    bring_up_to_date(PAGE, updated)
    bring_up_to_date(ROOT / "README.md", with_street)
    bring_up_to_date(DOCS / "bench.md", with_example)


def with_example(page: str) -> str:
    """Return docs/bench.md with today's table as its example."""
    with EXAMPLE.opened() as bench:
        table = to_markdown(bench.table({}).comparison)
    return between(page, "<!-- begin example -->", "<!-- end example -->", table)


def with_street(page: str) -> str:
    """Return the README with today's scores of the street benchmark."""
    with SHOWN[0].opened() as bench:
        table = "\n".join(markdown(scores(bench.table({}))))
    return between(page, "<!-- begin street -->", "<!-- end street -->", table)


def updated(_: str) -> str:
    """Return the page that today's records make."""
    parts = ["\n".join(_section(benchmark)) for benchmark in SHOWN]
    return "\n".join([HEAD, *parts, TAIL])


def _section(benchmark: Benchmark) -> Iterable[str]:
    with benchmark.opened() as bench:
        table = bench.table({})
    yield f"## {benchmark.title}"
    yield ""
    yield textwrap.fill(benchmark.about, 104)
    yield ""
    yield from summary(table, bench.systems, benchmark.request.seeds)
    yield f"[Notes: {benchmark.title}](notes/{benchmark.page}.md)"
    yield ""


def write_notes(benchmark: Benchmark, data: Path, town: Path) -> None:
    """Write the long section of a benchmark into its page in docs/notes."""
    asked = benchmark.request
    section = Section(
        benchmark.page,
        benchmark.title,
        asked.command(),
        None if asked.notes is None else ROOT / asked.notes,
    )
    page = NOTES / f"{benchmark.page}.md"
    with benchmark.opened(data, town) as bench:
        write_section(page, section, bench.table({}), bench.folder.finished())
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
