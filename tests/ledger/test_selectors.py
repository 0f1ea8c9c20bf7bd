"""Selectors: what a request names, how it is stored, and which records it finds."""

from __future__ import annotations

import hashlib
import json

import pytest
from sqlalchemy import false, select
from support.world import CLASSES, SHAPE, NewWorld, World, person

from ledger import catalog, filing, requests, selectors, tenants, uploads
from ledger.errors import CoreNeverForgotten, InvalidIdentifier, NotFound, SelectorInvalid
from ledger.selectors import MOST_NAMED, Selector, SubjectName
from ledger.tables import ForgetRequest, Record, Subject
from ledger.uploads import NewRecord

ADDRESS = "Ann.Example@Example.com"
NORMAL = "ann.example@example.com"


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def cohort(world: World, name: str, kind: str = "user") -> str:
    with world.ledger.database.begin() as tx:
        return catalog.create_cohort(
            tx, world.tenant_id, name=name, kind=kind, shape=SHAPE, dtype="float32", class_names=CLASSES
        ).id


def send(world: World, *rows: tuple[str | None, str | None, int], cohort_id: str | None = None) -> None:
    """Store records given as (e-mail, id, class index)."""
    with world.ledger.database.read() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
    upload_id = uploads.begin(world.ledger, world.tenant_id, cohort_id or world.user_id)
    new = [NewRecord(0, label, bytes(24), name, subject) for subject, name, label in rows]
    uploads.store_chunk(world.ledger, hasher, upload_id, new, subject_type="email")
    uploads.finish(world.ledger, upload_id)


def forget(world: World, selector: Selector) -> str:
    with world.ledger.database.begin() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        return filing.accept(tx, world.tenant_id, selector, hasher, regulation="gdpr").id


def found(world: World, selector: Selector) -> int:
    """Accept and resolve a request; return how many records it found."""
    request_id = forget(world, selector)
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    return world.request(request_id).records or 0


def email(value: str, form: str = "raw") -> Selector:
    return Selector(subjects=(SubjectName("email", form, value),))


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("raw", ADDRESS),
        ("raw", f"  {ADDRESS.upper()} "),
        ("raw", NORMAL),
        *((form, hashlib.new(form, NORMAL.encode()).hexdigest()) for form in ("md5", "sha1", "sha256")),
        ("sha256", hashlib.sha256(NORMAL.encode()).hexdigest().upper()),
    ],
)
def test_a_person_is_found_by_address_or_hash_whatever_the_spelling(world: World, form: str, value: str) -> None:
    send(world, (f" {ADDRESS}", "1", 0), (NORMAL, "2", 1), ("bob@example.com", "1", 1))
    assert found(world, email(value, form)) == 2


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("raw", "an.example@example.com"),
        ("sha256", hashlib.sha256(ADDRESS.encode()).hexdigest()),
        ("sha256", hashlib.sha256(b"bob").hexdigest()),
        ("md5", hashlib.md5(b"bob", usedforsecurity=False).hexdigest()),
    ],
)
def test_somebody_else_is_not(world: World, form: str, value: str) -> None:
    send(world, (ADDRESS, "1", 0))
    assert found(world, email(value, form)) == 0


def test_the_same_text_as_another_type_of_identifier_is_somebody_else(world: World) -> None:
    send(world, (NORMAL, "1", 0))
    assert found(world, Selector(subjects=(SubjectName("controller_customer_id", "raw", NORMAL),))) == 0


def test_several_people_in_one_request(world: World) -> None:
    send(world, ("a@x.org", "1", 0), ("b@x.org", "1", 0), ("c@x.org", "1", 0))
    both = Selector(subjects=tuple(SubjectName("email", "raw", f"{who}@x.org") for who in "abz"))
    assert found(world, both) == 2


def test_a_person_is_found_in_all_user_cohorts_or_in_those_named(world: World) -> None:
    other, third = cohort(world, "second"), cohort(world, "third")
    for cohort_id in (world.user_id, other, third):
        send(world, ("a@x.org", "1", 0), ("b@x.org", "1", 0), cohort_id=cohort_id)
    assert found(world, Selector(subjects=(SubjectName("email", "raw", "a@x.org"),), cohort_ids=(other, other))) == 1
    assert found(world, email("a@x.org")) == 3  # the one that was found before is counted too
    assert found(world, Selector(everything=True, cohort_ids=(world.user_id, third))) == 4


def test_records_are_found_by_their_ids_within_cohorts(world: World) -> None:
    other = cohort(world, "second")
    for cohort_id in (world.user_id, other):
        send(world, ("a@x.org", "1", 0), ("b@x.org", "1", 0), ("b@x.org", "2", 0), (None, None, 0), cohort_id=cohort_id)
    assert found(world, Selector(record_ids=("1", "1"), cohort_ids=(other,))) == 2
    assert found(world, Selector(record_ids=(" 2 ", "3"))) == 2
    assert found(world, Selector(record_ids=("nothing",))) == 0


def test_labels_select_whole_classes(world: World) -> None:
    send(world, ("a@x.org", "1", 0), ("b@x.org", "1", 1), ("b@x.org", "2", 2))
    assert found(world, Selector(labels=(0, 2))) == 2
    for label in (-1, len(CLASSES)):
        with pytest.raises(SelectorInvalid):
            forget(world, Selector(labels=(label,)))


