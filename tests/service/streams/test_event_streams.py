"""Streams over a real network: what happens arrives once and in order, goes on after an interruption, and ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, update
from support.following import Followed
from support.mentions import mentions
from support.serving import serving
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import tenants
from ledger.log.following import Step
from ledger.log.sequencer import sequence
from ledger.tables import ApiKey
from service.api import event_streams
from service.client_events import Event, Following, follow
from service.refusals import TooManyStreams
from service.streams.hub import ROOM, Hub

STATES = ["accepted", "scrubbing", "published", "purging", "completed"]


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, new_world: NewWorld) -> World:
    url = None if request.param == "sqlite" else request.getfixturevalue("fresh_postgres_database")
    return new_world(url, core_people=1)


@pytest.fixture
def client(world: World, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(world, tmp_path, streams_per_key=4) as (url, key):
        headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "gzip"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as found:
            yield found


def states(events: list[Event]) -> list[Any]:
    return [one.data.get("state") for one in events]


def test_a_request_is_followed_from_its_start_to_its_end_and_names_nobody(world: World, client: httpx.Client) -> None:
    world.upload(person("planted-name"))
    request_id = world.forget("planted-name")
    at = f"/v1/forget-requests/{request_id}/events"
    stream = Followed(client, at)
    assert states(stream.wait_for(1)) == ["accepted"]
    other = world.forget("somebody")  # not this stream's business
    world.work()
    stream.wait_for_end()
    assert stream.ended_well
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in stream.headers
    assert states(stream.events) == STATES
    assert stream.events[-1].data["outcome"] == "erased"
    assert {one.data["request"] for one in stream.events} == {request_id}
    ids = [int(one.id) for one in stream.events]
    assert ids == sorted(set(ids))
    assert other not in "\n".join(stream.lines)
    assert not mentions("\n".join(stream.lines), "planted-name")
    late = Followed(client, at)  # from the beginning, though all is over
    late.wait_for_end()
    assert late.events == stream.events
    middle = Followed(client, at, **{"Last-Event-ID": stream.events[2].id})
    middle.wait_for_end()
    assert middle.events == stream.events[3:]
    assert client.get(at, headers={"Last-Event-ID": stream.events[-1].id}).status_code == 204


def test_everything_of_a_tenant_is_followed_and_nothing_of_another(world: World, client: httpx.Client) -> None:
    world.forget("before")  # before the stream: not sent, unless somebody resumes there
    sequence(world.ledger.database, world.ledger.ring)
    with world.ledger.database.begin() as tx:
        stranger = tenants.create_tenant(tx, world.ledger.ring, "other").id
        key = tenants.create_key(tx, stranger, "a key", ("audit:read",))
    mine = Followed(client, "/v1/events")
    theirs = Followed(client, "/v1/events", Authorization=f"Bearer {key}")
    first, second = world.forget("a"), world.forget("b")
    found = mine.wait_for(2)
    assert [one.data["request"] for one in found] == [first, second]
    again = Followed(client, "/v1/events", **{"Last-Event-ID": found[0].id})
    assert again.wait_for(1) == found[1:]
    everything = Followed(client, "/v1/events", **{"Last-Event-ID": "0"})
    assert everything.wait_for(2)[-2:] == found
    assert (
        client.get("/v1/forget-requests/" + first + "/events", headers={"Authorization": f"Bearer {key}"}).status_code
        == 404
    )
    assert theirs.events == []
    ahead = Followed(client, "/v1/events", **{"Last-Event-ID": str(int(found[1].id) + 1)})  # told by another process
    world.forget("c")
    last = world.forget("d")
    assert [one.data["request"] for one in ahead.wait_for(1)] == [last]


def test_one_look_serves_all_streams(world: World, client: httpx.Client) -> None:
    looks: list[str] = []

    @event.listens_for(world.ledger.database.engine, "before_cursor_execute")
    def noted(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM log_state" in statement:
            looks.append(threading.current_thread().name)

    streams = [Followed(client, "/v1/events") for _ in range(3)]
    world.forget("a")
    for stream in streams:
        stream.wait_for(1)
    looks.clear()
    wait_until(lambda: len(looks) >= 4, 30, "two more looks")  # each is a look for new events, then a look at the size
    assert set(looks) == {"streams"}


def test_a_key_has_so_many_streams_and_gets_room_when_one_ends(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "HEARTBEAT_S", 0.05)
    streams = [Followed(client, "/v1/events") for _ in range(4)]
    refused = client.get("/v1/events")
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-streams")
    assert [stream.status for stream in streams] == [200] * 4
    streams[0].leave()
    wait_until(lambda: is_open(client), 30, "room for another stream")


def is_open(client: httpx.Client) -> bool:
    with client.stream("GET", "/v1/events") as answer:
        return answer.status_code == 200


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
@pytest.mark.parametrize("wrong", ["-1", "x", "1.5", "9" * 30, "1\u0661"])
def test_an_id_that_is_none_is_refused(client: httpx.Client, wrong: str) -> None:
    answer = client.get("/v1/events", headers={"Last-Event-ID": wrong.encode()})  # type: ignore[dict-item]  # bytes
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/cursor-refused")


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_silent_stream_shows_that_it_lives_and_ends_with_its_key(
    world: World, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "HEARTBEAT_S", 0.05)
    stream = Followed(client, "/v1/events")
    wait_until(lambda: stream.lines.count(": still here") >= 2, 30, "signs of life")
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(ApiKey).values(revoked_at=tx.now))
    stream.wait_for_end()
    assert stream.ended_well


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_the_client_goes_on_where_it_was_interrupted(world: World, client: httpx.Client) -> None:
    world.upload(person("a"))
    request_id = world.forget("a")
    at = f"/v1/forget-requests/{request_id}/events"
    interrupted: list[str | None] = []
    real = client._transport

    class Breaking(httpx.BaseTransport):
        """Passes requests on, and breaks the first answer after its first event."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            interrupted.append(request.headers.get("Last-Event-ID"))
            answer = real.handle_request(request)
            if len(interrupted) > 1:
                return answer
            return httpx.Response(200, stream=Broken(answer.stream))

    class Broken(httpx.SyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self._stream:
                yield chunk
                if b"event:" in chunk:
                    raise httpx.ReadError("cut")

        def close(self) -> None:
            self._stream.close()

    with httpx.Client(base_url=client.base_url, headers=client.headers, transport=Breaking()) as http:
        found = follow(http, "the service", Following(at), pause=lambda _s: None)
        first = next(found)
        world.work()
        assert states([first, *found]) == STATES
    assert interrupted == [None, first.id]


def test_a_client_that_does_not_read_loses_its_stream_and_not_its_place() -> None:
    async def read() -> list[int]:
        hub = Hub(None, per_key=1)  # type: ignore[arg-type]  # it is not started, so it looks at no ledger
        stream = hub.open("key", "tenant", None, 5)
        with pytest.raises(TooManyStreams):
            hub.open("key", "tenant", None, 5)
        for position in range(ROOM + 10):
            stream.tell(Step(position, "tenant", "subject", "request.accepted", b"{}"))
        found = []
        while (step := await stream.next()) is not None:
            found.append(step.position)
        hub.remove(stream)
        hub.remove(stream)
        assert hub.open("key", "tenant", None, 5).start == 5
        return found

    assert asyncio.run(read()) == list(range(ROOM))
