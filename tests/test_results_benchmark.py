"""The measurements of docs/results.md: every part runs on a few digits, and its numbers are such as they must be."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.results import data, forget_exact, forget_iterative, forget_retrain, report, tables
from benchmarks.results.__main__ import main
from benchmarks.results.intervals import for_a_new_run
from benchmarks.results.linear import linear
from benchmarks.results.record import Record, read_record
from benchmarks.results.scenarios import scenarios
from benchmarks.results.sisa import members, train_sharded
from benchmarks.results.worlds import World, make_world, mapped

# torch.func.jvp asks for torch.jit.script in this torch; nothing of ours uses it.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

TINY = ["--data", "digits", "--seeds", "1", "--users", "60", "--test", "60", "--core-epochs", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(data.deal(data.load_digits(), users=90, seed=3, test=60), epochs=2)


def measured(folder: Path, part: str, *more: str) -> Record:
    main([part, *TINY, "--out", str(folder), "--cache", str(folder / "cache"), *more])
    return read_record(folder / f"{part}-digits.json")


def test_core_users_and_test_records_are_apart_and_a_tenth_is_public() -> None:
    source = data.load_digits()
    dealt = data.deal(source, users=None, seed=1)
    assert (dealt.core.count, dealt.users.count, dealt.test.count) == (130, 1170, 497)
    seen = np.concatenate([part.x.reshape(part.count, -1) for part in (dealt.core, dealt.users)])
    every = source.train.x.reshape(source.train.count, -1)
    assert np.array_equal(np.unique(seen, axis=0), np.unique(every, axis=0))


def test_the_interval_is_the_one_for_a_new_run() -> None:
    found = for_a_new_run([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(4.302653 * math.sqrt(4 / 3), rel=1e-5)  # t at 97.5 % with 2 degrees of freedom
    assert for_a_new_run([1.0]).half == math.inf


def test_accuracy(folder: Path) -> None:
    record = measured(folder, "accuracy", "--seeds", "2")
    for seed in (0, 1):
        errors = {row["method"]: float(row["error"] or 0) for row in record.rows if row["seed"] == seed}
        assert errors["pooled"] < errors["core only"]
        assert all(0 <= error <= 100 for error in errors.values())
        assert len(errors) == 6
    main(["tangents", *TINY, "--out", str(folder), "--width", "40"])
    shown = tables.accuracy(folder)
    assert "tangent, subspace" in shown
    assert shown.count("±") == 6


def test_the_figures_sweep_what_they_name(folder: Path) -> None:
    record = measured(folder, "noise", "--width", "40")
    by_sigma = [row for row in record.rows if row["sweep"] == "noise" and row["gradient"] == "complete"]
    nats = [float(row["nats"] or 0) for row in by_sigma if row["seed"] == 0]
    assert nats == sorted(nats, reverse=True)
    assert nats[0] > 1e6 * nats[-1]
    for row in record.rows:  # the bound is none if the exact divergence of one release exceeds the sum
        assert float(row["last_divergence"] or 0) <= float(row["nats"] or 0)
    assert {row["gradient"] for row in record.rows} == {"complete", "stochastic"}
    assert len(measured(folder, "regularization", "--width", "40").rows) == 7
    shares = measured(folder, "core-share", "--width", "40").rows
    assert sorted({float(row["share"] or 0) for row in shares}) == pytest.approx(
        [0, 1 / 3, 1], rel=1e-5
    )  # a core of six


def test_speed(folder: Path) -> None:
    main(
        ["speed", "--out", str(folder), "--users", "60", "--width", "16", "--batches", "1", "5", "30", "--repeats", "2"]
    )
    record = read_record(folder / "speed-synthetic.json")
    assert [row["n"] for row in record.rows if row["grows"] == "records"] == [60, 600, 6000]
    assert all(
        float(row["per_second"] or 0) * float(row["whole_s"] or 0) == pytest.approx(row["batch"], rel=1e-4)
        for row in record.rows
    )
    assert "times longer" in tables.speed(folder, "batch")


def test_exact_forgetting_equals_a_retrained_model_and_nothing_done_does_not(world: World) -> None:
    exact = forget_exact.prepare(mapped(world, "pooled"), 3e-2)
    for scenario in scenarios(world):
        done = forget_exact.by_subtraction(exact, scenario)
        assert done.extra["bytes_equal"]
        assert done.nats == 0.0
        assert done.reference_test is not None
        assert torch.equal(done.test_logits, done.reference_test)
        left = forget_exact.never_forgot(exact, scenario)
        assert left.extra["weight_distance"] != 0.0


def test_krylov_keeps_its_budget_and_a_few_passes_of_descent_do_not(world: World) -> None:
    model = linear(mapped(world, "pooled"), 3e-2)
    trained = forget_iterative.train(model, 1e-3, seed=0)
    scenario = scenarios(world)[0]
    krylov = forget_iterative.by_krylov(trained, scenario)
    assert len(krylov.nats) == 10
    assert max(krylov.nats) <= forget_iterative.KAPPA
    reference = model.retrained(scenario.forgotten(world.deal.users.count))
    exact = forget_exact.prepare(mapped(world, "pooled"), 3e-2)
    _, by_integers = exact.retrained(scenario.forgotten(world.deal.users.count))
    assert torch.allclose(reference, torch.from_numpy(by_integers.weights), rtol=0, atol=1e-9)
    true = float((krylov.solved - reference).square().sum()) / (2 * trained.sigma**2)
    assert true <= krylov.nats[-1]
    assert sum(forget_iterative.by_sgd(trained, scenario, 1).nats) > 1.0


def test_sharded_retraining_touches_only_shards_that_held_a_forgotten_record(world: World) -> None:
    tuning = forget_retrain.prepare(world, epochs=1)
    sharded = train_sharded(world.deal.users.count, 5, tuning.train, seed=0)
    before = list(sharded.models)
    record = members(sharded.shard, sharded.kept, 2)[:1]
    assert sharded.forget(record) == 1
    assert [a is b for a, b in zip(before, sharded.models, strict=True)] == [True, True, False, True, True]
    assert record not in members(sharded.shard, sharded.kept, 2)


def test_the_report_replaces_what_stands_between_its_marks(tmp_path: Path) -> None:
    record = Record("accuracy", "digits", {"seeds": [0]}, [{"seed": 0, "method": "head", "error": 7.25, "users": 90}])
    record.write(tmp_path)
    document = tmp_path / "results.md"
    document.write_text("before\n<!-- begin accuracy -->\nold\n<!-- end accuracy -->\nafter\n")
    assert report.write(document, tmp_path) == ["accuracy"]
    text = document.read_text()
    assert "7.2" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
