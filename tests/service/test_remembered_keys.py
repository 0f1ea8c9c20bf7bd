"""Keys while the database is away or silent: remembered for as long as a lease, and never against its word."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy.exc import OperationalError

from service import remembered_keys
from service.refusals import NotAuthenticated
from service.remembered_keys import RememberedKeys

TTL_MS = 1000


@dataclass
class Keys:
    """A memory whose time is set by hand, and a database that does what it is told."""

    now_ns: int = 0
    asked: int = 0
    does: Callable[[], str] = field(default=lambda: "ada's")

    def __post_init__(self) -> None:
        self.memory = RememberedKeys[str](monotonic_ns=lambda: self.now_ns)

    def _ask(self) -> str:
        self.asked += 1
        return self.does()

    async def owner(self, secret: str = "a key", *, fresh_ms: int = 0) -> str:
        return await self.memory.owner(secret, self._ask, for_ms=TTL_MS, fresh_ms=fresh_ms)


def away() -> str:
    raise OperationalError("SELECT", {}, Exception("away"))


def revoked() -> str:
    raise NotAuthenticated


def test_a_key_is_remembered_until_a_lease_would_end() -> None:
    keys = Keys()

    async def story() -> None:
        assert await keys.owner() == "ada's"
        keys.does = away
        keys.now_ns = TTL_MS * 1_000_000 - 1
        assert await keys.owner() == "ada's"
        with pytest.raises(OperationalError):
            await keys.owner("another key")
        keys.now_ns += 1
        with pytest.raises(OperationalError):
            await keys.owner()

    asyncio.run(story())


def test_the_database_is_asked_every_time_and_believed() -> None:
    keys = Keys()

    async def story() -> None:
        await keys.owner()
        keys.does = lambda: "bob's"
        assert await keys.owner() == "bob's"
        keys.does = revoked
        with pytest.raises(NotAuthenticated):
            await keys.owner()
        keys.does = away
        with pytest.raises(OperationalError):
            await keys.owner()
        assert keys.asked == 4

    asyncio.run(story())


def test_a_fresh_answer_is_not_asked_for_again_unless_keys_were_changed_here() -> None:
    keys = Keys()

    async def story() -> None:
        await keys.owner(fresh_ms=10)
        keys.does = lambda: "bob's"
        keys.now_ns = 10_000_000 - 1
        assert (await keys.owner(fresh_ms=10), keys.asked) == ("ada's", 1)
        assert (await keys.owner("another key", fresh_ms=10), keys.asked) == ("bob's", 2)
        keys.now_ns += 1
        assert (await keys.owner(fresh_ms=10), keys.asked) == ("bob's", 3)
        keys.does = revoked
        keys.memory.forget()
        with pytest.raises(NotAuthenticated):
            await keys.owner(fresh_ms=10)

    asyncio.run(story())


def test_one_thread_waits_for_a_silent_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_keys, "SLOW_S", 0.02)
    keys, speak = Keys(), threading.Event()

    def silent() -> str:
        speak.wait()
        return away()

    async def story() -> None:
        await keys.owner()
        keys.does = silent
        assert [await keys.owner() for _ in range(20)] == ["ada's"] * 20
        assert keys.asked == 2
        speak.set()
        keys.does = lambda: "bob's"
        async with asyncio.timeout(60):
            while await keys.owner() == "ada's":  # until the thread that waited has ended
                await asyncio.sleep(0.01)

    asyncio.run(story())


def test_no_more_keys_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_keys, "MOST", 2)
    keys = Keys()

    async def story() -> None:
        for name in ("one", "two", "three"):
            await keys.owner(name)
        keys.does = away
        assert await keys.owner("three") == "ada's"
        with pytest.raises(OperationalError):
            await keys.owner("one")

    asyncio.run(story())
