"""street-sim to CamVid: train every system over seeds and write the results page.

    python benchmarks/sim_to_camvid/run.py --data-root DATA [--jobs 2]
    python benchmarks/sim_to_camvid/run.py --data-root DATA --study

DATA holds street-sim/, camvid/ and weights/mobilenet_v2_imagenet.pth. A second call goes on where
the first one stopped. ``--study`` compares settings of TAN and CLAN on labelled CamVid *training*
images (split ``tune``), so that the images of the final table choose nothing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from jobs import SYSTEMS, Job, benchmark_parser, run_all, table_jobs  # noqa: E402
from results import Section, write_section, write_study  # noqa: E402

# one seed each, scored on the tuning split; () is the preset as it stands
STUDY: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("source_only", ()),
    ("clan", ()),
    ("clan", ("method.weigh_discriminator=false",)),
)
SECTION = Section(
    key="sim_to_camvid",
    title="street-sim to CamVid: synthetic to real",
    command="python benchmarks/sim_to_camvid/run.py --data-root DATA",
    notes=HERE / "notes.md",
)
STUDY_SECTION = Section(
    key="sim_to_camvid_study",
    title="street-sim to CamVid: a study of settings",
    command="python benchmarks/sim_to_camvid/run.py --data-root DATA --study",
    notes=HERE / "study.md",
)
EQUAL = "clan_equal"
EQUAL_SECTION = Section(
    key="sim_to_camvid_equal",
    title="street-sim to CamVid: CLAN with a discriminator that learns with equal weights",
    command="python benchmarks/sim_to_camvid/run.py --data-root DATA",
    notes=HERE / "equal.md",
)


def main() -> None:
    parser = benchmark_parser(__doc__, Path("runs/sim_to_camvid"), [EQUAL])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--study", action="store_true", help="compare settings")
    options = parser.parse_args()
    common = _common(options.data_root)
    preset = str(HERE / "{}.yaml").format
    jobs = _study(options) if options.study else table_jobs(options, preset, common)
    run_all(jobs, options.jobs)
    if options.study:
        write_study(options.results, STUDY_SECTION, jobs)
    else:
        section = EQUAL_SECTION if EQUAL in options.systems else SECTION
        write_section(options.results, _with_choice(section, options), [job.out for job in jobs])


def _with_choice(section: Section, options: argparse.Namespace) -> Section:
    """Say in the section's command which systems and seeds it is about."""
    command = section.command
    if tuple(options.systems) != SYSTEMS:
        command += f" --systems {' '.join(options.systems)}"
    if tuple(options.seeds) != (0, 1, 2):
        command += f" --seeds {' '.join(map(str, options.seeds))}"
    return replace(section, command=command)


def _common(root: Path) -> tuple[str, ...]:
    weights = root / "weights" / "mobilenet_v2_imagenet.pth"
    return f"data.root={root}", f"weights={weights}"


def _study(options: argparse.Namespace) -> list[Job]:
    scored = (
        "data.validation.split=tune",
        "training.evaluate_every=200",
        "training.snapshot_every=0",
    )
    return [
        Job(
            str(HERE / f"{system}.yaml"),
            (*_common(options.data_root), *scored, *changes),
            options.out / "study" / "_".join([system, *(c.split(".", 1)[1] for c in changes)]),
        )
        for system, changes in STUDY
    ]


if __name__ == "__main__":
    main()
