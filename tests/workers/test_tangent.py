"""Models with features per output, through the whole path: train, add, forget, prove, predict, rebuild."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from support.world import NewWorld, World, make_deps, person
from torch import from_numpy

from ledger import certificates, dsse, jobs
from ledger.tables import Job, Model
from unlearning.prediction import predict_logits
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from unlearning.weights import weights_from_bytes
from workers import models
from workers.deps import fold
from workers.runner import run_next

PEOPLE = [person(f"person-{i}") for i in range(6)]
MAPS = ("tangent", "tangent-random")
WIDTH = 24
Trained = Callable[..., World]


@pytest.fixture
def trained(new_world: NewWorld) -> Trained:
    """Build a service with a tangent model over these people."""

    def build(*people: object, feature_map: str = "tangent", **changes: object) -> World:
        world = new_world()
        world.upload(*people)
        world.register(feature_map=feature_map, width=WIDTH, **changes)
        world.work()
        return world

    return build


@pytest.mark.parametrize("feature_map", MAPS)
def test_forgetting_equals_never_having_seen(trained: Trained, feature_map: str) -> None:
    world = trained(*PEOPLE, feature_map=feature_map)
    before = world.statistics()
    request_id = world.forget("person-3")
    world.work()
    assert (world.request(request_id).state, world.request(request_id).outcome) == ("completed", "erased")
    never = trained(*(p for p in PEOPLE if p.name != "person-3"), feature_map=feature_map)
    assert world.statistics() != before
    assert world.statistics() == never.statistics()
    assert world.weights() == never.weights()
    statistics = Statistics.from_bytes(world.statistics())
    assert (statistics.width, statistics.columns, statistics.count) == (WIDTH, 1, 15)
    assert weights_from_bytes(world.weights()).shape == (WIDTH, 1)


def test_the_certificate_is_valid_and_names_the_map(trained: Trained) -> None:
    world = trained(*PEOPLE)
    request_id = world.forget("person-1")
    world.work()
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
    statement = json.loads(
        dsse.verify_envelope(envelope, world.ledger.ring.public_key_pem(), payload_type=certificates.PAYLOAD_TYPE)
    )
    assert all(fact["holds"] for fact in statement["predicate"]["facts"].values())
    assert '"tangent"' in json.dumps(statement)
    assert statement["subject"][0]["digest"]["hmac-sha256"] == world.active().weights_commitment


def test_a_mixed_history_ends_like_one_that_never_was(trained: Trained) -> None:
    world = trained(*PEOPLE[:4], mu=None, mu_grid=[1e-3, 1e-1, 10.0])
    world.forget("person-0")
    world.work()
    world.upload(*PEOPLE[4:])
    world.forget("person-4")
    world.work()
    world.forget("person-2")
    world.work()
    left = [p for p in PEOPLE if p.name not in ("person-0", "person-2", "person-4")]
    never = trained(*left, mu=None, mu_grid=[1e-3, 1e-1, 10.0])
    assert world.statistics() == never.statistics()
    assert world.weights() == never.weights()
    assert not world.jobs("failed")
    world.forget(everything=True)
    world.work()
    assert not weights_from_bytes(world.weights()).any()


def test_predictions_come_from_the_stored_features(trained: Trained) -> None:
    world = trained(*PEOPLE)
    with world.ledger.database.read() as tx:
        row = tx.session.get_one(Model, world.model_id)
    assert (row.feature_map, row.width) == ("tangent", WIDTH)
    public, weights = models.load_public(world.deps, world.model_id), weights_from_bytes(world.weights())
    x, y = np.concatenate([p.x for p in PEOPLE]), np.concatenate([p.y for p in PEOPLE])
    rows = public.extract(x, y)
    core, phi = public.plan.core_values(rows.core_output), public.plan.phi_values(rows.phi)
    expected = core + np.einsum("nck,k->nc", phi, weights[:, 0])
    step = np.abs(weights).sum() * 2.0**-public.plan.phi_exponent + 2.0**-public.plan.target_exponent
    assert np.abs(predict_logits(public, weights, x) - expected).max() <= step  # one unit of the grid per feature
    assert np.abs(predict_logits(public, weights, x) - core).max() > 100 * step
    float_phi, _ = public.feature_map.evaluate(public.network, public.input_spec.prepare(x))
    assert np.abs(phi - float_phi.numpy()).max() <= 2.0**-public.plan.phi_exponent  # nobody is far out, nothing clipped
    assert from_numpy(phi).shape == (18, 3, WIDTH)


def test_the_audit_sums_up_the_same_and_tells_a_difference(trained: Trained) -> None:
    world = trained(*PEOPLE)
    world.forget("person-5")
    world.work()

    def faulty(before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan) -> Statistics:
        return fold(before, added.take(slice(1, None)), removed, plan)

    for changes, equal in (({}, True), ({"fold": faulty}, False)):
        with world.ledger.database.begin() as tx:
            job_id = jobs.add(tx, world.tenant_id, jobs.REBUILD, lock_key="rebuild", model_id=world.model_id).id
        assert run_next(make_deps(world.ledger, **changes))
        with world.ledger.database.read() as tx:
            result = tx.session.get_one(Job, job_id).result
        assert result is not None
        assert (result["equal"], result["records"]) == (equal, 15 if equal else 14)


def test_a_record_left_in_is_not_published(trained: Trained) -> None:
    world = trained(*PEOPLE)
    number = world.active().number

    def leaves_one_in(
        before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan
    ) -> Statistics:
        return fold(before, added, removed.take(slice(1, None)), plan)

    world.forget("person-2")
    world.work(deps=make_deps(world.ledger, fold=leaves_one_in))
    assert world.active().number == number
    refused = [job.error for job in world.jobs("ready") if job.error]
    assert refused
    assert all("transition" in error for error in refused)


def test_more_directions_than_the_network_has_fail_the_model(new_world: NewWorld) -> None:
    world = new_world()
    world.register(feature_map="tangent", width=10**6)
    world.work()
    (failed,) = world.jobs("failed")
    assert "width of tangent is 1000000" in (failed.error or "")
