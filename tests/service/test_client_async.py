"""The client for many things at once, against a real service; what it answers agrees with the other client."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.serving import serving
from support.world import NewWorld, person

from service.client import LacunaClient
from service.client_async import AsyncLacunaClient
from service.client_errors import ApiProblem, RequestFailed, ServiceUnreachable, WaitedTooLong
from service.client_types import ForgetRequest


def test_forgetting_following_and_proving(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(core_people=1)
    world.upload(person("a"), person("b"))

    async def story(url: str, key: str) -> ForgetRequest:
        async with AsyncLacunaClient(url, key) as client:
            assert (await client.me())["tenant"] == "default"
            assert await client.models() == []
            asked = await client.forget(subjects=["a"], idempotency_key="k")
            again = await client.forget(subjects=["a"], idempotency_key="k")
            assert again["id"] == asked["id"]
            withdrawn = await client.cancel((await client.forget(subjects=["b"]))["id"])
            with pytest.raises(RequestFailed):
                await client.wait_for_request(withdrawn["id"])
            with pytest.raises(WaitedTooLong):
                await client.wait_for_request(asked["id"], timeout_s=0.0)
            states = []
            working = asyncio.create_task(asyncio.to_thread(world.work))
            async for event in client.follow(asked["id"]):
                states.append(event.data["state"])
            await working
            assert (states[0], states[-1]) == ("accepted", "completed")
            async for _ in client.follow(asked["id"], after=event.id):
                pytest.fail("nothing comes after the end")
            done = await client.wait_for_request(asked["id"])
            assert b"payload" in await client.certificate(asked["id"])
            assert [one["id"] for one in await client.requests(state="completed")] == [asked["id"]]
            with pytest.raises(ApiProblem) as refused:
                await client.request("0" * 32)
            assert refused.value.status == 404
            return done

    with serving(world, tmp_path) as (url, key):
        done = asyncio.run(story(url, key))
        with LacunaClient(url, key) as other:
            assert set(ForgetRequest.__annotations__) <= set(done)
            assert {**other.request(done["id"]), "days_left": 0} == {**done, "days_left": 0}
            assert other.follow(done["id"]).__next__().type == "request.accepted"


def test_predictions_wait_for_a_version_and_nobody_is_an_error() -> None:
    answers = [
        httpx.Response(503, headers={"Retry-After": "0"}, json={}),
        httpx.Response(200, json={"predictions": []}),
    ]

    async def ask() -> None:
        transport = httpx.MockTransport(lambda _request: answers.pop(0))
        async with AsyncLacunaClient("http://lacuna.invalid", "k", transport=transport) as client:
            assert await client.predict("m", np.zeros((1, 2))) == {"predictions": []}

        def away(_request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("nobody")

        async with AsyncLacunaClient("http://lacuna.invalid", "k", transport=httpx.MockTransport(away)) as client:
            with pytest.raises(ServiceUnreachable):
                await client.me()

    asyncio.run(ask())
    assert answers == []
