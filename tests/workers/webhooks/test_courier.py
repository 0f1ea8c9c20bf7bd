"""Messages reach a real receiver, signed so that others' code can tell, at least once and under one id."""

from __future__ import annotations

import base64
import hmac
import json
import ssl
from collections.abc import Iterator

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError
from structlog.testing import capture_logs
from support.mentions import mentions
from support.receiver import Received, Receiver, receiver
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger.tables import WebhookDelivery
from ledger.webhooks import deliveries, endpoints
from ledger.webhooks.deliveries import Answer
from ledger.webhooks.targets import Rules, rules
from workers.webhooks.courier import Courier, deliver_one, headers
from workers.webhooks.posting import Poster

POSTER = Poster(rules(allow="127.0.0.0/8", http=True, ports=""), ssl.create_default_context())


class Died(BaseException):
    """The process ended here."""


@pytest.fixture
def listening() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def world(new_world: NewWorld) -> World:
    return new_world(core_people=1)


def register(world: World, url: str) -> tuple[str, str]:
    with world.ledger.database.begin() as tx:
        row, secret = endpoints.register(tx, world.ledger.ring, world.tenant_id, url=url, label="desk", events=[])
        return row.id, secret


def deliver_all(world: World) -> int:
    count = 0
    while deliver_one(world.ledger, POSTER.post):
        count += 1
    return count


def verified(secret: str, request: Received) -> dict[str, object]:
    said: dict[str, object] = Webhook(secret).verify(request.body, request.headers)
    return said


def test_a_request_tells_each_of_its_steps_signed_and_names_nobody(world: World, listening: Receiver) -> None:
    _, secret = register(world, listening.url)
    world.upload(person("planted-name"))
    with capture_logs() as logs:
        request_id = world.forget("planted-name")
        world.work()
        assert deliver_all(world) == 5
    said = [verified(secret, request) for request in listening.received]
    assert sorted(one["type"] for one in said) == sorted(
        f"request.{state}" for state in ("accepted", "scrubbing", "published", "purging", "completed")
    )
    assert {one["data"]["request"] for one in said} == {request_id}
    assert all(set(one["data"]) <= {"request", "state", "outcome", "due_at"} for one in said)
    assert len({request.headers["webhook-id"] for request in listening.received}) == 5
    for request in listening.received:
        assert not mentions(request.body, "planted-name")
    assert listening.url not in json.dumps(logs, default=str)
    with world.ledger.database.read() as tx:
        assert {row.state for row in tx.session.execute(select(WebhookDelivery)).scalars()} == {"delivered"}


def test_whoever_changes_a_byte_or_lacks_the_secret_is_found_out(world: World, listening: Receiver) -> None:
    _, secret = register(world, listening.url)
    world.forget("somebody")
    deliver_all(world)
    (got,) = listening.received
    verified(secret, got)
    with world.ledger.database.begin() as tx:
        other = endpoints.new_secret(tx)
    wrong = [
        (secret, got.headers, got.body.replace(b"accepted", b"completed")),
        (secret, {**got.headers, "webhook-id": "msg_" + "0" * 32}, got.body),
        (secret, {**got.headers, "webhook-timestamp": str(int(got.headers["webhook-timestamp"]) + 1)}, got.body),
        (other, got.headers, got.body),
    ]
    for key, said, body in wrong:
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(body, said)


def test_both_secrets_verify_while_one_replaces_the_other(world: World, listening: Receiver) -> None:
    webhook, old = register(world, listening.url)
    with world.ledger.database.begin() as tx:
        _, new = endpoints.rotate(tx, world.ledger.ring, world.tenant_id, webhook, overlap_us=3_600_000_000)
    world.forget("somebody")
    deliver_all(world)
    (got,) = listening.received
    assert verified(old, got) == verified(new, got)
    assert got.headers["webhook-signature"].count("v1,") == 2


def test_the_signature_is_that_of_the_specification() -> None:
    """HMAC-SHA256 over id, time and body with points between, under the bytes that the secret spells."""
    claimed = deliveries.Claimed("7", "", b'{"test": 2432232314}', 1, 0)
    key = bytes(range(24))
    found = headers(claimed, ["whsec_" + base64.b64encode(key).decode()], 1_614_265_330_999_999)
    signed = hmac.digest(key, b'msg_7.1614265330.{"test": 2432232314}', "sha256")
    assert (found["webhook-id"], found["webhook-timestamp"]) == ("msg_7", "1614265330")
    assert found["webhook-signature"] == "v1," + base64.b64encode(signed).decode()


def test_a_sender_that_dies_after_sending_sends_again_under_the_same_id(world: World, listening: Receiver) -> None:
    register(world, listening.url)
    world.forget("somebody")

    def die(_point: str) -> None:
        raise Died

    with pytest.raises(Died):
        deliver_one(world.ledger, POSTER.post, point=die)
    assert deliver_all(world) == 0  # the dead one's lease holds
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(WebhookDelivery).values(lease_until=tx.now - 1))
    assert deliver_all(world) == 1
    first, second = listening.received
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_an_internal_address_is_told_nothing_unless_the_operator_allows_it(world: World, listening: Receiver) -> None:
    register(world, listening.url)
    world.forget("somebody")
    strict = Poster(Rules(http=True), ssl.create_default_context())
    assert deliver_one(world.ledger, strict.post)
    assert listening.received == []
    with world.ledger.database.read() as tx:
        row = tx.session.execute(select(WebhookDelivery)).scalar_one()
    assert (row.state, row.attempts, row.last_error) == ("pending", 1, "the address may not be told")


def test_the_thread_delivers_by_itself_and_a_slow_receiver_holds_up_only_itself(
    world: World, listening: Receiver
) -> None:
    slow, _ = register(world, "http://127.0.0.2/slow")
    register(world, listening.url)
    for _ in range(3):
        world.forget("somebody")
    entered: list[str] = []

    def post(url: str, body: bytes, said: object) -> Answer:
        if "slow" in url:
            entered.append(url)
            wait_until(lambda: len(listening.received) == 3, 30, "the other receiver's messages")
            return Answer(500)
        return POSTER.post(url, body, said)  # type: ignore[arg-type]  # headers, as they came

    courier = Courier(world.ledger, post, look_s=0.01)
    courier.start()
    try:
        listening.wait_for(3)
        wait_until(lambda: failures(world, slow) == 3, 30, "the slow receiver's attempts to be noted")
    finally:
        courier.stop()
    assert len(entered) == 3


def failures(world: World, webhook: str) -> int:
    with world.ledger.database.read() as tx:
        query = select(WebhookDelivery).where(
            WebhookDelivery.endpoint_id == webhook, WebhookDelivery.last_status == 500
        )
        return len(tx.session.execute(query).all())


def test_a_dead_job_is_told_without_its_error(world: World, listening: Receiver) -> None:
    _, secret = register(world, listening.url)
    world.upload(person("a"))
    world.register(architecture="no-such-network")
    world.work()
    deliver_all(world)
    said = [verified(secret, request) for request in listening.received]
    (failed,) = [one for one in said if one["type"] == "job.failed"]
    assert failed["data"] == {"job": failed["data"]["job"], "kind": "train_core", "model": world.model_id}
