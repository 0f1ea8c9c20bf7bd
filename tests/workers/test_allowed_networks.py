"""A worker process knows the networks that its settings name, and does not start when they cannot be read."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from ledger.database import open_engine
from ledger.migrate import upgrade
from unlearning.errors import ArchitectureRefused
from workers.__main__ import build_deps
from workers.settings import WorkerSettings


def network(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], classes))


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = ModuleType("operators_own")
    module.network = network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "operators_own", module)
    engine = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    upgrade(engine)
    engine.dispose()
    return tmp_path


def test_the_settings_reach_the_jobs(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_ARCHITECTURES", "own=operators_own:network")
    deps = build_deps(WorkerSettings(data_dir=data_dir, threads=torch.get_num_threads()))
    try:
        assert "own" in set(deps.architectures)
    finally:
        deps.ledger.close()


def test_a_list_that_cannot_be_read_stops_the_start(data_dir: Path) -> None:
    settings = WorkerSettings(
        data_dir=data_dir, threads=torch.get_num_threads(), architectures="own=operators_own:gone"
    )
    with pytest.raises(ArchitectureRefused, match="own"):
        build_deps(settings)
