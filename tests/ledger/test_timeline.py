"""What is told about an erasure afterwards: its events, the versions before and after, the cohort, the proofs."""

from __future__ import annotations

import pytest
from support.world import CLASSES, NewWorld, World, person

from evidence.merkle import leaf_hash
from evidence.tlog_proof import check_tlog_proof
from ledger import catalog, cohort_overview, tenants, timeline
from ledger.errors import NotFound
from ledger.log import lookup
from ledger.log.sequencer import note_key, sequence
from ledger.tables import LogState


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    """A world in which two people stand in a model, one is on hold, and one was forgotten."""
    world = new_world(database_url)
    world.upload(person("zebedee"), person("barnaby"), person("quentin"))
    world.register(evaluation_cohort_id=world.core_id)
    world.work()
    world.hold("quentin")
    return world


def test_an_erasure_is_told_afterwards(world: World) -> None:
    request_id = world.forget("zebedee")
    with world.ledger.database.read() as tx:
        assert timeline.transitions(tx, request_id) == []
    world.work()
    sequence(world.ledger.database, world.ledger.ring)
    with world.ledger.database.begin() as tx:
        other = tenants.create_tenant(tx, world.ledger.ring, "other").id
    with world.ledger.database.read() as tx:
        (passed,) = timeline.transitions(tx, request_id)
        assert passed.before is not None
        assert passed.after is not None
        assert (passed.before.number, passed.after.number) == (1, 2)
        assert passed.before.measured is None  # it died with the version
        assert passed.after.measured is not None

        told = timeline.about(tx, world.tenant_id, [request_id])
        kinds = [entry.kind for entry in told]
        assert kinds == [
            "forget.accepted", "forget.resolved", "forget.published", "forget.purging", "forget.completed",
        ]  # fmt: skip
        assert told[0].facts["selector"] == "subjects"
        assert "subject" not in told[0].facts
        assert timeline.about(tx, other, [request_id]) == []

        assert [entry.kind for entry in lookup.find(tx, world.tenant_id, request_id, limit=9)] == kinds[::-1]
        assert lookup.newest(tx, world.tenant_id, limit=2)[0].event_id >= told[-1].event_id
        (same,) = lookup.find(tx, world.tenant_id, str(told[0].event_id), limit=9)
        assert same == told[0]
        assert lookup.find(tx, world.tenant_id, "9" * 19, limit=9) == []
        assert lookup.find(tx, other, request_id, limit=9) == []
        assert lookup.find(tx, other, str(told[0].event_id), limit=9) == []
        assert lookup.newest(tx, other, limit=9) == []

        proof, leaf = lookup.proof(tx, world.tenant_id, told[0].event_id)
        assert proof.index == told[0].position
        state = tx.session.get_one(LogState, 1)
        check_tlog_proof(proof.text(), leaf, note_key(state.origin, world.ledger.ring))
        assert leaf == leaf_hash(proof.extra)
        with pytest.raises(NotFound):
            lookup.proof(tx, other, told[0].event_id)

        user = catalog.get_cohort(tx, world.tenant_id, world.user_id)
        core = catalog.get_cohort(tx, world.tenant_id, world.core_id)
        assert cohort_overview.by_class(tx, user) is None
        counted = cohort_overview.by_class(tx, core)
        assert counted is not None
        assert len(counted) == len(CLASSES)
        assert sum(counted) == catalog.count_records(tx, core.id)
        assert cohort_overview.on_hold(tx, user) == 3
        assert cohort_overview.on_hold(tx, core) == 0
        assert [use.how for use in cohort_overview.uses(tx, user)] == ["user"]
        assert [use.how for use in cohort_overview.uses(tx, core)] == ["core and evaluation"]
        assert [upload.records for upload in cohort_overview.uploads(tx, user.id, limit=5)] == [9]
        model = catalog.get_model(tx, world.tenant_id, world.model_id)
        assert [how for how, _ in cohort_overview.cohorts_of(tx, model)] == ["core", "evaluation", "user"]
