"""Queries that are computed together: nobody waits for company, and nobody suffers from it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from service.refusals import InstancesRefused, TooManyWaiting
from service.serving import inference as module
from service.serving import passes
from service.serving.inference import Inference
from service.serving.model import ServedModel
from service.serving.outputs import Answer, Chances
from service.serving.passes import Query
from unlearning.errors import NonFinite
from unlearning.pass_sizes import predict_in
from unlearning.public_model import PublicModel, fit_public_model

SIZES = (4, 8, 16, 32, 64)
RNG = np.random.default_rng(5)
X = RNG.normal(size=(300, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def public() -> PublicModel:
    """A small model on tables."""
    y = RNG.integers(0, 3, 60)
    return fit_public_model(
        X[:60], y, class_names=("a", "b", "c"), architecture="mlp", feature_map="head", epochs=1, seed=1
    )


def served(public: PublicModel, sizes: tuple[int, ...] = SIZES, *, quick: bool = False) -> ServedModel:
    weights = np.random.default_rng(1).normal(size=public.weight_shape)
    return ServedModel("tenant", "line", "model", 1, "object", public, weights, "name", sizes, quick)


def records(x: np.ndarray) -> Callable[[ServedModel], np.ndarray]:
    return lambda _: x


def raw(_model: ServedModel, chances: Chances) -> Answer:
    return Answer("model", 1, chances.tobytes())


def expected(model: ServedModel, x: np.ndarray) -> bytes:
    return predict_in(model.public, model.weights, model.public.input_spec.prepare(x), model.sizes).tobytes()


class Gate:
    """Keeps passes from ending until it is opened, and notes of each how many queries it had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes: list[int] = []
        self.models: list[ServedModel] = []
        self.begun, self.open = threading.Event(), threading.Event()
        compute = module.compute

        def gated(model: ServedModel, queries: Sequence[Query]) -> None:
            self.passes.append(len(queries))
            self.models.append(model)
            self.begun.set()
            assert self.open.wait(20)
            compute(model, queries)

        monkeypatch.setattr(module, "compute", gated)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
def one() -> Iterator[Inference]:
    """One thread."""
    made = Inference(workers=1)
    yield made
    made.close()


async def begun(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.begun.wait, 20)


def test_what_comes_while_a_pass_runs_is_the_next_pass(public: PublicModel, one: Inference, gate: Gate) -> None:
    model = served(public)

    async def main() -> list[Any]:
        first = asyncio.create_task(one.answer(model, records(X[:1]), raw))
        await begun(gate)  # it did not wait for anybody

        def broken(_: ServedModel) -> np.ndarray:
            raise InstancesRefused("they are none")

        huge = np.full((1, 4), 1e30, np.float32)  # finite, and no number any more in the network
        rest = [one.answer(model, records(X[i : i + 1]), raw) for i in range(1, 10)]
        rest += [one.answer(model, broken, raw), one.answer(model, records(huge), raw)]
        tasks = [first, *(asyncio.create_task(query) for query in rest)]
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(main())
    assert gate.passes == [1, 11]
    assert [answer.body for answer in answers[:10]] == [expected(model, X[i : i + 1]) for i in range(10)]
    assert isinstance(answers[10], InstancesRefused)
    assert isinstance(answers[11], InstancesRefused | Answer)


