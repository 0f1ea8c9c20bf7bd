"""One pass through a model: the records of one query, or of several together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from service.refusals import InstancesRefused, ServiceError
from service.serving.model import ServedModel
from service.serving.outputs import Answer, Chances, Render
from unlearning.errors import NonFinite, ShapeMismatch
from unlearning.pass_sizes import predict_in

Prepare = Callable[[ServedModel], npt.NDArray[Any]]
"""Turns what was sent into records (n, *shape) for a model. May raise InstancesRefused, BodyUnreadable."""


@dataclass(slots=True, eq=False)
class Query:
    """One query on its way: its prepared records, the probabilities computed so far, and how it ended."""

    prepare: Prepare
    render: Render
    answer: asyncio.Future[Answer]
    inputs: Tensor | None = None
    chances: list[Chances] = field(default_factory=list)
    outcome: Answer | BaseException | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that waits for the answer."""
        return self.answer.get_loop()

    @property
    def left(self) -> Tensor:
        """The records that are still to be computed."""
        assert self.inputs is not None
        return self.inputs[sum(map(len, self.chances)) :]


def compute(model: ServedModel, queries: Sequence[Query]) -> None:
    """Compute the next pass of these queries, the first ones first, and set the outcome of those that are finished.

    A query that cannot be read or does not fit the model fails alone.
    """
    for query in queries:
        _read(model, query)
    room = model.sizes[-1] if model.sizes else None
    parts: list[tuple[Query, Tensor]] = []
    for query in queries:
        if query.outcome is None and room != 0:
            part = query.left[:room]
            parts.append((query, part))
            room = None if room is None else room - len(part)
    if not parts:
        return
    try:
        together = parts[0][1] if len(parts) == 1 else torch.cat([part for _, part in parts])
        found = predict_in(model.public, model.weights, together, model.sizes)
    except (ShapeMismatch, NonFinite):
        _one_by_one(model, parts)
        return
    begin = 0
    for query, part in parts:
        _take(model, query, found[begin : begin + len(part)])
        begin += len(part)


def _read(model: ServedModel, query: Query) -> None:
    if query.answer.cancelled():  # the client has gone away
        query.outcome = asyncio.CancelledError()
    elif query.inputs is None:
        try:
            query.inputs = model.public.input_spec.prepare(query.prepare(model))
        except ServiceError as problem:
            query.outcome = problem
        except (ShapeMismatch, NonFinite) as problem:
            query.outcome = _refused(problem)


def _one_by_one(model: ServedModel, parts: Sequence[tuple[Query, Tensor]]) -> None:
    """One query's records make values that no answer can be given for: the others must not notice."""
    for query, part in parts:
        try:
            _take(model, query, predict_in(model.public, model.weights, part, model.sizes))
        except (ShapeMismatch, NonFinite) as problem:
            query.outcome = _refused(problem)


def _take(model: ServedModel, query: Query, chances: Chances) -> None:
    query.chances.append(chances)
    if not len(query.left):
        whole = query.chances[0] if len(query.chances) == 1 else np.concatenate(query.chances)
        try:
            query.outcome = query.render(model, whole)
        except ServiceError as problem:  # what was asked for may not be told
            query.outcome = problem


def _refused(problem: ShapeMismatch | NonFinite) -> InstancesRefused:
    refusal = InstancesRefused(str(problem))
    refusal.__cause__ = problem
    return refusal
