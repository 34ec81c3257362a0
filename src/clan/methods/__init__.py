"""The methods by name: one file each, and the table that other packages add to."""

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
from clan.methods.dacs import DACS
from clan.methods.daformer import DAFormer
from clan.methods.fcns_wild import FCNsInTheWild
from clan.methods.fda import FDA
from clan.methods.mcd import MCD
from clan.methods.mic import MIC
from clan.methods.minent import MinEnt
from clan.methods.registry import METHODS, find_method, method_names, register_method
from clan.methods.source_only import SourceOnly
from clan.methods.stages import Reading, Stage
from clan.methods.tan import TAN

# in the order of tables and pages
METHODS |= {
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
    "fda": FDA,
    "dacs": DACS,
    "daformer": DAFormer,
    "mic": MIC,
}

__all__ = [
    "METHODS",
    "Method",
    "MethodOptions",
    "Progress",
    "Reading",
    "Stage",
    "find_method",
    "method_names",
    "register_method",
]
