"""Doing together what waits at the same moment: nobody waits for company, but whoever comes meanwhile goes along next.

While one transaction is on its way to the disk, others arrive; they share the next one. So the disk is waited for once
for many requests under load, and a lone request is done at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Run = Callable[[list[Item]], Sequence[Answer | Exception]]
"""Does several things in one go, in a thread; gives what became of each, in order. If it raises, none was done."""


class Gathering(Generic[Item, Answer]):
    """Collects items by the group that they belong to, and does those of a group together. Lives on one event loop."""

    def __init__(self, most: int) -> None:
        """`most`: items that are done in one go; 1: each by itself, side by side."""
        self._most = most
        self._waiting: dict[str, deque[tuple[Item, asyncio.Future[Answer]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def do(self, group: str, item: Item, run: Run[Item, Answer]) -> Answer:
        """Have `run` do this item, maybe with others of its group; return what became of it, or raise that.

        All callers of a group hand in the same `run`. If the caller goes away, the item is done all the same.
        """
        if self._most == 1:
            return _result((await run_in_threadpool(run, [item]))[0])
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(group)
        if waiting is not None:
            waiting.append((item, future))
        else:
            self._waiting[group] = deque([(item, future)])
            task = asyncio.create_task(self._work(group, run))
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _work(self, group: str, run: Run[Item, Answer]) -> None:
        """Do what waits until nothing does. If this is cancelled, those who wait are too."""
        waiting = self._waiting[group]
        try:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(self._most, len(waiting)))]
                await _do(batch, run)
        finally:
            del self._waiting[group]
            for _, future in waiting:
                future.cancel()


async def _do(batch: list[tuple[Item, asyncio.Future[Answer]]], run: Run[Item, Answer]) -> None:
    told: Sequence[Answer | BaseException] | BaseException
    (told,) = await asyncio.gather(run_in_threadpool(run, [item for item, _ in batch]), return_exceptions=True)
    # An error is everybody's who waits: none of it was done.
    outcomes = [told] * len(batch) if isinstance(told, BaseException) else told
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        if future.done():  # its caller has gone away
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _result(outcome: Answer | Exception) -> Answer:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
