"""Noting that features of a record shard were made, and when an upload or a model has all of them."""

from __future__ import annotations

from typing import Any

from ledger import catalog, changes, contents, corrections, events, folding, generations, inventory, jobs
from ledger.database import Transaction
from ledger.tables import FeatureShard, Model, RecordShard, Upload


def add_shard(tx: Transaction, claim: jobs.Claim, model_id: str, shard: RecordShard, object_name: str) -> bool:
    """Book a feature shard, or return False: its record shard was rewritten meanwhile, or the model retired."""
    jobs.check_fence(tx, claim)
    model = tx.session.get_one(Model, model_id, with_for_update={"read": True}, populate_existing=True)
    if model.state in generations.GONE:
        return False
    now = tx.session.get(RecordShard, shard.id, with_for_update=True, populate_existing=True)
    if now is None or now.object_name != shard.object_name:
        return False
    if tx.session.get(FeatureShard, (model_id, shard.id)) is not None:
        return False  # another job made them a moment ago
    tx.session.add(FeatureShard(model_id=model_id, record_shard_id=shard.id, object_name=object_name))
    inventory.enliven(tx, [object_name])
    return True


def add_upload(tx: Transaction, claim: jobs.Claim) -> bool:
    """Put the upload into the sequence of changes, once every ready model has its features. False while some lack."""
    assert claim.upload_id is not None
    jobs.check_fence(tx, claim)
    changes.lock_sequence(tx, claim.tenant_id)
    upload = tx.session.get_one(Upload, claim.upload_id, populate_existing=True)
    if upload.added_seq is not None:
        return True
    models = catalog.models_over(tx, [upload.cohort_id], states=("ready",))
    if any(folding.shards_without_features(tx, model.id, upload_id=upload.id) for model in models):
        return False
    upload.state = "added"
    kind = changes.CORRECTED if upload.corrects else changes.ADDED
    upload.added_seq = changes.next_change(
        tx, upload.tenant_id, kind, upload_id=upload.id, request_id=upload.request_id
    )
    if upload.corrects:
        corrections.apply(tx, upload)
    for model in models:
        jobs.add_advance(tx, upload.tenant_id, model.id)
    return True


def added_facts(tx: Transaction, upload_id: str) -> dict[str, Any]:
    """Return what the job of an upload tells: how much of it the core holds too, and a correction's request."""
    upload = tx.session.get_one(Upload, upload_id)
    facts: dict[str, Any] = {"in_core": contents.in_core_of_upload(tx, upload_id)}
    if upload.request_id is not None:
        facts["forget_request"] = upload.request_id
    return facts


def make_ready(tx: Transaction, claim: jobs.Claim) -> bool:
    """Declare the model ready and ask for its first version, once no added upload lacks features. Else False."""
    assert claim.model_id is not None
    jobs.check_fence(tx, claim)
    changes.lock_sequence(tx, claim.tenant_id)
    if folding.shards_without_features(tx, claim.model_id):
        return False
    model = generations.require_alive(tx, claim.model_id)
    if model.state != "ready":
        model.state, model.error = "ready", None
        events.append(tx, claim.tenant_id, "model.ready", model.id, core=model.public_digest)
        jobs.add_advance(tx, claim.tenant_id, model.id)
    return True
