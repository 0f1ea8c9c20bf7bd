"""Every table of the ledger, as SQLAlchemy sees it.

The migrations create the tables; a test proves that they and these files agree.
Conventions: ids are random (never an identity), times are UTC integer microseconds, every row names its tenant.
The database holds only random ids, keyed hashes (HMACs) and class indices: no identifier, no record, no weight.
"""

from ledger.tables.base import Base
from ledger.tables.cores import CoreImport
from ledger.tables.data import (
    Change,
    Cohort,
    CoreContent,
    Record,
    RecordShard,
    Subject,
    SubjectAlias,
    Upload,
    UploadPart,
)
from ledger.tables.deferrals import Deferral, DeferredShard
from ledger.tables.dry_runs import DryRun
from ledger.tables.evidence import Event, Leaf, LogCheckpoint, LogNode, LogState
from ledger.tables.generations import Destruction, Generation
from ledger.tables.models import FeatureShard, Lease, Model, ModelCohort, ModelVersion
from ledger.tables.people import Person, WebSession
from ledger.tables.predictions import LeakageBudget, RequestHolder, Sighting
from ledger.tables.receipts import Receipt
from ledger.tables.requests import (
    Certificate,
    ForgetRequest,
    HeldRequest,
    Hold,
    RequestModel,
    Suppression,
)
from ledger.tables.signing_keys import SigningKey
from ledger.tables.tenants import ApiKey, IdempotencyEntry, Tenant
from ledger.tables.webhooks import WebhookDelivery, WebhookEndpoint
from ledger.tables.work import Job, JobPart, StoredObject

__all__ = [
    "ApiKey",
    "Base",
    "Certificate",
    "Change",
    "Cohort",
    "CoreContent",
    "CoreImport",
    "Deferral",
    "DeferredShard",
    "Destruction",
    "DryRun",
    "Event",
    "FeatureShard",
    "ForgetRequest",
    "Generation",
    "HeldRequest",
    "Hold",
    "IdempotencyEntry",
    "Job",
    "JobPart",
    "Leaf",
    "LeakageBudget",
    "Lease",
    "LogCheckpoint",
    "LogNode",
    "LogState",
    "Model",
    "ModelCohort",
    "ModelVersion",
    "Person",
    "Receipt",
    "Record",
    "RecordShard",
    "RequestHolder",
    "RequestModel",
    "Sighting",
    "SigningKey",
    "StoredObject",
    "Subject",
    "SubjectAlias",
    "Suppression",
    "Tenant",
    "Upload",
    "UploadPart",
    "WebSession",
    "WebhookDelivery",
    "WebhookEndpoint",
]
