"""The certificate of an erasure: what it states, signed.

Only constants fixed at registration, salted commitments and pass or fail are stated: a number measured on forgotten
data would tell about it. The statement is an in-toto Statement v1 in a DSSE envelope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from evidence.consistency import ERASURE
from ledger import certified_bounds, dsse
from ledger.database import Transaction
from ledger.errors import NotFound
from ledger.events import canonical_bytes
from ledger.moments import rfc3339
from ledger.retained import retained
from ledger.tables import Certificate, CoreImport, ForgetRequest, Model, ModelVersion, RequestModel

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = ERASURE
REVOCATION = {"certificates": "/v1/revocations", "keys": "/v1/signing-keys"}
"""Where, relative to the service, it is listed which certificates and keys were revoked."""
COMMITMENT = (
    "The root of a Merkle tree over HMAC-SHA256(salt, name) for everything that the request names. The salts are in "
    "the requester's receipts and nowhere else in what is published; without one, no guess can be tested."
)
VERSIONS = (
    "HMAC-SHA256 over the bytes of the weights and of the statistics. The salt lies in the version's own encrypted "
    "object and dies with it; a plain digest would let whoever knows the other records test guesses."
)

ADVERSARY = (
    "Knows the retained records, the code, every public constant, and the weights and statistics of the versions named "
    "as subjects; the request did not depend on earlier answers."
)
CORE_IS_APART = "The core cohort is public and holds no record of a user cohort."
CORE_IS_PUBLIC = "The core cohort is public."
ASSUMPTIONS = [
    "Feature map, scales, alpha, classes and mu were fixed from core data when the model was registered; a mu given "
    "here as chosen by gcv is a function of the retained records instead, evaluated anew for the version.",
    "The process that made the anchor version summed the stored records rightly; every later version was checked.",
]
NOT_COVERED = [
    "Backups made before the erasure, until the time named here.",
    "Answers that were given from earlier versions, and whoever copied weights from them.",
    "The fact, the time and the number of requests and records.",
    "Requests chosen in the light of earlier answers.",
    "Uploads that were not finished when the request came: they are refused at the end, and destroyed within a day.",
    "Remanence on storage media, and database log files outside Lacuna's reach.",
]


OVERLAP = (
    "Content equal, byte for byte, to that of at least one forgotten record stands in a public core cohort. It was "
    "removed from the user side; in the core, and in what was trained on the core, equal content remains."
)
HELD_BACK = (
    "Some of the selected records are kept under a legal hold and are not covered by this certificate. "
    "The request is filed again when the hold is released."
)
CORRECTED = "The former content of corrected records was removed. The corrected content is retained."


def outcome(request: ForgetRequest) -> str:
    """Return the outcome of a request whose records are erased: `erased`, or `partially_core`."""
    return "partially_core" if request.in_core else "erased"


def _optional(micros: int | None) -> str | None:
    return None if micros is None else rfc3339(micros)


def statement(
    tx: Transaction,
    request: ForgetRequest,
    *,
    erased_at: int,
    unserved_at: int,
    backup_days: int,
    code: Mapping[str, str],
) -> dict[str, Any]:
    """Return the in-toto statement of a request that is about to be completed.

    `code`: which program does it, as the worker found it installed: package, version, modules, sha256.
    """
    covered = _covered(tx, request)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": f"{model.name}@{version.number}", "digest": {"hmac-sha256": version.weights_commitment}}
            for model, version in covered
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "request": {
                "id": request.id,
                "selector": request.selector_kind,
                "regulation": request.regulation,
                "received_at": rfc3339(request.received_at),
                "due_at": rfc3339(request.due_at),
                "extended_at": _optional(request.extended_at),
                "published_at": rfc3339(tx.now if request.published_at is None else request.published_at),
                "completed_at": rfc3339(tx.now),
            },
            "outcome": outcome(request),
            **_remarks(request),
            "commitments": {
                "named": request.commitment,
                "receipts": request.commitment is not None,
                "how_named": COMMITMENT,
                "how_versions": VERSIONS,
            },
            "facts": {
                "removed": {"holds": True, "evidence": "transition check against the ledger's removal set"},
                "solved": {"holds": True, "evidence": "gradient of the retained loss, float error included"},
                "gone": {"holds": True, "evidence": "read back from database and object store"},
                "unserved": {
                    "holds": True,
                    "evidence": "every serving lease names these versions or later ones, or has expired",
                    "since": rfc3339(unserved_at),
                },
            },
            "bounds": certified_bounds.bounds(covered),
            "code": dict(code),
            "models": [_model_facts(tx, model, version) for model, version in covered],
            "adversary": ADVERSARY,
            "assumptions": [
                CORE_IS_PUBLIC if request.in_core else CORE_IS_APART,
                *ASSUMPTIONS,
                *certified_bounds.assumptions(covered),
            ],
            "not_covered": [*NOT_COVERED, *certified_bounds.not_covered(covered)],
            "erased_live_at": rfc3339(erased_at),
            "unrecoverable_from_backups_after": rfc3339(erased_at + backup_days * 86_400_000_000),
            "retained": [
                {"what": kept.what, "purpose": kept.purpose, "ends": kept.ends, "until": _optional(kept.until)}
                for kept in retained(tx, request)
            ],
            "revocation": REVOCATION,
        },
    }


def _remarks(request: ForgetRequest) -> dict[str, str]:
    """Return what must be said of this request beside its facts. No numbers: they would tell about the records."""
    remarks = {}
    if request.in_core:
        remarks["core_overlap"] = OVERLAP
    if request.held:
        remarks["held_back"] = HELD_BACK
    if request.selector_kind == "correction":
        remarks["correction"] = CORRECTED
    return remarks


def _covered(tx: Transaction, request: ForgetRequest) -> Sequence[tuple[Model, ModelVersion]]:
    query = (
        select(Model, ModelVersion)
        .join(RequestModel, RequestModel.model_id == Model.id)
        .join(ModelVersion, ModelVersion.id == RequestModel.version_id)
        .where(RequestModel.request_id == request.id)
        .order_by(Model.id)
    )
    return [(row[0], row[1]) for row in tx.session.execute(query)]


def models_without_digests(tx: Transaction, request_ids: Sequence[str]) -> list[str]:
    """Return the models that certificates of these requests will name and whose parts' digests nobody has noted."""
    query = (
        select(Model.id, Model.public_digests)
        .join(RequestModel, RequestModel.model_id == Model.id)
        .where(RequestModel.request_id.in_(request_ids), Model.public_object.is_not(None))
    )
    return sorted({model_id for model_id, digests in tx.session.execute(query) if digests is None})


