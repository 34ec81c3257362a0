"""The town: train every system over seeds and write its section of the results page.

    python benchmarks/town/run.py [--jobs 2] [--seeds 0 1 2]

Draws the town first if it is not there. A second call goes on where the first one stopped.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from jobs import benchmark_parser, run_all, table_jobs  # noqa: E402
from results import Section, write_section  # noqa: E402

from clan import make_town  # noqa: E402

SECTION = Section(
    key="town",
    title="The built-in town: game-like to camera-like",
    command="python benchmarks/town/run.py",
    notes=HERE / "notes.md",
)
CRITERION = Section(
    key="town_criterion",
    title="The town's own criterion",
    command="python benchmarks/town/run.py --criterion --seeds 0",
    notes=HERE / "criterion.md",
)


def main() -> None:
    parser = benchmark_parser(__doc__, Path("runs/town"))
    parser.add_argument("--town", type=Path, default=Path("data/town"))
    parser.add_argument(
        "--criterion",
        action="store_true",
        help="source only, adabn and the oracle, trained long enough to show the gap",
    )
    options = parser.parse_args()
    overrides = [f"data.root={make_town(options.town)}"]
    if options.criterion:
        options.systems, options.out = ("source_only", "adabn", "oracle"), options.out / "long"
        overrides += ["training.steps=1500", "training.evaluate_every=500"]
    else:
        # for the analyses: scores and networks on the way
        overrides += ["training.evaluate_every=50", "training.snapshot_every=50"]
    jobs = table_jobs(options, "town/{}".format, overrides)
    run_all(jobs, options.jobs)
    section = CRITERION if options.criterion else SECTION
    if not options.criterion and tuple(options.seeds) != (0, 1, 2):
        seeds = " ".join(map(str, options.seeds))
        section = replace(section, command=f"{section.command} --seeds {seeds}")
    write_section(options.results, section, [job.out for job in jobs])


if __name__ == "__main__":
    main()
