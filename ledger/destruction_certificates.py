"""The certificate of a destruction: what it states about a model of which nothing is left.

Like that of an erasure it is an in-toto Statement v1 in a DSSE envelope, and like there only constants fixed at
registration, salted commitments and facts that were checked are stated.
"""

from __future__ import annotations

from typing import Any

from ledger import destruction, generations
from ledger.certificates import STATEMENT_TYPE
from ledger.database import Transaction
from ledger.moments import rfc3339
from ledger.tables import Model

PREDICATE_TYPE = "https://lacuna.dev/destruction-certificate/v1"

NOT_COVERED = [
    "The records of the model's cohorts, which stay stored, and other models over them.",
    "Backups made before the destruction, until the time named here.",
    "Answers that the model gave, and whoever copied weights from it.",
    "The memory of processes that hold nothing of it in use any more, until it is used again.",
    "Remanence on storage media, and database log files outside Lacuna's reach.",
]


def statement(
    tx: Transaction, model: Model, *, name: str, destroyed_at: int, unserved_at: int, backup_days: int
) -> dict[str, Any]:
    """Return the in-toto statement of a model that is destroyed in this transaction. `name`: what it was called."""
    place = generations.of(tx, model.id)
    versions = destruction.versions_of(tx, model.id)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": f"{name}@{version.number}", "digest": {"hmac-sha256": version.weights_commitment}}
            for version in versions
        ]
        or [{"name": name, "digest": {"lacuna-model-id": model.id}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "model": {
                "id": model.id,
                "line": place.line_id,
                "generation": place.number,
                "name": name,
                "public_digest": model.public_digest,
                "registered_at": rfc3339(model.created_at),
            },
            "outcome": "destroyed",
            "destroyed": ["weights", "statistics", "features", "public part", "evaluation rows", "measurements"],
            "versions": [version.number for version in versions],
            "facts": {
                "gone": {"holds": True, "evidence": "read back from database and object store"},
                "unserved": {
                    "holds": True,
                    "evidence": "no serving lease names this generation any more, and none is given",
                    "since": rfc3339(unserved_at),
                },
            },
            "not_covered": NOT_COVERED,
            "destroyed_at": rfc3339(destroyed_at),
            "unrecoverable_from_backups_after": rfc3339(destroyed_at + backup_days * 86_400_000_000),
        },
    }
