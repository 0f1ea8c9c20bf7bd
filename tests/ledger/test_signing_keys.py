"""Signing keys: one signs, rotations survive crashes at every step, and revocations say from when on."""

from __future__ import annotations

import base64
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from support.clock import FixedClock
from support.locks import waiters
from support.waiting import wait_until
from support.world import NewWorld, World

from evidence.checkpoint import open_checkpoint
from evidence.errors import NoteUnsigned
from evidence.key_list import HANDOVER, follow, read_key
from evidence.signed_note import NoteKey
from ledger import certificates, events, signing_keys
from ledger.dsse import envelope_signed_by
from ledger.errors import DowngradeRefused, KeyUnavailable, SigningKeyRefused
from ledger.key_rotation import rotate
from ledger.keys import KeyRing, signers_in
from ledger.ledger import open_ledger
from ledger.log import proofs
from ledger.log.sequencer import lock_log, sequence
from ledger.log.verify import LogKey, verify_log
from ledger.migrate import downgrade, upgrade
from ledger.settings import LedgerSettings
from ledger.signing_keys import KnownKey
from ledger.tables import Event, LogState
from service.key_lists import described

POINTS = ("key_written", "announced", "placed", "activated", "destroyed")


class Killed(BaseException):
    """The process was killed here."""


def kill_at(point: str) -> object:
    def at(name: str) -> None:
        if name == f"rotate.{point}":
            raise Killed

    return at


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    found = new_world(database_url, core_people=1)
    sequence(found.ledger.database, found.ledger.ring)
    return found


def keys(world: World) -> dict[str, KnownKey]:
    with world.ledger.database.read() as tx:
        return {key.key_id: key for key in signing_keys.known(tx, world.ledger.ring)}


def states(world: World) -> list[str]:
    return [key.state for key in keys(world).values()]


def files(world: World) -> dict[str, str]:
    """The key files by the id of what is in them; a ring opened anew, as a process that starts would."""
    return {signer.key_id(): path.name for path, signer in signers_in(world.ledger.ring.directory)}


def signs(world: World) -> str:
    """The key that signs, as a process that starts now finds it."""
    ring = KeyRing.open(world.ledger.ring.directory, random=os.urandom)
    with world.ledger.database.read() as tx:
        return signing_keys.signer(tx, ring).key_id()


def newest_signers(world: World) -> set[str]:
    """The keys that have signed the newest checkpoint."""
    with world.ledger.database.read() as tx:
        note, origin = proofs.newest_checkpoint(tx).note, tx.session.get_one(LogState, 1).origin
    found = set()
    for key in keys(world).values():
        try:
            open_checkpoint(note, NoteKey(origin, key.public))
        except NoteUnsigned:
            continue
        found.add(key.key_id)
    return found


def something_happens(world: World) -> None:
    with world.ledger.database.begin() as tx:
        events.append(tx, world.tenant_id, "test.happened", "0" * 32)
    sequence(world.ledger.database, world.ledger.ring)


def test_a_rotation_hands_over_and_destroys_the_old_private_half(world: World) -> None:
    first = signs(world)
    announced = rotate(world.ledger, only_announce=True).key_id
    assert (signs(world), states(world)) == (first, ["active", "announced"])
    something_happens(world)
    assert newest_signers(world) == {first, announced}
    done = rotate(world.ledger)
    assert (done.key_id, done.announced) == (announced, False)
    assert (signs(world), states(world)) == (announced, ["retired", "active"])
    assert newest_signers(world) == {announced}
    name = f"signing-{announced}.key"
    assert files(world) == {announced: name}
    directory = world.ledger.ring.directory
    assert sorted(path.name for path in directory.iterdir()) == sorted(["master.key", name])
    assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600
    row = keys(world)[first].row
    assert row is not None
    assert row.retired_at is not None
    assert row.destroyed_at is not None
    third = rotate(world.ledger).key_id
    assert (signs(world), states(world)) == (third, ["retired", "retired", "active"])


def test_the_ledger_with_the_old_key_in_memory_signs_with_the_new_one(world: World) -> None:
    """Servers and workers go on running while the key changes."""
    new = rotate(world.ledger).key_id
    assert world.ledger.ring.key_id() != new
    with world.ledger.database.read() as tx:
        envelope = certificates.sign({"a": 1}, signing_keys.signer(tx, world.ledger.ring))
    assert f'"keyid":"{new}"'.encode() in envelope


def test_everything_that_was_signed_stays_verifiable(world: World) -> None:
    first = keys(world)[signs(world)]
    rotate(world.ledger)
    something_happens(world)
    with world.ledger.database.read() as tx:
        both = [LogKey(key.public) for key in keys(world).values()]
        assert verify_log(tx, both).findings == []
        alone = verify_log(tx, first.public).findings
    assert any("no signature line names this key" in finding for finding in alone)


def test_whoever_kept_the_first_key_is_led_to_the_newest(world: World) -> None:
    first = read_key(keys(world)[signs(world)].pem())
    rotate(world.ledger)
    newest = rotate(world.ledger).key_id
    listed = [described(key) for key in keys(world).values()]
    text = json.dumps({"items": listed})
    assert [key.key_id for key in follow([first], text, revoked=())] == list(keys(world))
    assert [key.key_id for key in follow([first], text, revoked=[first.key_id])] == [first.key_id]
    forged = json.dumps({"items": [listed[0], {**listed[2], "handover": listed[1]["handover"]}]})
    assert newest not in [key.key_id for key in follow([first], forged, revoked=())]
    said = json.loads(base64.b64decode(listed[2]["handover"]["payload"]))
    own_word = envelope_signed_by(
        json.dumps({**said, "old": first.key_id}).encode(), HANDOVER, [world.ledger.ring.signer(newest)]
    )
    forged = json.dumps({"items": [listed[0], {**listed[2], "handover": json.loads(own_word)}]})
    assert [key.key_id for key in follow([first], forged, revoked=())] == [first.key_id], "nobody vouches for itself"


def test_the_hand_over_is_an_event_with_a_proof(world: World) -> None:
    first = signs(world)
    new = rotate(world.ledger).key_id
    with world.ledger.database.begin() as tx:
        signing_keys.revoke(tx, world.ledger.ring, first, reason="superseded")
    with world.ledger.database.read() as tx:
        query = select(Event.body).where(Event.kind.like("signing_key.%")).order_by(Event.id)
        bodies = [json.loads(body) for body in tx.session.execute(query).scalars()]
        assert proofs.of_announcement(tx, new) is not None
        assert proofs.of_announcement(tx, first) is None
    assert [(body["kind"], body["subject"]) for body in bodies] == [
        ("signing_key.announced", new),
        ("signing_key.activated", new),
        ("signing_key.revoked", first),
    ]
    always = {"v", "tenant", "kind", "subject", "at"}
    assert [body.keys() - always for body in bodies] == [
        {"public_key", "replaces", "handover", "old_key_signed"},
        {"replaces"},
        {"reason", "not_after", "log_size"},
    ], "whoever adds a fact must think about what it tells"


def test_a_rotation_that_dies_leaves_a_key_that_signs_and_can_be_repeated(world: World) -> None:
    for point in POINTS:
        first, before = signs(world), len(keys(world))
        with pytest.raises(Killed):
            rotate(world.ledger, point=kill_at(point))  # type: ignore[arg-type]  # a function that raises
        between = signs(world)
        assert between in files(world), point
        something_happens(world)
        assert between in newest_signers(world), point
        done = rotate(world.ledger)
        assert (done.key_id != first, done.announced) == (True, False), point
        if point != "destroyed":  # then it was over; else it was the same rotation, not another
            assert len(keys(world)) == before + 1, point
        assert (signs(world), list(files(world))) == (done.key_id, [done.key_id]), point
    something_happens(world)
    with world.ledger.database.read() as tx:
        assert verify_log(tx, [LogKey(key.public) for key in keys(world).values()]).findings == []


@pytest.mark.parametrize("at", ["key_written", "placed"])
def test_keys_change_only_while_nobody_else_writes_the_log(
    new_world: NewWorld, fresh_postgres_database: str, at: str
) -> None:
    world = new_world(fresh_postgres_database, core_people=1)
    database = world.ledger.database
    with ThreadPoolExecutor(1) as pool, ExitStack() as others:

        def point(name: str) -> None:
            if name == f"rotate.{at}":
                lock_log(others.enter_context(database.begin()))

        rotating = pool.submit(rotate, world.ledger, point=point)
        wait_until(lambda: waiters(database) or rotating.done(), 30, "the rotation to wait")
        assert not rotating.done()
        assert (signing_keys.ANNOUNCED in states(world)) == (at == "placed")
        others.close()
        rotating.result(timeout=60)
    assert states(world).count(signing_keys.ACTIVE) == 1


def test_dying_while_a_file_is_destroyed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("ledger.key_rotation._sweep", die)
    with pytest.raises(Killed):
        rotate(world.ledger)
    monkeypatch.undo()
    assert signs(world) in files(world)
    assert len(files(world)) == 1
    rotate(world.ledger)
    assert len(list(world.ledger.ring.directory.iterdir())) == 2


