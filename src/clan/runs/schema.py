"""Schemas of the files of a run: checkpoints, metrics.jsonl and environment.json."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from torch import Tensor

Step = Annotated[int, Field(ge=0, lt=2**53, strict=True)]


class _Schema(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")


class _Optimizer(_Schema):
    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


class _Waiting(_Schema):
    names: list[str]
    rows: Tensor
    seconds: float

    @model_validator(mode="after")
    def _columns(self) -> _Waiting:
        if self.rows.dim() != 2 or self.rows.shape[1] != len(self.names):
            raise ValueError(f"rows {tuple(self.rows.shape)} of {len(self.names)} names")
        return self


class _Classes(_Schema):
    names: list[str]


class _Domain(_Schema):
    images: int
    sizes: list[tuple[int, int]]


class Checkpoint(_Schema):
    """The entries of a checkpoint."""

    step: Step
    entered: Step
    method: dict[str, Tensor]
    optimizers: dict[str, _Optimizer]
    waiting: _Waiting
    config: dict[str, Any]
    classes: _Classes
    given: dict[str, _Domain] = {}
    versions: dict[str, str]


class _Environment(_Schema):
    since_step: Step


class _Line(_Schema):
    step: Step
    iou: dict[str, float | None] = {}
    __pydantic_extra__: dict[str, float | int | None]


ENVIRONMENTS: TypeAdapter[list[_Environment]] = TypeAdapter(list[_Environment])
"""environment.json."""

LINE: TypeAdapter[_Line] = TypeAdapter(_Line)
"""A line of metrics.jsonl."""