def _model_facts(tx: Transaction, model: Model, version: ModelVersion) -> dict[str, Any]:
    return {
        "model": model.id,
        "version": version.number,
        "anchor_version": version.anchor_number,
        "weights_commitment": version.weights_commitment,
        "statistics_commitment": version.statistics_commitment,
        "public_digest": model.public_digest,
        "digests": model.public_digests,
        **_core_facts(tx, model),
        "architecture": model.architecture,
        "feature_map": model.feature_map,
        "width": model.width,
        "alpha": repr(model.alpha),
        "mu": ridge(model),
        **certified_bounds.facts(model, version),
        "checks": version.checks,
        "solver_fingerprint": version.solver_fingerprint,
    }


def ridge(model: Model) -> str:
    """Return the fixed mu, or how it is chosen: the chosen value would tell about the records that chose it."""
    if model.mu is not None:
        return repr(model.mu)
    return "gcv over " + ", ".join(repr(mu) for mu in model.mu_grid or ())


def _core_facts(tx: Transaction, model: Model) -> dict[str, Any]:
    """Return where the core came from; of an imported one nobody here has seen the training data."""
    if model.core_import_id is None:
        return {"core_origin": "trained"}
    core = tx.session.get_one(CoreImport, model.core_import_id)
    return {
        "core_origin": "imported",
        "core_publicness": f"publicness attested by {core.attested_by}, not verified",
        "core_import": core.id,
        "core_digest": core.digest,
        "core_head": model.core_head,
    }


def sign(statement: dict[str, Any], key: dsse.SigningKey) -> bytes:
    """Return the statement in a DSSE envelope, signed with this key of the installation."""
    return dsse.sign_envelope(canonical_bytes(statement), PAYLOAD_TYPE, key)


def get(tx: Transaction, tenant_id: str, request_id: str) -> bytes:
    """Return the envelope of a completed request. Raises NotFound."""
    row = tx.session.get(Certificate, request_id)
    if row is None or row.tenant_id != tenant_id:
        raise NotFound("certificate of request", request_id)
    return row.envelope