def test_a_query_that_makes_no_numbers_fails_alone(
    public: PublicModel, one: Inference, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served(public)
    bad = np.zeros((1, 4), np.float32)
    prepared = public.input_spec.prepare(bad)
    monkeypatch.setattr(passes, "predict_in", lambda p, w, i, s: _refusing(prepared, p, w, i, s))

    async def main() -> list[Any]:
        first = asyncio.create_task(one.answer(model, records(X[:1]), raw))
        await begun(gate)
        tasks = [first, *(asyncio.create_task(one.answer(model, records(x), raw)) for x in (X[1:2], bad, X[2:4]))]
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(main())
    assert gate.passes == [1, 3]
    assert isinstance(answers[2], InstancesRefused)
    assert [answers[1].body, answers[3].body] == [expected(model, X[1:2]), expected(model, X[2:4])]


def _refusing(bad: Any, public: PublicModel, weights: Any, inputs: Any, sizes: Any) -> Chances:
    if any(bool((row == bad[0]).all()) for row in inputs):
        raise NonFinite("features", 1)
    return predict_in(public, weights, inputs, sizes)


def test_a_long_query_lets_short_ones_in(public: PublicModel, one: Inference, gate: Gate) -> None:
    model, ended = served(public), []

    async def asking(name: str, x: np.ndarray) -> None:
        answer = await one.answer(model, records(x), raw)
        assert answer.body == expected(model, x)
        ended.append(name)

    async def main() -> None:
        long = asyncio.create_task(asking("long", X))
        await begun(gate)
        short = [asyncio.create_task(asking("short", X[i : i + 1])) for i in range(3)]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(long, *short)

    asyncio.run(main())
    assert ended == ["short"] * 3 + ["long"]


def test_models_take_turns_and_those_without_equal_sizes_go_one_by_one(
    public: PublicModel, one: Inference, gate: Gate
) -> None:
    together, apart = served(public), served(public, ())

    async def main() -> None:
        first = asyncio.create_task(one.answer(together, records(X[:1]), raw))
        await begun(gate)
        rest = [
            asyncio.create_task(one.answer(model, records(X[i : i + 1]), raw))
            for model in (together, apart)
            for i in range(3)
        ]
        await asyncio.sleep(0)
        gate.open.set()
        answers = await asyncio.gather(first, *rest)
        assert [one.body for one in answers[4:]] == [expected(apart, X[i : i + 1]) for i in range(3)]

    asyncio.run(main())
    assert sorted(gate.passes) == [1, 1, 1, 1, 3]
    turns = [model is together for model in gate.models]
    assert turns[0] is True
    assert turns[1] is False, "the other model has waited for a thread"


def test_unequal_sizes_are_computed_by_all_threads(public: PublicModel, gate: Gate) -> None:
    model, two = served(public, ()), Inference(workers=2)

    async def main() -> None:
        tasks = [asyncio.create_task(two.answer(model, records(X[:2]), raw)) for _ in range(2)]
        while len(gate.passes) < 2:
            await asyncio.sleep(0.005)
        gate.open.set()
        await asyncio.gather(*tasks)

    asyncio.run(asyncio.wait_for(main(), 20))
    two.close()


def test_too_many_are_refused_and_who_has_gone_is_not_computed(
    public: PublicModel, one: Inference, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    model, read = served(public), []

    def reading(_: ServedModel) -> np.ndarray:
        read.append(1)
        return X[:1]

    async def main() -> None:
        first = asyncio.create_task(one.answer(model, records(X[:1]), raw))
        await begun(gate)
        waiting = [asyncio.create_task(one.answer(model, reading, raw)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaiting):
            await one.answer(model, records(X[:1]), raw)
        waiting[0].cancel()
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, waiting[1])
        assert (await one.answer(model, records(X[:1]), raw)).body == expected(model, X[:1])

    asyncio.run(main())
    assert read == [1]


def test_an_error_that_nobody_expected_is_told_and_does_not_last(
    public: PublicModel, one: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served(public)

    def crashing(_: ServedModel) -> np.ndarray:
        raise ZeroDivisionError("planted")

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await one.answer(model, crashing, raw)
        assert (await one.answer(model, records(X[:1]), raw)).body == expected(model, X[:1])

    asyncio.run(main())


def test_who_waits_when_the_process_stops_is_let_go(public: PublicModel, one: Inference, gate: Gate) -> None:
    model = served(public)

    async def main() -> None:
        first = asyncio.create_task(one.answer(model, records(X[:1]), raw))
        await begun(gate)
        waiting = asyncio.create_task(one.answer(model, records(X[:1]), raw))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(one.close))
        await asyncio.sleep(0.05)
        gate.open.set()
        await closing
        assert (await first).body == expected(model, X[:1])
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())


def test_small_queries_of_quick_models_need_no_thread(
    public: PublicModel, one: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop computes what it has read in one turn; long queries go on in later turns."""
    model, passes_made = served(public, quick=True), []
    compute = module.compute

    def watched(model: ServedModel, queries: Sequence[Query]) -> None:
        passes_made.append((threading.current_thread() is threading.main_thread(), len(queries)))
        compute(model, queries)

    monkeypatch.setattr(module, "compute", watched)

    async def main() -> None:
        asked = [*(X[i : i + 1] for i in range(70)), X, X[:2]]
        answers = await asyncio.gather(*(one.answer(model, records(x), raw, small=True) for x in asked))
        assert [answer.body for answer in answers] == [expected(model, x) for x in asked]
        here = len(passes_made)
        assert passes_made[0] == (True, 64)
        assert all(on_loop for on_loop, _ in passes_made)
        assert here < len(asked)
        await one.answer(model, records(X[:1]), raw)
        assert passes_made[here] == (False, 1), "a large body is read by a thread"

        def crashing(_: ServedModel) -> np.ndarray:
            raise ZeroDivisionError("planted")

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with pytest.raises(ZeroDivisionError):
            await one.answer(model, crashing, raw, small=True)
        assert (await one.answer(model, records(X[:1]), raw, small=True)).body == expected(model, X[:1])

    asyncio.run(main())
