"""The methods by name: one file each."""

from __future__ import annotations

from clan.methods.adabn import AdaBN
from clan.methods.advent import AdvEnt
from clan.methods.cbst import CBST
from clan.methods.cda import CDA
from clan.methods.clan import CLAN
from clan.methods.clan_st import CLANST
from clan.methods.contract import Method, MethodOptions, Progress
from clan.methods.cross_city import CrossCity
from clan.methods.cycada_feature import CyCADAFeature
from clan.methods.fcns_wild import FCNsInTheWild
from clan.methods.mcd import MCD
from clan.methods.minent import MinEnt
from clan.methods.source_only import SourceOnly
from clan.methods.stages import Reading, Stage
from clan.methods.tan import TAN

METHODS: dict[str, type[Method]] = {
    "source_only": SourceOnly,
    "adabn": AdaBN,
    "tan": TAN,
    "clan": CLAN,
    "mcd": MCD,
    "minent": MinEnt,
    "advent": AdvEnt,
    "fcns_wild": FCNsInTheWild,
    "cycada_feature": CyCADAFeature,
    "cross_city": CrossCity,
    "cbst": CBST,
    "cda": CDA,
    "clan_st": CLANST,
}

__all__ = ["METHODS", "Method", "MethodOptions", "Progress", "Reading", "Stage"]
