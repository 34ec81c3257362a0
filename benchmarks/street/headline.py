"""Run the street benchmark at full length (20,000 steps of batch 8), in calls of limited time.

    python benchmarks/street/headline.py --minutes 9 --out runs/street-headline

Repeat the call until it prints "nothing is left". Each call resumes unfinished trainings from their
newest checkpoints, and stops in time to write new ones. To change the machine, copy the folder of
runs. Finished runs are added to the records that the table reads.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TASK = Path(__file__).parent
LONG = (
    *("training.steps=20000", "data.batch_size=8", "data.workers=4"),
    *("training.checkpoint_every=500", "training.precision=bf16-mixed"),
)
"""Settings that differ from those for two CPU cores; `start` is as long as the other systems."""
GRACE = 60
"""Seconds for trainings to write their checkpoints."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="stop after so long")
    parser.add_argument("--out", type=Path, default=Path("runs/street-headline"))
    parser.add_argument("--systems", help="names by commas; all by default")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=3, help="trainings at a time on one GPU")
    parser.add_argument("--records", type=Path, default=TASK / "headline.jsonl")
    parser.add_argument("changes", nargs="*", help="KEY=VALUE changes, such as data.root=DIR")
    options = parser.parse_args(arguments)
    command = command_line(options)
    print(" ".join(command), flush=True)
    # a new session: trainings get the signal only once, from the runner
    with subprocess.Popen(command, start_new_session=True) as bench:
        try:
            code = bench.wait(timeout=max(1.0, 60 * options.minutes - GRACE))
        except subprocess.TimeoutExpired:
            bench.send_signal(signal.SIGTERM)
            bench.wait()
            print("time is up; the same command goes on", flush=True)
            return os.EX_TEMPFAIL
    print("nothing is left" if code == 0 else f"ended with exit code {code}", flush=True)
    return code


def command_line(options: argparse.Namespace) -> list[str]:
    named = ["--systems", options.systems] if options.systems else []
    return [
        *(sys.executable, "-m", "clan.cli", "bench", str(TASK), *named),
        *("--seeds", options.seeds, "--jobs", str(options.jobs)),
        *("--out", str(options.out), "--records", str(options.records)),
        *LONG,
        *options.changes,
    ]


if __name__ == "__main__":
    sys.exit(main())
