"""What the Dockerfile names exists: no image is built here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_all_that_is_copied_is_there() -> None:
    copied = [
        name for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.M) for name in line.split()[:-1]
    ]
    assert {"src", "pyproject.toml", "constraints.txt", *PROJECT["license-files"]} <= set(copied)
    assert PROJECT["readme"] in copied
    assert all((ROOT / name).exists() for name in copied)


def test_every_extra_of_users_is_installed() -> None:
    (extras,) = re.findall(r"'\.\[(.+)\]'", DOCKERFILE)
    (needed,) = (
        each for each in PROJECT["optional-dependencies"]["dev"] if each.startswith("clan")
    )
    assert f"clan[{extras}]" == needed


def test_it_runs_the_command_on_a_python_that_is_supported() -> None:
    (command,) = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', DOCKERFILE, re.M)
    assert command in PROJECT["scripts"]
    (python,) = re.findall(r"^FROM python:([\d.]+)-slim$", DOCKERFILE, re.M)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