def test_everything_means_all_users_and_no_core(world: World) -> None:
    send(world, ("a@x.org", "1", 0), (None, "9", 1), (None, None, 1))
    assert found(world, Selector(everything=True)) == 3
    with world.ledger.database.read() as tx:
        kept = tx.session.execute(select(Record).where(Record.removed_seq.is_(None))).scalars().all()
        assert {record.cohort_id for record in kept} == {world.core_id}


def test_a_record_that_came_after_the_request_is_not_forgotten(world: World) -> None:
    send(world, ("a@x.org", "1", 0))
    late = uploads.begin(world.ledger, world.tenant_id, world.user_id)
    ids = [forget(world, email("a@x.org")), forget(world, Selector(everything=True))]
    with world.ledger.database.read() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
    row = NewRecord(0, 0, bytes(24), "2", "a@x.org")
    uploads.store_chunk(world.ledger, hasher, late, [row], subject_type="email")
    uploads.finish(world.ledger, late)
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    assert [world.request(i).records for i in ids] == [1, 1]
    assert found(world, email("a@x.org")) == 2


@pytest.mark.parametrize(
    "selector",
    [
        Selector(),
        Selector(cohort_ids=("x",)),
        Selector(labels=(1,), everything=True),
        Selector(record_ids=("1",), labels=(1,)),
        Selector(subjects=(SubjectName("email", "raw", "a@x.org"),), record_ids=("1",)),
        Selector(record_ids=tuple(str(i) for i in range(MOST_NAMED + 1))),
    ],
)
def test_a_request_selects_in_exactly_one_way_and_not_too_much(world: World, selector: Selector) -> None:
    with pytest.raises(SelectorInvalid):
        forget(world, selector)
    with world.ledger.database.read() as tx:
        assert not tx.session.execute(select(ForgetRequest)).all()


def test_ids_times_cohorts_stay_within_what_a_statement_can_hold(world: World) -> None:
    """Every id has a key of its own in every cohort. A request that cannot be resolved would hold up all others."""
    for n in range(6):
        cohort(world, f"cohort {n}")
    names = tuple(f"{i}" for i in range(MOST_NAMED))
    with pytest.raises(SelectorInvalid):
        forget(world, Selector(record_ids=names))
    send(world, (None, "77", 0))
    assert found(world, Selector(record_ids=names, cohort_ids=(world.user_id,))) == 1


def test_the_most_people_that_may_be_named_can_be_resolved(world: World) -> None:
    send(world, ("7@x.org", "77", 0))
    everybody = tuple(SubjectName("email", "raw", f"{n}@x.org") for n in range(MOST_NAMED))
    assert found(world, Selector(subjects=everybody)) == 1


def test_core_and_unknown_cohorts_and_those_of_others_are_refused(world: World) -> None:
    with world.ledger.database.begin() as tx:
        stranger = tenants.create_tenant(tx, world.ledger.ring, "stranger")
        theirs = catalog.create_cohort(
            tx, stranger.id, name="user", kind="user", shape=SHAPE, dtype="float32", class_names=CLASSES
        ).id
    with pytest.raises(CoreNeverForgotten):
        forget(world, Selector(everything=True, cohort_ids=(world.user_id, world.core_id)))
    for cohort_id in ("0" * 32, theirs):
        with pytest.raises(NotFound):
            forget(world, Selector(everything=True, cohort_ids=(cohort_id,)))


@pytest.mark.parametrize(
    "name",
    [
        SubjectName("email", "raw", " "),
        SubjectName("email", "sha256", "abc"),
        SubjectName("email", "crc", "a"),
        SubjectName("no type!", "raw", "a"),
    ],
)
def test_malformed_identifiers_are_refused(world: World, name: SubjectName) -> None:
    with pytest.raises(InvalidIdentifier):
        forget(world, Selector(subjects=(name,)))


def test_no_identifier_is_stored(world: World) -> None:
    send(world, (ADDRESS, "invoice-77", 0))
    stored = [
        world.request(forget(world, selector)).selector
        for selector in (email(ADDRESS), Selector(record_ids=("invoice-77",)))
    ]
    text = json.dumps(stored).lower()
    for form in (
        NORMAL,
        "invoice-77",
        *(hashlib.new(f, NORMAL.encode()).hexdigest() for f in ("md5", "sha1", "sha256")),
    ):
        assert form not in text
    with world.ledger.database.read() as tx:
        assert len(tx.session.execute(select(Subject)).all()) == 1


def test_another_tenant_with_the_same_person_is_not_touched(world: World) -> None:
    send(world, ("a@x.org", "1", 0))
    world.upload(person("x"))
    with world.ledger.database.begin() as tx:
        stranger = tenants.create_tenant(tx, world.ledger.ring, "stranger")
        catalog.create_cohort(
            tx, stranger.id, name="user", kind="user", shape=SHAPE, dtype="float32", class_names=CLASSES
        )
        hasher = tenants.alias_hasher(tx, world.ledger.ring, stranger.id)
        request = filing.accept(tx, stranger.id, email("a@x.org"), hasher, regulation="gdpr")
        filing.accept(tx, stranger.id, Selector(everything=True), hasher, regulation="gdpr")
        requests.resolve_accepted(tx, stranger.id)
        assert request.outcome == "no_match"
        assert not tx.session.execute(select(Record).where(Record.removed_seq.is_not(None))).all()


def test_somebody_unknown_is_not_looked_for_in_every_record(world: World) -> None:
    """An empty list of subjects would make the database read the whole cohort, for every such request."""
    request = world.request(world.forget("nobody"))
    with world.ledger.database.read() as tx:
        assert selectors.matches(tx, request).compare(false())
