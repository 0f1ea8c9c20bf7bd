"""What was learned: models, versions, features, and who serves them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id, Micros


class Model(Base):
    """A classifier: a public part trained on a core cohort, and user weights that follow the ledger."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(16))  # training | ingesting | ready | failed | retiring | destroyed
    core_cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"))
    evaluation_cohort_id: Mapped[str | None] = mapped_column(ForeignKey("cohorts.id"))
    architecture: Mapped[str] = mapped_column(String(64))
    feature_map: Mapped[str] = mapped_column(String(64))  # auto until the core is trained, then the chosen one
    width: Mapped[int | None] = mapped_column(Integer)
    bandwidth: Mapped[float | None] = mapped_column(Float)  # of nystrom, as a share of the median distance; None: 1
    alpha: Mapped[float] = mapped_column(Float)
    mu: Mapped[float | None] = mapped_column(Float)  # None: chosen anew from every version's statistics
    mu_grid: Mapped[list[Any] | None]  # the candidates that it is chosen from; None: mu is fixed
    residual_budget: Mapped[float | None] = mapped_column(Float)  # None: derived from the plan and mu
    capacity: Mapped[int] = mapped_column(BigInteger)
    epochs: Mapped[int] = mapped_column(Integer)
    seed: Mapped[int] = mapped_column(BigInteger)
    solver: Mapped[str] = mapped_column(String(16))  # exact | krylov | sgd
    noise: Mapped[str | None] = mapped_column(String(24))  # isotropic | inverse_hessian; None: none
    sigma: Mapped[float | None] = mapped_column(Float)  # of the noise; None until it is planned from core data
    kappa: Mapped[float | None] = mapped_column(Float)  # nats that one version may tell; None without noise
    exposure_budget: Mapped[float | None] = mapped_column(Float)  # nats that sigma is planned for; None: none
    batch_window_us: Mapped[int] = mapped_column(BigInteger, default=0)
    batch_minimum: Mapped[int | None] = mapped_column(Integer)  # requests that are waited for; None: 1
    batch_latest_us: Mapped[int | None] = mapped_column(BigInteger)  # before a deadline; None: as ledger.batching says
    core_import_id: Mapped[str | None] = mapped_column(ForeignKey("core_imports.id"))  # None: trained here
    core_head: Mapped[str | None] = mapped_column(String(16))  # of an imported core: keep | retrain
    leaky: Mapped[bool | None] = mapped_column(Boolean)  # Leaky-ReLU in place of ReLU; None says no
    input_size: Mapped[list[Any] | None]  # height and width that images are brought to; None: as stored
    public_object: Mapped[str | None] = mapped_column(String(64))
    public_digest: Mapped[str | None] = mapped_column(String(64))
    public_digests: Mapped[dict[str, Any] | None]  # of its parts: core, map, input_spec
    evaluation_object: Mapped[str | None] = mapped_column(String(64))
    applied_seq: Mapped[int | None] = mapped_column(BigInteger)
    active_version_id: Mapped[str | None] = mapped_column(Id)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Micros)


class ModelCohort(Base):
    """The user cohorts that a model learns from."""

    __tablename__ = "model_cohorts"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"), primary_key=True)


class ModelVersion(Base):
    """The fold of the ledger up to `applied_seq`: `active -> superseded -> destroyed`.

    Commitments are HMACs under a salt that lies in the version's own artifact and dies with it.
    """

    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("model_id", "number"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    applied_seq: Mapped[int] = mapped_column(BigInteger)
    anchor_number: Mapped[int] = mapped_column(Integer)
    weights_object: Mapped[str | None] = mapped_column(String(64))
    statistics_object: Mapped[str | None] = mapped_column(String(64))
    weights_commitment: Mapped[str] = mapped_column(String(64))
    statistics_commitment: Mapped[str] = mapped_column(String(64))
    solver_fingerprint: Mapped[str] = mapped_column(String(64))
    checks: Mapped[dict[str, Any]]  # pass or fail of each check, and constants fixed at registration
    measured: Mapped[dict[str, Any] | None]  # for the operator; dies with the version
    created_at: Mapped[int] = mapped_column(Micros)
    destroyed_at: Mapped[int | None] = mapped_column(Micros)


class FeatureShard(Base):
    """A model's quantized features of one record shard."""

    __tablename__ = "feature_shards"
    __table_args__ = (Index(None, "record_shard_id"),)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    record_shard_id: Mapped[str] = mapped_column(ForeignKey("record_shards.id"), primary_key=True)
    object_name: Mapped[str] = mapped_column(String(64))


class Lease(Base):
    """An API process's promise: until `expires_at` it answers for this model from this version only."""

    __tablename__ = "leases"
    process_id: Mapped[str] = mapped_column(Id, primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    version_number: Mapped[int] = mapped_column(Integer)
    expires_at: Mapped[int] = mapped_column(Micros)
