"""The methods by name: one file each."""

from __future__ import annotations

from clan.methods.adabn import AdaBN
from clan.methods.advent import AdvEnt
from clan.methods.base import Method, MethodOptions, Progress
from clan.methods.clan import CLAN
from clan.methods.mcd import MCD
from clan.methods.minent import MinEnt
from clan.methods.source_only import SourceOnly
from clan.methods.tan import TAN

METHODS: dict[str, type[Method]] = {
    "source_only": SourceOnly,
    "adabn": AdaBN,
    "tan": TAN,
    "clan": CLAN,
    "mcd": MCD,
    "minent": MinEnt,
    "advent": AdvEnt,
}

__all__ = ["METHODS", "Method", "MethodOptions", "Progress"]
