"""The base of every typed, validated option group.

Each subpackage declares its options beside the code that reads them; `clan.config` joins them into
one configuration tree.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Frozen options: unknown keys fail, values are checked when the tree is built."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )
