"""Training the core network."""

import numpy as np
import pytest
import torch

from unlearning.architectures import build_network
from unlearning.core_training import batch_starts, train_core
from unlearning.errors import OutOfRange, ShapeMismatch


def trained(table: tuple[np.ndarray, np.ndarray], seed: int, epochs: int = 8) -> tuple[torch.nn.Module, list[float]]:
    x, y = torch.from_numpy(table[0]), torch.from_numpy(table[1])
    generator = torch.Generator().manual_seed(seed)
    network = build_network("mlp", (5,), 3, generator)
    progress: list[float] = []
    train_core(network, x, y, epochs=epochs, generator=generator, on_progress=progress.append)
    return network, progress


def test_learns_reports_progress_and_ends_in_evaluation_mode(table: tuple[np.ndarray, np.ndarray]) -> None:
    network, progress = trained(table, seed=0)
    assert progress == [(epoch + 1) / 8 for epoch in range(8)]
    assert not any(module.training for module in network.modules())
    correct = network(torch.from_numpy(table[0])).argmax(1).numpy() == table[1]
    most_frequent = np.bincount(table[1]).max() / len(table[1])
    assert correct.mean() > most_frequent + 0.2


def test_same_seed_same_bits(table: tuple[np.ndarray, np.ndarray]) -> None:
    states = [trained(table, seed, epochs=2)[0].state_dict() for seed in (0, 0, 1)]
    assert all(states[0][key].equal(states[1][key]) for key in states[0])
    assert not all(states[0][key].equal(states[2][key]) for key in states[0])


def test_a_last_batch_of_one_record_is_left_out() -> None:
    assert batch_starts(129, 64) == [0, 64]
    assert batch_starts(130, 64) == [0, 64, 128]
    network = build_network("mlp", (2,), 2, torch.Generator().manual_seed(0))
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    train_core(network, x, torch.tensor([0, 1, 0, 1, 0]), epochs=1, batch_size=4, generator=torch.Generator())


def test_wrong_settings_are_refused() -> None:
    network = build_network("mlp", (2,), 2, torch.Generator().manual_seed(0))
    x, y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ShapeMismatch):
        train_core(network, x, y[:3], generator=torch.Generator())
    with pytest.raises(OutOfRange):
        train_core(network, x[:1], y[:1], generator=torch.Generator())
    with pytest.raises(OutOfRange):
        train_core(network, x, y, epochs=0, generator=torch.Generator())
