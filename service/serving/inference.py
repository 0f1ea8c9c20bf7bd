"""Computing predictions in a few threads of their own, so that they neither wait for nor delay the database.

Queries that wait at the same moment for a model whose pass sizes were found equal are computed in one pass
(docs/decisions/0018-predictions-together.md). Nobody waits for company: a pass begins as soon as there is a query and
no pass of the model is running, with whatever has come meanwhile. For other models every query is a pass of its own,
and as many of them run at once as there are threads.

Small queries of a model whose passes take less than a millisecond are computed on the event loop itself: handing them
to a thread and back would take longer. Those that the loop has read in one turn are one pass.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from service.refusals import TooManyWaiting
from service.serving.model import ServedModel
from service.serving.outputs import Answer, Render
from service.serving.passes import Prepare, Query, compute

MOST_WAITING = 4096
"""Queries that may wait in one process; more are refused."""


@dataclass(slots=True, eq=False)
class _Line:
    """The queries that wait for one model, and how many threads are at work for it."""

    model: ServedModel
    waiting: deque[Query] = field(default_factory=deque)
    threads: int = 0


class Inference:
    """A pool of threads for torch, and the queries that wait for it.

    Within one pass torch computes with as many threads as the process has chosen before (`lacuna server` does): another
    number may change the last bits of an answer.
    """

    def __init__(self, *, workers: int) -> None:
        """Start with `workers` passes at the same time."""
        # A new thread takes over the process's number when it asks for it; until then OpenMP has its own.
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="predict", initializer=torch.get_num_threads)
        self._workers = workers
        self._lock = threading.Lock()
        self._lines: dict[int, _Line] = {}
        self._soon: dict[int, list[Query]] = {}
        self._queries = 0
        self._turns_waiting = 0
        self._closed = False

    async def answer(self, model: ServedModel, prepare: Prepare, render: Render, *, small: bool = False) -> Answer:
        """Compute an answer from `model`. `small`: reading what was sent takes no time worth mentioning.

        Raises InstancesRefused, BodyUnreadable, TooManyWaiting.
        """
        query = Query(prepare, render, asyncio.get_running_loop().create_future())
        if small and model.quick:
            self._add_here(model, [query])
            return await query.answer
        with self._lock:
            if self._queries >= MOST_WAITING:
                raise TooManyWaiting
            self._queries += 1
            line = self._lines.setdefault(id(model), _Line(model))
            line.waiting.append(query)
            if line.threads < (1 if model.sizes else self._workers):
                self._begin_turn(line)
        return await query.answer

    def _add_here(self, model: ServedModel, queries: Sequence[Query]) -> None:
        """Have queries computed when the event loop has read what else has come in this turn."""
        soon = self._soon.setdefault(id(model), [])
        if not soon:
            queries[0].loop.call_soon(self._compute_here, model)
        soon.extend(queries)

    def _compute_here(self, model: ServedModel) -> None:
        waiting = self._soon.pop(id(model))
        taken, left = waiting[: model.sizes[-1]], waiting[model.sizes[-1] :]
        try:
            compute(model, taken)
        except BaseException as problem:  # nobody expected it; whoever asked is told, and the log has it from there
            _blame(taken, problem)
            raise
        finally:
            _settle([query for query in taken if query.outcome is not None])
            left += [query for query in taken if query.outcome is None]
            if left:
                self._add_here(model, left)

    def close(self) -> None:
        """Wait for what is being computed, and stop; whoever still waits is let go."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(cancel_futures=True)
        for line in self._lines.values():
            for query in line.waiting:
                if not query.loop.is_closed():
                    query.loop.call_soon_threadsafe(query.answer.cancel)

    def _begin_turn(self, line: _Line) -> None:
        """Have a thread work for a model. The lock is held."""
        line.threads += 1
        self._turns_waiting += 1
        self._pool.submit(self._turn, line)

    def _turn(self, line: _Line) -> None:
        """Compute pass after pass while queries wait; if other models wait for a thread, they come in between."""
        with self._lock:
            self._turns_waiting -= 1
        try:
            while self._pass(line) and not self._turns_waiting and not self._closed:
                pass
        finally:
            with self._lock:
                line.threads -= 1
                if line.waiting and not line.threads and not self._closed:
                    self._begin_turn(line)
                elif not line.waiting and not line.threads:
                    self._lines.pop(id(line.model), None)

    def _pass(self, line: _Line) -> bool:
        """Compute one pass and hand out what is finished. False when nobody waits."""
        most = line.model.sizes[-1] if line.model.sizes else 1
        with self._lock:
            taken = [line.waiting.popleft() for _ in range(min(len(line.waiting), most))]
        if not taken:
            return False
        try:
            compute(line.model, taken)
        except BaseException as problem:  # nobody expected it; whoever asked is told, and the log has it from there
            _blame(taken, problem)
            raise
        finally:
            finished = [query for query in taken if query.outcome is not None]
            begun = [query for query in taken if query.outcome is None and query.chances]
            untouched = [query for query in taken if query.outcome is None and not query.chances]
            with self._lock:
                self._queries -= len(finished)
                line.waiting.extendleft(reversed(untouched))
                line.waiting.extend(begun)  # a long query lets others in after every pass
            _hand_out(finished)
        return True


def _blame(queries: Sequence[Query], problem: BaseException) -> None:
    for query in queries:
        query.outcome = query.outcome or problem


def _hand_out(finished: Sequence[Query]) -> None:
    """Wake each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Query]] = defaultdict(list)
    for query in finished:
        by_loop[query.loop].append(query)
    for loop, queries in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, queries)


def _settle(queries: Sequence[Query]) -> None:
    for query in queries:
        if query.answer.done():  # the client has gone away
            continue
        if isinstance(query.outcome, Answer):
            query.answer.set_result(query.outcome)
        else:
            query.answer.set_exception(query.outcome or asyncio.CancelledError())
