"""On an imported core too: forgotten equals never seen, byte for byte."""

import torch
from safetensors.torch import save
from support.world import NewWorld, World, person

from ledger import core_imports
from unlearning.architectures import build_network

CLASSES_OF_THE_IMPORT = 7


def learn(world: World, *names: str) -> str:
    """Upload these people one by one, then learn on an import whose head is retrained."""
    network = build_network("mlp", (6,), CLASSES_OF_THE_IMPORT, torch.Generator().manual_seed(5))
    said = core_imports.NewCore("mlp", False, (6,), CLASSES_OF_THE_IMPORT, "data protection officer")
    core = core_imports.store(world.ledger, world.tenant_id, said, save(network.state_dict()), parameters=1)
    for name in names:
        world.upload(person(name))
    model_id = world.register(core_import_id=core.id, core_head="retrain", feature_map="pooled")
    world.work()
    return model_id


def test_forgotten_equals_never_seen(new_world: NewWorld) -> None:
    world, other = new_world(), new_world()
    learn(world, "ada", "bob", "cyd")
    learn(other, "bob", "cyd")
    assert world.weights() != other.weights()
    request_id = world.forget("ada")
    world.work()
    assert world.request(request_id).state == "completed"
    assert world.statistics() == other.statistics()
    assert world.weights() == other.weights()
