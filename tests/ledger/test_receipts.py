"""Receipts: who gets one, what it opens, and when the salts die."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text, update
from support.issued import receipt_of
from support.world import NewWorld, World, person

from evidence.commitment import spelled
from evidence.errors import ReceiptRefused
from evidence.receipt import check_receipt
from ledger import certificates, dsse, filing, receipts, requests, tenants
from ledger.errors import InvalidIdentifier, NotFound, ObjectCorrupt, WrongState
from ledger.identity import normalise
from ledger.selectors import Selector, SubjectName
from ledger.tables import Receipt
from workers.sweeping import sweep


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url, core_people=1)
    world.upload(*(person(f"person-{i}") for i in range(3)))
    return world


def certified(world: World, request_id: str) -> str | None:
    """Return what the request's certificate commits to."""
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
    predicate = json.loads(dsse.verify_envelope(envelope, world.ledger.ring.public_key_pem()))["predicate"]
    named: str | None = predicate["commitments"]["named"]
    return named


def file(world: World, selector: Selector) -> str:
    with world.ledger.database.begin() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        request = filing.accept(tx, world.tenant_id, selector, hasher, regulation="gdpr")
        receipts.issue(tx, world.ledger.ring, request, selector)
        return request.id


def kept(world: World) -> list[tuple[str, bool]]:
    """Whose salts there are, and whether their time has begun to run out."""
    with world.ledger.database.read() as tx:
        rows = tx.session.execute(select(Receipt.request_id, Receipt.expires_at))
        return sorted((row.request_id, row.expires_at is not None) for row in rows)


def test_a_receipt_is_there_from_the_start_and_opens_the_certificate_later(world: World) -> None:
    request_id = world.forget("person-1", "person-2")
    early = [receipt_of(world, request_id, place) for place in (0, 1)]
    with pytest.raises(NotFound):
        receipt_of(world, request_id, 2)
    world.work()
    named = certified(world, request_id)
    assert [receipt_of(world, request_id, place) for place in (0, 1)] == early
    for receipt, name, other in zip(early, ("person-1", "person-2"), ("person-2", "person-1"), strict=True):
        check_receipt(receipt, named, name)
        with pytest.raises(ReceiptRefused):
            check_receipt(receipt, named, other)


@pytest.mark.parametrize(
    ("selector", "what", "name"),
    [
        (Selector(subjects=(SubjectName(" Email ", "raw", " Ada@X.org"),)), ("subject", "email", "raw"), "ada@x.ORG"),
        (Selector(subjects=(SubjectName("email", "md5", "AB" * 16),)), ("subject", "email", "md5"), "ab" * 16),
        (Selector(record_ids=("person-1/0",)), ("record",), "person-1/0"),
        (Selector(labels=(2, 1)), ("label",), "2"),
        (Selector(everything=True), ("everything",), "everything"),
    ],
)  # fmt: skip
def test_every_way_to_select_is_opened_by_what_was_named(
    new_world: NewWorld, selector: Selector, what: tuple[str, ...], name: str
) -> None:
    world = new_world(core_people=1)
    request_id = file(world, selector)
    receipt = receipt_of(world, request_id)
    assert receipt.what == what
    check_receipt(receipt, world.request(request_id).commitment, name)
    with pytest.raises(ReceiptRefused):
        check_receipt(receipt, world.request(request_id).commitment, name + "1")


def test_the_database_holds_no_name_and_no_salt(world: World) -> None:
    receipt = receipt_of(world, world.forget("person-1", "person-2"))
    with world.ledger.database.engine.connect() as connection:
        (sealed,) = connection.execute(text("SELECT sealed FROM receipts")).scalars()
        rows = repr(connection.execute(text("SELECT * FROM forget_requests")).all())
    sealed = bytes(sealed)
    for secret in (receipt.salt, receipt.leaf, b"person-1"):
        assert secret not in sealed
        assert secret.hex() not in rows + sealed.hex()
    assert receipt.commitment.hex() in rows


