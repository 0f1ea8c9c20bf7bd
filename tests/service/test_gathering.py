"""Doing together what waits at the same moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from service.gathering import Gathering

PATIENCE_S = 30


class Refused(Exception):
    pass


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


class Slow:
    """Doubles numbers, batch by batch; the first batch ends only when it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, numbers: list[int]) -> list[int | Exception]:
        self.batches.append(numbers)
        self.begun.set()
        assert self.go_on.wait(PATIENCE_S)
        if 13 in numbers:
            raise Refused("all of them")
        return [Refused(str(number)) if number < 0 else 2 * number for number in numbers]


async def behind_the_first(gathering: Gathering[int, int], slow: Slow, *numbers: int) -> list[Any]:
    """Have 1 done, and these numbers come while it is being done; return what became of all."""
    first = asyncio.create_task(gathering.do("a", 1, slow))
    await asyncio.to_thread(slow.begun.wait, PATIENCE_S)
    others = [asyncio.create_task(gathering.do("a", number, slow)) for number in numbers]
    await asyncio.sleep(0)  # each of them has asked
    slow.go_on.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def test_who_comes_meanwhile_goes_together_in_order() -> None:
    async def main() -> None:
        slow = Slow()
        assert await behind_the_first(Gathering(3), slow, 2, 3, 4, 5) == [2, 4, 6, 8, 10]
        assert slow.batches == [[1], [2, 3, 4], [5]]

    run(main)


def test_one_that_is_refused_is_refused_alone() -> None:
    async def main() -> None:
        first, good, bad, last = await behind_the_first(Gathering(8), Slow(), 2, -3, 4)
        assert (first, good, last) == (2, 4, 8)
        assert isinstance(bad, Refused)

    run(main)


def test_a_failure_is_everybodys_and_the_next_are_done() -> None:
    async def main() -> None:
        gathering, slow = Gathering[int, int](2), Slow()
        first, *failed, last = await behind_the_first(gathering, slow, 13, 3, 4)
        assert (first, last) == (2, 8)
        assert [str(one) for one in failed] == ["all of them"] * 2
        assert await gathering.do("a", 6, slow) == 12

    run(main)


def test_who_has_gone_away_is_done_all_the_same_and_keeps_nobody() -> None:
    async def main() -> None:
        gathering, slow = Gathering[int, int](8), Slow()
        first = asyncio.create_task(gathering.do("a", 1, slow))
        await asyncio.to_thread(slow.begun.wait, PATIENCE_S)
        gone, stays = (asyncio.create_task(gathering.do("a", number, slow)) for number in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        first.cancel()
        slow.go_on.set()
        assert await stays == 6
        assert slow.batches == [[1], [2, 3]]

    run(main)


def test_groups_do_not_wait_for_each_other() -> None:
    async def main() -> None:
        gathering, slow, quick = Gathering[int, int](8), Slow(), Slow()
        quick.go_on.set()
        held = asyncio.create_task(gathering.do("a", 1, slow))
        await asyncio.to_thread(slow.begun.wait, PATIENCE_S)
        assert await gathering.do("b", 2, quick) == 4
        slow.go_on.set()
        assert await held == 2

    run(main)


@pytest.mark.parametrize("number", [2, -2])
def test_with_one_at_a_time_everybody_goes_alone_and_side_by_side(number: int) -> None:
    async def main() -> None:
        slow = Slow()
        first, other = await behind_the_first(Gathering(1), slow, number)
        assert first == 2
        assert other == 4 if number > 0 else isinstance(other, Refused)
        assert sorted(slow.batches) == sorted([[1], [number]])

    run(main)
