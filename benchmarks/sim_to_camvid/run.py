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
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from jobs import Job, benchmark_parser, run_all, table_jobs  # noqa: E402
from results import Section, write_section  # noqa: E402

from clan.runs import RunFolder  # noqa: E402

# one seed each, scored on the tuning split; () is the preset as it stands
STUDY: dict[str, tuple[tuple[str, ...], ...]] = {
    "source_only": ((),),
    "tan": (
        ("method.lambda_adv=0.001",),
        ("method.lambda_adv=0.01",),
        ("method.lambda_adv=0.01", "method.batch_norm=target"),
        ("method.lambda_adv=0.01", "method.damping=true"),
    ),
    "clan": (
        ("method.lambda_adv=0.001",),
        ("method.lambda_adv=0.01",),
        ("method.lambda_adv=0.001", "method.batch_norm=target"),
        ("method.lambda_adv=0.001", "method.preheat_steps=200"),
        ("method.lambda_adv=0.001", "optim.discriminator.lr=0.0005"),
    ),
}
SECTION = Section(
    key="sim_to_camvid",
    title="street-sim to CamVid: synthetic to real",
    command="python benchmarks/sim_to_camvid/run.py --data-root DATA",
    notes=HERE / "notes.md",
)


def main() -> None:
    parser = benchmark_parser(__doc__, Path("runs/sim_to_camvid"))
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--study", action="store_true", help="compare settings")
    options = parser.parse_args()
    common = _common(options.data_root)
    preset = str(HERE / "{}.yaml").format
    jobs = _study(options) if options.study else table_jobs(options, preset, common)
    run_all(jobs, options.jobs)
    if not options.study:
        study = [job.out for job in _study(options) if RunFolder(job.out).finished]
        write_section(options.results, SECTION, [job.out for job in jobs], study)


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
        for system, variants in STUDY.items()
        for changes in variants
    ]


if __name__ == "__main__":
    main()
