"""A finished comparison on the tiny street, and what asks for one."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clan.core.console import Console
from clan.studies.bench.run import Request, run_request
from clan.studies.bench.table import BenchTable
from tests.systems import SETTINGS, Fork, write_street

NAMES = ("source_only", "clan", "oracle")


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The street with an oracle beside its systems."""
    street = write_street(tmp_path_factory.mktemp("street"))
    photos = {"dataset": "photos/photos.yaml"}
    data = {"source": photos, "validation": {**photos, "split": "val"}}
    method = {"name": "source_only"}
    tree = {"name": "oracle", "data": data, "method": method, "training": {"steps": 7}}
    (street / "oracle.yaml").write_text(json.dumps(tree))
    return street


def request(street: Path, out: Path, *settings: str, **changes: Any) -> Request:
    asked = Request(
        str(street), systems=NAMES, seeds=(0, 1), overrides=(*SETTINGS, *settings), out=out, jobs=2
    )
    return replace(asked, **changes)


def run(asked: Request, start: Any = Fork) -> tuple[BenchTable, str]:
    console = Console(file=io.StringIO(), width=250)
    return run_request(asked, console, start), console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def whole(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison; read only."""
    out = tmp_path_factory.mktemp("whole") / "bench"
    run(request(street, out))
    return out


def copy_of(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bench"))