def test_a_key_file_that_a_crash_left_is_used_by_the_next_rotation(world: World) -> None:
    with pytest.raises(Killed):
        rotate(world.ledger, point=kill_at("key_written"))  # type: ignore[arg-type]  # a function that raises
    (left,) = set(files(world)) - {signs(world)}
    assert rotate(world.ledger).key_id == left


def test_a_lost_key_is_said_and_replaced(world: World) -> None:
    first = signs(world)
    with pytest.raises(SigningKeyRefused, match="is there"):
        rotate(world.ledger, old_is_lost=True)
    (world.ledger.ring.directory / "signing.key").unlink()
    restarted = KeyRing.open(world.ledger.ring.directory, random=os.urandom)  # makes a key that nothing refers to
    with world.ledger.database.read() as tx, pytest.raises(KeyUnavailable, match=first):
        signing_keys.signer(tx, restarted)
    ledger = replace(world.ledger, ring=restarted)
    with pytest.raises(KeyUnavailable):
        rotate(ledger)
    new = rotate(ledger, old_is_lost=True).key_id
    assert new == restarted.key_id()
    assert (signs(world), states(world)) == (new, ["retired", "active"])
    listed = {key_id: described(key) for key_id, key in keys(world).items()}
    kept = [read_key(listed[first]["public_key_pem"])]
    assert follow(kept, json.dumps({"items": list(listed.values())}), revoked=()) == kept


def test_before_there_is_a_tenant_nothing_is_rotated(tmp_path: Path, clock: FixedClock) -> None:
    settings = LedgerSettings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with closing(open_ledger(settings, clock=clock, random=os.urandom)) as ledger:
        upgrade(ledger.database.engine)
        with pytest.raises(SigningKeyRefused, match="no tenant yet"):
            rotate(ledger)


def test_an_announced_key_that_is_lost_is_given_up(world: World) -> None:
    announced = rotate(world.ledger, only_announce=True).key_id
    (world.ledger.ring.directory / f"signing-{announced}.key").unlink()
    something_happens(world)
    assert announced not in newest_signers(world)
    done = rotate(world.ledger)
    assert done.key_id != announced
    assert states(world) == ["retired", "retired", "active"]


def test_a_revocation_names_the_size_that_the_log_had(world: World) -> None:
    first = signs(world)
    with world.ledger.database.begin() as tx, pytest.raises(SigningKeyRefused, match="rotate first"):
        signing_keys.revoke(tx, world.ledger.ring, first, reason="key_compromise")
    something_happens(world)
    with world.ledger.database.read() as tx:
        before, then = proofs.newest_checkpoint(tx).size, tx.now
    something_happens(world)
    rotate(world.ledger)
    with world.ledger.database.begin() as tx:
        row = signing_keys.revoke(tx, world.ledger.ring, first, reason="key_compromise", not_after=then)
    assert (row.state, row.trusted_size, row.not_after) == ("revoked", before, then)
    for reason, until, why in (
        ("key_compromise", then, "was revoked before"),
        ("key_compromise", 2**60, "not in the future"),
        ("because", then - 1, "no reason 'because'"),
    ):
        with world.ledger.database.begin() as tx, pytest.raises(SigningKeyRefused, match=why):
            signing_keys.revoke(tx, world.ledger.ring, first, reason=reason, not_after=until)
    with world.ledger.database.begin() as tx:
        signing_keys.revoke(tx, world.ledger.ring, first, reason="key_compromise", not_after=1)
    with world.ledger.database.read() as tx:
        assert [(row.id, row.trusted_size) for row in signing_keys.revoked(tx)] == [(first, 0)]


def test_a_log_that_only_a_revoked_key_vouches_for_is_said(world: World) -> None:
    something_happens(world)
    with world.ledger.database.read() as tx:
        public = keys(world)[signs(world)].public
        assert verify_log(tx, [LogKey(public)]).findings == []
        (finding,) = verify_log(tx, [LogKey(public, revoked=True)]).findings
    assert "no checkpoint speaks of entries 0" in finding


def test_going_back_to_an_older_program_is_refused_after_a_rotation(world: World) -> None:
    engine = world.ledger.database.engine
    downgrade(engine, "0014")
    upgrade(engine)
    something_happens(world)
    assert states(world) == ["active"]
    rotate(world.ledger)
    with pytest.raises(DowngradeRefused, match="rotated"):
        downgrade(engine, "0014")
