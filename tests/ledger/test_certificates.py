"""Certificates: what they state, and that no byte of them can be changed."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import null, update
from support.world import NewWorld, World, person

from ledger import certificates, dsse, receipts, requests
from ledger.errors import NotFound, SignatureInvalid
from ledger.keys import KeyRing
from ledger.moments import rfc3339
from ledger.tables import Model
from workers.models import load_public

PEOPLE = [person(f"person-{i}") for i in range(4)]


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url)
    world.upload(*PEOPLE)
    return world


def certificate(world: World, request_id: str) -> bytes:
    with world.ledger.database.read() as tx:
        return certificates.get(tx, world.tenant_id, request_id)


def statement(world: World, request_id: str) -> dict:  # type: ignore[type-arg]  # JSON
    payload = dsse.verify_envelope(
        certificate(world, request_id), world.ledger.ring.public_key_pem(), payload_type=certificates.PAYLOAD_TYPE
    )
    return json.loads(payload)  # type: ignore[no-any-return]  # JSON


def test_what_it_states(world: World) -> None:
    models = [world.register("b"), world.register("a", feature_map="pooled")]
    world.work()
    request_id = world.forget("person-1", "person-2")
    world.work()
    request, said = world.request(request_id), statement(world, request_id)
    assert (said["_type"], said["predicateType"]) == (certificates.STATEMENT_TYPE, certificates.PREDICATE_TYPE)
    predicate = said["predicate"]
    assert predicate["outcome"] == "erased"
    assert predicate["request"] == {
        "id": request_id,
        "selector": "subjects",
        "regulation": "gdpr",
        "received_at": rfc3339(request.received_at),
        "due_at": rfc3339(request.due_at),
        "extended_at": None,
        "published_at": rfc3339(request.published_at or 0),
        "completed_at": rfc3339(request.completed_at or 0),
    }
    assert predicate["erased_live_at"] == rfc3339(request.erased_at or 0)
    days = world.deps.backup_days * 86_400_000_000
    assert predicate["unrecoverable_from_backups_after"] == rfc3339((request.erased_at or 0) + days)
    assert predicate["facts"]["unserved"]["since"] == rfc3339(request.unserved_at or 0)
    versions = {model_id: world.active(model_id) for model_id in models}
    assert [fact["model"] for fact in predicate["models"]] == sorted(models)
    for subject, fact in zip(said["subject"], predicate["models"], strict=True):
        version = versions[fact["model"]]
        assert fact["version"] == version.number == 2
        assert fact["anchor_version"] == 1
        assert subject["digest"] == {"hmac-sha256": version.weights_commitment}
        assert fact["statistics_commitment"] == version.statistics_commitment
        assert fact["checks"]["transition"] == fact["checks"]["residual"] == "pass"
        public = load_public(world.deps, fact["model"])
        assert (fact["public_digest"], fact["digests"]) == (public.digest(), public.digests())
    assert len({digest for fact in predicate["models"] for digest in fact["digests"].values()}) > 3
    assert predicate["code"] == world.deps.code
    assert predicate["commitments"]["named"] == request.commitment
    assert predicate["revocation"] == {"certificates": "/v1/revocations", "keys": "/v1/signing-keys"}


def test_it_says_what_is_kept_why_and_for_how_long(world: World) -> None:
    named, all_of_them = world.forget("person-1"), world.forget(everything=True)
    world.work()
    kept = {request: statement(world, request)["predicate"]["retained"] for request in (named, all_of_them)}
    for request, things in kept.items():
        assert all(thing["what"] and thing["purpose"] and thing["ends"] for thing in things)
        (salts,) = [thing for thing in things if "salts" in thing["what"]]
        assert salts["until"] == rfc3339((world.request(request).completed_at or 0) + receipts.KEPT_US)
    suppressed = [[thing for thing in things if "uploaded again" in thing["purpose"]] for things in kept.values()]
    assert [len(things) for things in suppressed] == [1, 0]


def test_a_correction_commits_to_no_name(world: World) -> None:
    world.register()
    world.work()
    changed = person("person-1")
    world.upload(replace(changed, x=changed.x + 1), corrects=True)
    world.work()
    with world.ledger.database.read() as tx:
        (request,) = [row for row in requests.list_newest(tx, world.tenant_id) if row.selector_kind == "correction"]
    said = statement(world, request.id)["predicate"]
    assert (said["commitments"]["named"], said["commitments"]["receipts"]) == (None, False)
    assert not any("salts" in thing["what"] for thing in said["retained"])


def test_digests_of_an_older_model_are_made_when_they_are_needed(world: World) -> None:
    world.register()
    world.work()
    with world.ledger.database.begin() as tx:
        made = tx.session.get_one(Model, world.model_id).public_digests
        tx.session.execute(update(Model).values(public_digests=null()))
    assert made is not None
    request_id = world.forget("person-1")
    world.work()
    assert statement(world, request_id)["predicate"]["models"][0]["digests"] == made


def test_it_says_nothing_that_was_measured_and_nothing_about_whom(world: World) -> None:
    world.register()
    world.work()
    request_id = world.forget("person-1")
    world.work()
    text = json.dumps(statement(world, request_id))
    assert "person-1" not in text
    for measured in ('"records"', "accuracy", "seconds", "aliases", "hmac\\"):
        assert measured not in text


def test_without_a_model_it_still_says_that_the_records_are_gone(world: World) -> None:
    request_id = world.forget("person-1")
    world.work()
    said = statement(world, request_id)
    assert (said["subject"], said["predicate"]["models"]) == ([], [])
    assert said["predicate"]["facts"]["gone"]["holds"] is True


def test_there_is_none_for_others_and_none_before_completion(world: World) -> None:
    request_id = world.forget("person-1")
    with world.ledger.database.read() as tx, pytest.raises(NotFound):
        certificates.get(tx, world.tenant_id, request_id)
    world.work()
    with world.ledger.database.read() as tx, pytest.raises(NotFound):
        certificates.get(tx, "0" * 32, request_id)


def test_every_flipped_bit_of_the_content_and_the_signature_is_noticed(world: World) -> None:
    request_id = world.forget("person-1")
    world.work()
    envelope = json.loads(certificate(world, request_id))
    pem = world.ledger.ring.public_key_pem()
    payload = base64.b64decode(envelope["payload"])
    signature = base64.b64decode(envelope["signatures"][0]["sig"])

    def verify(new_payload: bytes, new_signature: bytes, kind: str = envelope["payloadType"]) -> None:
        changed = {
            **envelope,
            "payloadType": kind,
            "payload": base64.b64encode(new_payload).decode(),
            "signatures": [{**envelope["signatures"][0], "sig": base64.b64encode(new_signature).decode()}],
        }
        dsse.verify_envelope(json.dumps(changed).encode(), pem, payload_type=certificates.PAYLOAD_TYPE)

    verify(payload, signature)

    @settings(deadline=None, max_examples=300)
    @given(st.integers(0, 8 * len(payload) - 1))
    def flip_content(bit: int) -> None:
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureInvalid):
            verify(bytes(changed), signature)

    flip_content()
    for bit in range(8 * len(signature)):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureInvalid):
            verify(payload, bytes(changed))
    for cut in (payload[:-1], payload + b" ", b""):
        with pytest.raises(SignatureInvalid):
            verify(cut, signature)
    with pytest.raises(SignatureInvalid):
        verify(payload, signature, "application/json")


def test_a_changed_byte_of_the_envelope_is_noticed_or_changes_nothing(world: World) -> None:
    """Base64 and JSON have spare spellings; whatever still verifies must carry exactly the signed content."""
    request_id = world.forget("person-1")
    world.work()
    envelope, pem = certificate(world, request_id), world.ledger.ring.public_key_pem()
    content = dsse.verify_envelope(envelope, pem, payload_type=certificates.PAYLOAD_TYPE)
    for position in range(0, len(envelope), 7):
        changed = bytearray(envelope)
        changed[position] ^= 1
        try:
            seen = dsse.verify_envelope(bytes(changed), pem, payload_type=certificates.PAYLOAD_TYPE)
        except SignatureInvalid:
            continue
        assert seen == content


def test_another_installations_key_does_not_verify_it(world: World, new_world: NewWorld) -> None:
    request_id = world.forget("person-1")
    world.work()
    stranger: KeyRing = new_world(core_people=1).ledger.ring
    with pytest.raises(SignatureInvalid):
        dsse.verify_envelope(
            certificate(world, request_id), stranger.public_key_pem(), payload_type=certificates.PAYLOAD_TYPE
        )


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_769_860_800_000_001, "2026-01-31T12:00:00.000001Z"),
        (4_102_444_799_999_999, "2099-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_written_to_the_microsecond(micros: int, text: str) -> None:
    assert rfc3339(micros) == text
