"""resnet18 and resnet50 have exactly the state dict of public checkpoints: names, shapes and types.

The list is derived from He et al. 2016, table 1, and the names that torchvision's checkpoints use.
"""

import pytest
import torch

from unlearning.architectures import BUILT_IN, parameter_count

Entries = dict[str, tuple[int, ...]]


def norm(name: str, width: int) -> Entries:
    vectors = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}


def expected(blocks: list[int], kernels: list[int], expansion: int, classes: int) -> Entries:
    entries: Entries = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    inputs = 64
    for stage, count in enumerate(blocks):
        planes = 64 * 2**stage
        for block in range(count):
            at = f"layer{stage + 1}.{block}"
            widths = [planes] * (len(kernels) - 1) + [planes * expansion]
            before = inputs
            for i, (kernel, width) in enumerate(zip(kernels, widths, strict=True), start=1):
                entries |= {f"{at}.conv{i}.weight": (width, before, kernel, kernel), **norm(f"{at}.bn{i}", width)}
                before = width
            if block == 0 and inputs != planes * expansion:
                entries |= {
                    f"{at}.downsample.0.weight": (planes * expansion, inputs, 1, 1),
                    **norm(f"{at}.downsample.1", planes * expansion),
                }
            inputs = planes * expansion
    return {**entries, "fc.weight": (classes, inputs), "fc.bias": (classes,)}


@pytest.mark.parametrize(
    ("name", "blocks", "kernels", "expansion", "keys", "parameters"),
    [
        ("resnet18", [2, 2, 2, 2], [3, 3], 1, 122, 11_689_512),
        ("resnet50", [3, 4, 6, 3], [1, 3, 1], 4, 320, 25_557_032),
    ],
)
def test_names_and_shapes_are_those_of_public_checkpoints(
    name: str, blocks: list[int], kernels: list[int], expansion: int, keys: int, parameters: int
) -> None:
    table = expected(blocks, kernels, expansion, 1000)
    assert len(table) == keys
    network = BUILT_IN.build(name, (3, 64, 64), 1000, torch.Generator().manual_seed(0))
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == table
    assert parameter_count(network) == parameters
    made = {
        key: torch.ones(shape, dtype=torch.int64 if key.endswith("tracked") else torch.float32)
        for key, shape in table.items()
    }
    network.load_state_dict(made, strict=True)


def test_a_basic_block_computes_what_the_paper_says() -> None:
    """With identity convolutions and norms, a block gives relu(relu(x) + x)."""
    network = BUILT_IN.build("cifar-resnet-20", (3, 8, 8), 4, torch.Generator().manual_seed(0)).eval()
    block = network.get_submodule("layer1.1")
    state = block.state_dict()
    for name in ("conv1.weight", "conv2.weight"):
        state[name] = torch.zeros(16, 16, 3, 3)
        state[name][torch.arange(16), torch.arange(16), 1, 1] = 1.0
    block.load_state_dict(state)
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(block(x), (x.relu() + x).relu(), rtol=1e-4, atol=1e-5)