def test_a_seal_opens_only_where_its_commitment_is(world: World) -> None:
    mine, theirs = world.forget("person-1"), world.forget("person-2")
    with world.ledger.database.begin() as tx:
        sealed = tx.session.get_one(Receipt, theirs).sealed
        tx.session.execute(update(Receipt).where(Receipt.request_id == mine).values(sealed=sealed))
    with pytest.raises(ObjectCorrupt):
        receipt_of(world, mine)


def test_what_gets_no_certificate_keeps_no_salts(world: World) -> None:
    nobody, cancelled = world.forget("nobody"), world.forget("person-2")
    with world.ledger.database.begin() as tx:
        requests.cancel(tx, world.tenant_id, cancelled)
    assert kept(world) == [(nobody, False)]
    world.work()
    assert kept(world) == []
    assert world.request(nobody).outcome == "no_match"
    assert world.request(nobody).commitment is world.request(cancelled).commitment is None


def test_salts_die_thirty_days_after_the_completion(world: World) -> None:
    request_id = world.forget("person-1")
    world.work()
    with world.ledger.database.read() as tx:
        expires = tx.session.get_one(Receipt, request_id).expires_at or 0
        assert receipts.available(tx, [request_id]) == {request_id}
    assert expires - (world.request(request_id).completed_at or 0) == 30 * 86_400_000_000
    sweep(world.ledger)
    assert kept(world) == [(request_id, True)]
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Receipt).values(expires_at=tx.now))
    with world.ledger.database.read() as tx:
        assert receipts.available(tx, [request_id]) == frozenset()
    with pytest.raises(NotFound):
        receipt_of(world, request_id)
    sweep(world.ledger)
    assert kept(world) == []


def test_they_die_when_they_are_let_go_of_and_not_before_the_certificate_is_there(world: World) -> None:
    request_id = world.forget("person-1")
    fetched = receipt_of(world, request_id)
    with world.ledger.database.begin() as tx, pytest.raises(WrongState):
        receipts.let_go(tx, requests.get(tx, world.tenant_id, request_id))
    world.work()
    with world.ledger.database.begin() as tx:
        receipts.let_go(tx, requests.get(tx, world.tenant_id, request_id))
    assert kept(world) == []
    with pytest.raises(NotFound):
        receipt_of(world, request_id)
    with world.ledger.database.begin() as tx, pytest.raises(NotFound):
        receipts.let_go(tx, requests.get(tx, world.tenant_id, request_id))
    check_receipt(fetched, certified(world, request_id), "person-1")


def test_a_receipt_opens_the_certificate_of_the_request_that_follows_a_hold(world: World) -> None:
    hold = world.hold("person-1")
    stopped, partly = world.forget("person-1"), world.forget("person-1", "person-2")
    early = receipt_of(world, stopped)
    world.work()
    assert (world.request(stopped).outcome, world.request(partly).outcome) == ("on_hold", "erased")
    assert kept(world) == sorted([(stopped, False), (partly, False)])  # however long the hold lasts
    following = world.release(hold)
    assert kept(world) == sorted([(stopped, True), (partly, True), *((each, False) for each in following)])
    world.work()
    (again,) = [each for each in following if world.request(each).follows == stopped]
    check_receipt(early, certified(world, again), "person-1")
    assert receipt_of(world, again) == early
    (rest,) = [each for each in following if world.request(each).follows == partly]
    for request_id in (partly, rest):
        check_receipt(receipt_of(world, request_id, 0), certified(world, request_id), "person-1")


@given(st.text(max_size=40), st.sampled_from(["email", "controller_customer_id"]))
def test_an_outsider_spells_names_as_the_ledger_does(name: str, kind: str) -> None:
    try:
        normal = normalise(kind, name)
    except InvalidIdentifier:
        return
    assert spelled(("subject", kind, "raw"), name) == normal
