"""Building blocks of what is sent and answered: ids, names, times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

T = TypeVar("T")

ID_PATTERN = "^[0-9a-f]{32}$"
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
ModelId = Annotated[str, Path(pattern=ID_PATTERN, description="The model's id.")]
CohortId = Annotated[str, Path(pattern=ID_PATTERN, description="The cohort's id.")]
RequestId = Annotated[str, Path(pattern=ID_PATTERN, description="The forget request's id.")]
JobId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The job's number.")]
VersionNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The version's number.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items to return.")]


class Body(BaseModel):
    """What a client sends. Unknown fields are refused: a misspelt one must not be ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Items(BaseModel, Generic[T]):
    """A list, wrapped so that more can be said beside it later."""

    items: Sequence[T] = Field(description="The items.")
