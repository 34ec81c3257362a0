from __future__ import annotations

import subprocess
import sys

import pytest

import clan


def test_every_public_name_is_there() -> None:
    for name in clan.__all__:
        assert getattr(clan, name) is not None, name
    assert set(clan._HOMES) | {"ClanError"} == set(clan.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        clan.trian  # noqa: B018


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, clan, clan.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
