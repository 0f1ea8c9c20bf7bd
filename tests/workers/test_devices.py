"""What a worker computes on its device: the training of cores, and sums of integers. CUDA itself where there is some.

The device `meta` has shapes and no numbers: whatever is given to it stays there, and nothing can be read back. So it
shows, on a machine without a GPU, what is computed on the device that was named and what is not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.world import NewWorld, World, person

from unlearning.architectures import build_network
from unlearning.core_training import train_core
from unlearning.public_model import fit_public_model
from workers import models
from workers.deps import on_device

META = torch.device("meta")
PEOPLE = [person(f"person-{i}", 4) for i in range(5)]


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


@pytest.mark.parametrize("architecture", ["mlp", "small-cnn"])
def test_every_step_of_training_is_on_the_device(architecture: str) -> None:
    """A step that took a tensor from the processor would fail at once; the way back fails at the end."""
    shape = (5,) if architecture == "mlp" else (1, 12, 12)
    network = build_network(architecture, shape, 2, torch.Generator().manual_seed(0))
    x, y = torch.randn(20, *shape, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    progress: list[float] = []
    with pytest.raises(NotImplementedError, match="meta"):
        train_core(network, x, y, epochs=2, generator=torch.Generator(), on_progress=progress.append, device=META)
    assert progress == [0.5, 1.0]
    assert {parameter.device for parameter in network.parameters()} == {META}


def test_the_model_s_core_is_trained_on_the_device() -> None:
    x, y = data()
    with pytest.raises(NotImplementedError, match="meta"):
        fit_public_model(
            x, y, class_names=("a", "b"), architecture="mlp", feature_map="head", epochs=1, seed=0, device=META
        )


def test_a_worker_hands_its_device_on(new_world: NewWorld) -> None:
    world = trained(new_world)
    public = models.load_public(world.deps, world.model_id)
    rows = public.extract(np.concatenate([p.x for p in PEOPLE]), np.concatenate([p.y for p in PEOPLE]))
    there = on_device(world.deps, META)
    assert there.device == META
    assert replace(there, device=world.deps.device, fold=world.deps.fold) == world.deps
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        there.fold(public.no_statistics(), rows, public.no_rows(), public.plan)
    here = on_device(world.deps, torch.device("cpu"))
    args = (public.no_statistics(), rows, public.no_rows(), public.plan)
    assert here.fold(*args).to_bytes() == world.deps.fold(*args).to_bytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
def test_a_whole_history_on_cuda_gives_the_same_statistics_for_the_same_core(new_world: NewWorld) -> None:
    world = trained(new_world)
    before = world.statistics()
    there = on_device(world.deps, torch.device("cuda"))
    world.upload(person("late", 3))
    world.work(deps=there)
    assert world.statistics() != before
    world.forget("late")
    world.work(deps=there)
    assert world.statistics() == before


def trained(new_world: NewWorld) -> World:
    world = new_world()
    world.upload(*PEOPLE)
    world.register()
    world.work()
    return world
