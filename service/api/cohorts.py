"""Cohorts: sets of records of one shape and type."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Len
from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ledger import catalog, tables
from ledger.database import Transaction
from ledger.errors import NameTaken, NotFound, StoreFull
from service.api.paging import NEXT_PAGE, Paged
from service.api.schemas import Body, CohortId, Items, Name
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.idempotency import REFUSALS, Retryable
from service.moments import when
from service.refusals import CursorRefused

router = APIRouter(prefix="/v1/cohorts", tags=["cohorts"])

LARGEST_RECORD_VALUES = 16 * 2**20
_READERS = ("data:write", "models:write", "forget:write", "audit:read")


def _all_different(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("the names must all be different")
    return names


def _not_too_large(shape: list[int]) -> list[int]:
    values = 1
    for side in shape:
        values *= side
    if values > LARGEST_RECORD_VALUES:
        raise ValueError(f"a record may have at most {LARGEST_RECORD_VALUES} values")
    if len(shape) == 2:
        raise ValueError("use [columns], or [channels, height, width]")
    return shape


class NewCohort(Body):
    """A cohort to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "patients", "kind": "user", "shape": [1, 8, 8], "dtype": "uint8", "class_names": ["no", "yes"]}
            ]
        }
    )
    name: Name = Field(description="Any name that the tenant has not used. Not an identity: it is shown.")
    kind: Literal["core", "user"] = Field(
        description="core: public records, never forgotten. user: records that can be forgotten."
    )
    shape: Annotated[list[Annotated[int, Field(ge=1, le=2**20)]], Len(1, 3), AfterValidator(_not_too_large)] = Field(
        description="Of one record: [columns], or [channels, height, width]."
    )
    dtype: Literal["uint8", "float32"] = Field(description="Of every value of a record.")
    class_names: Annotated[list[Name], Len(2, 4096), AfterValidator(_all_different)] = Field(
        description="Label i is the class class_names[i]."
    )
    layout: Literal["channels_first", "channels_last"] = Field(
        "channels_first", description="Of images; with channels_last the shape is [height, width, channels]."
    )
    missing: Literal["refuse", "core_mean"] = Field(
        "refuse", description="Of float32 tables: whether NaN is refused or becomes the column's mean over the core."
    )
    column_names: Annotated[list[Name], Len(1, 65_536), AfterValidator(_all_different)] | None = Field(
        None, description="Of tables: what stands in which column. All cohorts of a model must agree."
    )

    retention_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        None, description="Of user cohorts: after how many days a record is forgotten by itself; null: never."
    )

    @model_validator(mode="after")
    def _form_fits(self) -> NewCohort:
        images = len(self.shape) == 3
        if self.kind == "core" and self.retention_days is not None:
            raise ValueError("retention_days is for user cohorts")
        if self.layout == "channels_last" and not images:
            raise ValueError("layout is for images")
        if self.missing == "core_mean" and (images or self.dtype != "float32"):
            raise ValueError("missing is for tables of float32")
        if self.column_names is not None and (images or len(self.column_names) != self.shape[0]):
            raise ValueError("column_names is for tables and has one name per column")
        return self


class Cohort(BaseModel):
    """A cohort as it is."""

    id: str
    name: str
    kind: str
    shape: list[int]
    dtype: str
    class_names: list[str]
    layout: str
    missing: str
    column_names: list[str] | None
    retention_days: int | None
    records: int = Field(description="Stored records, without those that are being forgotten.")
    created_at: str


def _shown(tx: Transaction, cohort: tables.Cohort) -> Cohort:
    return Cohort(
        id=cohort.id,
        name=cohort.name,
        kind=cohort.kind,
        shape=cohort.shape,
        dtype=cohort.dtype,
        class_names=cohort.class_names,
        layout=cohort.layout or "channels_first",
        missing=cohort.missing or "refuse",
        column_names=cohort.column_names,
        retention_days=cohort.retention_days,
        records=catalog.count_records(tx, cohort.id),
        created_at=when(cohort.created_at),
    )


@router.post("", status_code=201, summary="Make a cohort", responses=documented(NameTaken, StoreFull, *REFUSALS))
def create(
    body: NewCohort, request: Request, principal: Annotated[Principal, needs("data:write")], once: Retryable
) -> Cohort:
    """Shape, type and classes are fixed from now on. Records are added with an upload."""
    with once.begin(context_of(request.scope).ledger, principal.tenant_id) as tx:
        cohort = catalog.create_cohort(tx, principal.tenant_id, **body.model_dump(exclude_defaults=True))
        made = _shown(tx, cohort)
        once.answer(tx, made, 201, Location=f"/v1/cohorts/{made.id}")
    return made


@router.get("", summary="List the cohorts", responses=NEXT_PAGE | documented(CursorRefused))
def list_all(request: Request, principal: Annotated[Principal, needs(*_READERS)], page: Paged) -> Items[Cohort]:
    """The cohorts of the tenant, oldest first."""
    with context_of(request.scope).ledger.database.read() as tx:
        found = catalog.list_cohorts(tx, principal.tenant_id, limit=page.limit, after=page.after(int, str))
        cohorts = page.cut(found, lambda cohort: (cohort.created_at, cohort.id))
        return Items(items=[_shown(tx, cohort) for cohort in cohorts])


@router.get("/{cohort_id}", summary="Show a cohort", responses=documented(NotFound))
def show(cohort_id: CohortId, request: Request, principal: Annotated[Principal, needs(*_READERS)]) -> Cohort:
    """One cohort, with the number of its records."""
    with context_of(request.scope).ledger.database.read() as tx:
        return _shown(tx, catalog.get_cohort(tx, principal.tenant_id, cohort_id))
