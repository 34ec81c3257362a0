"""Runs to report on, and a real browser to look at the page with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from clan.reporting import report
from clan.runs.folder import RunFolder
from clan.training.train import train
from tests.systems import tiny, write_street

OFTEN = ("training.evaluate_every=2", "training.log_every=1", "training.snapshot_every=2")


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_street(tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="session")
def runs(street: Path, tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Source only, and two seeds of clan; read only."""
    folder = tmp_path_factory.mktemp("runs")
    made = (("source_only", 0), ("clan", 0), ("clan", 1))
    return [
        train(tiny(street, name, f"seed={seed}", *OFTEN), folder / f"{name}{seed}")
        for name, seed in made
    ]


@pytest.fixture(scope="session")
def page(runs: list[RunFolder], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of all runs; read only."""
    return report([run.path for run in runs], tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="session")
def chrome() -> Iterator[webdriver.Chrome]:
    """Debian's chromium without a screen; skips where there is none."""
    browser, driver = (
        shutil.which("chromium") or shutil.which("google-chrome"),
        shutil.which("chromedriver"),
    )
    if not browser or not driver:
        pytest.skip("no chromium and chromedriver: the report is not looked at in a browser")
    options = Options()
    options.binary_location = browser
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        opened = webdriver.Chrome(options, Service(driver))
    except WebDriverException as error:
        pytest.skip(f"chromium does not start: {error.msg}")
    opened.set_page_load_timeout(60)
    opened.set_script_timeout(60)
    yield opened
    opened.quit()
