"""How keys are answered and what they may learn, set on the command line."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from support.command_line import Lacuna
from support.world import make_world

from ledger import leakage


def test_outputs_and_budgets(lacuna: Lacuna, tmp_path: Path) -> None:
    world = make_world(tmp_path, f"sqlite:///{tmp_path / 'data' / 'ledger.db'}", core_people=1)
    with closing(world.ledger):
        at = ("--data-dir", str(tmp_path / "data"), "--json")
        options = ("--label", "x", "--scope", "predict", "--outputs", "rounded")
        key = json.loads(lacuna("key", "create", *options, *at).out)["id"]

        def outputs() -> tuple[str, int | None]:
            (one,) = json.loads(lacuna("key", "list", *at).out)["keys"]
            return one["outputs"], one["digits"]

        assert outputs() == ("rounded", 2)
        assert lacuna("key", "change", key, "--outputs", "label", *at).status == 0
        assert outputs() == ("label", None)
        for wrong in (("--outputs", "all"), ("--outputs", "label", "--digits", "2")):
            assert lacuna("key", "change", key, *wrong, *at).status != 0
        assert outputs() == ("label", None)

        model = world.register()
        said = json.loads(lacuna("key", "budget", key, model, "--nats", "0.5", "--then", "refuse", *at).out)
        assert said == {"client": key, "model": model, "nats": 0.5, "then": "refuse"}
        with world.ledger.database.read() as tx:
            row = leakage.budget_of(tx, key, model)
            assert row is not None
            assert (row.nats, row.then) == (0.5, "refuse")
        assert lacuna("key", "budget", key, model, "--nats", "1", "--then", "laugh", *at).status == 2
        assert lacuna("key", "budget", key, model, "--nats", "inf", *at).status == 2
        assert lacuna("key", "budget", key, "0" * 32, "--nats", "1", *at).status == 3
        assert lacuna("key", "budget", key, model, *at).status == 0
        with world.ledger.database.read() as tx:
            assert leakage.budget_of(tx, key, model) is None
